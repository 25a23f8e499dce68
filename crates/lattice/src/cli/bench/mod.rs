//! `lattice bench`: measurements that print one object each, made so that a stranger can repeat them.

mod blocks;
mod gas;
mod process;
mod receipts;
mod state;
mod tps;

use super::Output;
use crate::failure::Failure;

/// Arguments of `lattice bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Transactions mined a second through JSON-RPC, and what each costs the node in CPU time
    Tps(tps::Args),
    /// Blocks of peers that a node takes in a second: checks, DAG, committee, execution, store
    Blocks(blocks::Args),
    /// The time in which a node hands out the receipts of full blocks
    Receipts(receipts::Args),
    /// Memory, disk and the time of a block, and how they grow with the number of accounts
    State(state::Args),
    /// Gas and CPU time of every AI operation, beside Ethereum's own on the same machine
    Gas(gas::Args),
}

/// `lattice bench`: runs the measurement that the arguments name.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Tps(args) => tps::run(&args, output),
        Command::Blocks(args) => blocks::run(&args, output),
        Command::Receipts(args) => receipts::run(&args, output),
        Command::State(args) => state::run(&args, output),
        Command::Gas(args) => gas::run(args, output),
    }
}
