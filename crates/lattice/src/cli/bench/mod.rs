//! `lattice bench`: measurements that print one object each, made so that a stranger can repeat them.

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
}

/// `lattice bench`: runs the measurement that the arguments name.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Tps(args) => tps::run(&args, output),
    }
}
