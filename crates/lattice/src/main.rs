//! The `lattice` binary: a node for development, and the commands that speak to one.

mod adapters;
mod amount;
mod artifacts;
mod bonded;
mod cli;
mod client;
mod failure;
mod import;
mod node;
mod registry;
mod stake;
mod tensors;
mod wallet;

fn main() -> std::process::ExitCode {
    cli::main()
}
