//! `lattice asm`: assembles and disassembles code, AI containers included.

use super::{Output, print_line};
use crate::failure::Failure;
use alloy_primitives::hex;
use lattice_execution::asm;
use serde_json::json;
use std::{fs, io::Read, path::PathBuf};

/// The longest input that is read: hex of the longest program, and room for comments.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// Arguments of `lattice asm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  .container           ; the AI instruction table (EF A1 01)
      PUSH 0           ; operands as for CALL: output length, output offset,
      PUSH 0           ; input length, input offset
      CALLDATASIZE
      PUSH 0
      TENSOR_OP
      PUSH @done       ; the offset of a label
      JUMP
  done:
      JUMPDEST
      STOP

Instructions and their operands: docs/spec/ai-containers.md.")]
pub struct Args {
    /// File with the program, or with the code in hex under --disassemble; `-` reads stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Turn code (hex, 0x or not) into text
    #[arg(short, long)]
    disassemble: bool,
    /// Print init code that deploys the program, to be sent as a transaction without receiver
    #[arg(short, long, conflicts_with = "disassemble")]
    init: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let text = read(args)?;
    if args.disassemble {
        let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let code = hex::decode(&digits).map_err(|error| {
            Failure::new(format!("the input is no hex: {error}"))
                .next("give the code as 0x… ; without -d text is assembled")
        })?;
        let listing = asm::disassemble(&code);
        return output.print(&json!({ "text": listing }), || listing.trim_end().to_owned());
    }
    let mut code = asm::assemble(&text).map_err(|error| {
        Failure::new(format!("{}: {error}", args.file.display())).facts(json!({ "line": error.line }))
    })?;
    if args.init {
        code = asm::init_code(&code);
    }
    let digits = hex::encode_prefixed(&code);
    if output.json {
        return output.print(&json!({ "code": digits, "bytes": code.len() }), String::new);
    }
    print_line(&digits);
    Ok(())
}

fn read(args: &Args) -> Result<String, Failure> {
    let name = args.file.display();
    let wrong = |error: std::io::Error| Failure::new(format!("cannot read {name}: {error}"));
    let mut text = String::new();
    let read = if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        fs::File::open(&args.file).map_err(wrong)?.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)
    };
    if read.map_err(wrong)? as u64 > INPUT_BYTES_MAX {
        return Err(Failure::new(format!("{name} is longer than {INPUT_BYTES_MAX} bytes")));
    }
    Ok(text)
}
