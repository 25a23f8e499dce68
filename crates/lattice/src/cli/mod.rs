//! The command line. Data goes to stdout, progress to stderr; exit codes are 0, 1 (failed) and 2 (usage).

mod account;
mod asm;
mod bench;
mod chain;
mod dag;
mod dag_k;
mod db;
mod demo;
mod dev;
mod infer;
mod lora;
mod model;
mod run;
mod send;
mod signing;
mod stake;
mod train;

use crate::{
    client::{Client, ClientError},
    failure::Failure,
};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::{io::Write, process::ExitCode};

/// An AI-native chain: a DAG of blocks, Ethereum's transactions and models that every node agrees on.
#[derive(Debug, Parser)]
#[command(name = "lattice", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON value on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a development node: ten funded accounts, a block as soon as a transaction waits
    Dev(dev::Args),
    /// Tell the whole story on a node of its own, in a few seconds
    Demo(demo::Args),
    /// Register, list and inspect models; new versions, permissions, prices, owners
    Model(model::Args),
    /// Run a model by a transaction, or a file without a chain
    Run(run::Args),
    /// Answer, challenge, settle and show inferences that are answered later
    Infer(infer::Args),
    /// Register, compose and show adapters of models
    Lora(lora::Args),
    /// Order a training, and take it through its life
    Train(train::Args),
    /// Send a transaction
    Send(send::SendArgs),
    /// Call a contract without a transaction
    Call(send::CallArgs),
    /// Assemble or disassemble code, AI containers included
    Asm(asm::Args),
    /// Show an account's balance
    Balance(chain::BalanceArgs),
    /// Show an account; deposit compute credits, stake on models
    Account(account::Args),
    /// Become a validator; add stake, take it out, say where rewards go
    Stake(stake::Args),
    /// List the validators
    Validator(stake::ListArgs),
    /// Show a block
    Block(chain::BlockArgs),
    /// Show a transaction
    Tx(chain::HashArgs),
    /// Show a receipt
    Receipt(chain::HashArgs),
    /// Show the newest part of the DAG as text
    Dag(dag::Args),
    /// Look at a stopped node's data directory, or compact it
    Db(db::Args),
    /// Show a node's state
    Status(chain::StatusArgs),
    /// Measure a node: transactions a second and their cost
    Bench(bench::Args),
}

/// Which node to speak to.
#[derive(Debug, Clone, clap::Args)]
struct NodeArgs {
    /// The node's RPC URL [env: LATTICE_RPC_URL, ETH_RPC_URL] [default: http://127.0.0.1:8545]
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
}

impl NodeArgs {
    fn client(&self) -> Result<Client, ClientError> {
        Client::choose(self.rpc_url.as_deref())
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    match dispatch(cli.command, Output { json }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.to_text());
            if json {
                print_line(&failure.to_json().to_string());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev::run(args, output.json),
        Command::Demo(args) => demo::run(&args, output),
        Command::Model(args) => model::run(args, output),
        Command::Run(args) => run::run(args, output),
        Command::Infer(args) => infer::run(args, output),
        Command::Lora(args) => lora::run(args, output),
        Command::Train(args) => train::run(args, output),
        Command::Send(args) => send::send(args, output),
        Command::Call(args) => send::call(args, output),
        Command::Asm(args) => asm::run(&args, output),
        Command::Balance(args) => chain::balance(args, output),
        Command::Account(args) => account::run(args, output),
        Command::Stake(args) => stake::run(args, output),
        Command::Validator(args) => stake::list(args, output),
        Command::Block(args) => chain::block(args, output),
        Command::Tx(args) => chain::tx(args, output),
        Command::Receipt(args) => chain::receipt(args, output),
        Command::Dag(args) => dag::run(args, output),
        Command::Db(args) => db::run(args, output),
        Command::Status(args) => chain::status(args, output),
        Command::Bench(args) => bench::run(args, output),
    }
}

/// How a command's answer is printed.
#[derive(Debug, Clone, Copy)]
struct Output {
    json: bool,
}

impl Output {
    /// Prints the answer: as one JSON value, or as text.
    fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string(value)
                .map_err(|error| Failure::new(format!("cannot write the answer as JSON: {error}")))?
        } else {
            text()
        };
        print_line(&line);
        Ok(())
    }
}

/// Writes to stdout. A reader that went away (`lattice dag | head`) ends the program quietly.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A line about progress, for people, on stderr.
fn progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }
}
