//! Assembler and disassembler for ordinary code and AI containers.
//!
//! One instruction a line, mnemonics as in the Yellow Paper and, after `.container`, as in the AI table:
//!
//! ```text
//! .container              ; EF A1 01: must come first
//!     PUSH 0x2a           ; the narrowest PUSH that holds it
//!     PUSH2 0x002a        ; exactly this one
//!     PUSH @done          ; the offset of a label
//!     JUMP
//! done:                   ; marks a place, emits nothing
//!     JUMPDEST
//!     MODEL_EXEC
//!     .data 0xc0ffee      ; bytes, or text: .data "abc"
//! ```
//!
//! Comments begin with `;`, `#` or `//`. Case does not matter in mnemonics. What [`disassemble`] writes assembles to the
//! same bytes again, whatever the bytes were.

mod parse;

use crate::ai::{container, opcodes};
use alloy_primitives::{Bytes, hex};
use parse::{Item, Source};
use std::{collections::BTreeMap, fmt::Write as _};

/// The most bytes that a program may come to: far above what any chain accepts as a contract.
pub const CODE_BYTES_MAX: usize = 1 << 20;

const PUSH0: u8 = 0x5f;
const PUSH32: u8 = 0x7f;
/// Length of the init code before the runtime code.
const INIT_BYTES: u8 = 11;

/// Why a text is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidAsm {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub reason: String,
}

fn invalid<T>(line: usize, reason: impl Into<String>) -> Result<T, InvalidAsm> {
    Err(InvalidAsm { line, reason: reason.into() })
}

/// Turns a text into code.
///
/// # Errors
/// The first line that is wrong, with the reason.
pub fn assemble(text: &str) -> Result<Bytes, InvalidAsm> {
    let source = Source::parse(text)?;
    // A label's PUSH begins narrow and widens until every offset fits; widths only grow, so this ends.
    let mut widths = vec![1usize; source.items.len()];
    loop {
        let offsets = label_offsets(&source, &widths)?;
        let mut is_settled = true;
        for ((item, line), width) in source.items.iter().zip(&mut widths) {
            let Item::PushLabel(name) = item else { continue };
            let Some(offset) = offsets.get(name.as_str()) else {
                return invalid(*line, format!("label `{name}` is not defined: write `{name}:` where it belongs"));
            };
            let needed = width_of(*offset);
            if needed > *width {
                *width = needed;
                is_settled = false;
            }
        }
        if is_settled {
            return Ok(emit(&source, &widths, &offsets));
        }
    }
}

const fn width_of(offset: usize) -> usize {
    match offset {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 3,
    }
}

fn label_offsets<'s>(source: &'s Source, widths: &[usize]) -> Result<BTreeMap<&'s str, usize>, InvalidAsm> {
    let mut offsets = BTreeMap::new();
    let mut at = 0;
    for ((item, line), width) in source.items.iter().zip(widths) {
        match item {
            Item::Label(name) if offsets.insert(name.as_str(), at).is_some() => {
                return invalid(*line, format!("label `{name}` is defined twice: give one of them another name"));
            }
            Item::Label(_) => {}
            Item::Bytes(bytes) => at += bytes.len(),
            Item::PushLabel(_) => at += 1 + width,
        }
        if at > CODE_BYTES_MAX {
            return invalid(*line, format!("the program is longer than {CODE_BYTES_MAX} bytes"));
        }
    }
    Ok(offsets)
}

fn emit(source: &Source, widths: &[usize], offsets: &BTreeMap<&str, usize>) -> Bytes {
    let mut code = Vec::new();
    for ((item, _), width) in source.items.iter().zip(widths) {
        match item {
            Item::Label(_) => {}
            Item::Bytes(bytes) => code.extend_from_slice(bytes),
            Item::PushLabel(name) => {
                let offset = offsets.get(name.as_str()).copied().unwrap_or_default().to_be_bytes();
                code.push(PUSH0 + *width as u8);
                code.extend_from_slice(&offset[offset.len() - width..]);
            }
        }
    }
    code.into()
}

/// Init code that deploys `runtime` as it is: it copies what follows itself to memory and returns it.
pub fn init_code(runtime: &[u8]) -> Bytes {
    // PUSH3 length, DUP1, PUSH1 11, PUSH0, CODECOPY, PUSH0, RETURN.
    let [_, high, middle, low] = (runtime.len().min(CODE_BYTES_MAX) as u32).to_be_bytes();
    let head = [0x62, high, middle, low, 0x80, 0x60, INIT_BYTES, PUSH0, 0x39, PUSH0, 0xf3];
    [&head, runtime].concat().into()
}

/// Turns code into a text that [`assemble`] turns into the same code. Each line names its offset in a comment.
pub fn disassemble(code: &[u8]) -> String {
    let in_container = container::is_container(code);
    let mut text = String::new();
    let mut at = 0;
    if in_container {
        text.push_str(".container\n");
        at = container::PREFIX.len();
    }
    while let Some(&byte) = code.get(at) {
        let operand = if (PUSH0..=PUSH32).contains(&byte) { usize::from(byte - PUSH0) } else { 0 };
        let line = match (mnemonic(byte, in_container), code.get(at + 1..at + 1 + operand)) {
            (Some(name), Some([])) => name.to_owned(),
            (Some(name), Some(operand)) => format!("{name} 0x{}", hex::encode(operand)),
            // A PUSH that runs off the end of the code: the machine reads zeros there.
            (Some(_), None) => format!(".data 0x{}", hex::encode(&code[at..])),
            (None, _) => format!(".data 0x{byte:02x}"),
        };
        let _ = writeln!(text, "    {line:<24}; {at:04x}");
        at += 1 + operand;
    }
    text
}

/// The name of an instruction; the header is none, because only `.container` writes it.
fn mnemonic(byte: u8, in_container: bool) -> Option<&'static str> {
    opcodes::instruction_name(byte, in_container).filter(|name| *name != "HEADER")
}

/// The byte of a mnemonic in upper case.
fn byte_of(name: &str, in_container: bool) -> Option<u8> {
    let name = match name {
        "SHA3" => "KECCAK256",
        "PREVRANDAO" => "DIFFICULTY",
        name => name,
    };
    (0..=u8::MAX).find(|byte| mnemonic(*byte, in_container) == Some(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, code: &str) {
        assert_eq!(hex::encode(assemble(text).unwrap()), code);
    }

    fn refused(text: &str) -> String {
        assemble(text).unwrap_err().to_string()
    }

    #[test]
    fn pushes_find_their_width() {
        check("PUSH 0\nPUSH 1\nPUSH 255\npush 256\nPush 0x0001", "5f600160ff6101006001");
        check("PUSH4 1\nPUSH0", "63000000015f");
        check(&format!("PUSH 0x{}", "f".repeat(64)), &format!("7f{}", "f".repeat(64)));
    }

    #[test]
    fn labels_know_their_offset_and_widen_when_it_grows() {
        check("start: JUMPDEST\nPUSH @start\nJUMP", "5b600056");
        check(".container\nPUSH @end\nJUMP\nend:\nJUMPDEST", "efa1016006565b");
        let far = format!("PUSH @end\nJUMP\n{}end: JUMPDEST", "STOP\n".repeat(300));
        assert_eq!(assemble(&far).unwrap()[..4], [0x61, 0x01, 0x30, 0x56]);
        // Widening one push moves the label over the edge for another.
        let edge = format!("PUSH @a\nPUSH @b\n{}a:\n{}b:", "STOP\n".repeat(250), "STOP\n".repeat(10));
        let code = assemble(&edge).unwrap();
        assert_eq!(code[..5], [0x60, 0xff, 0x61, 0x01, 0x09]);
    }

    #[test]
    fn the_table_depends_on_the_container() {
        check(".container\nCREATE\nCALL\nCALLCODE\nRETURN\nDELEGATECALL", "efa101b0b1b2b3b4");
        check("CREATE\nCALL\nCALLCODE\nRETURN\nDELEGATECALL", "f0f1f2f3f4");
        check(".container\nTENSOR_OP\nMODEL_LOAD\nMODEL_EXEC\nCREATE2", "efa101f0f1f2f5");
        assert!(refused("STOP\nMODEL_EXEC").starts_with("line 2: MODEL_EXEC exists in AI containers only"));
    }

    #[test]
    fn data_comments_and_aliases() {
        check(".data 0xc0ffee ; bytes\n.data \"a;b:#//\" // text\n# nothing\nSHA3", "c0ffee613b623a232f2f20");
    }

    #[test]
    fn errors_name_the_line_and_the_way_out() {
        assert_eq!(refused("STOP\n\nFOO"), "line 3: `FOO` is no instruction");
        assert!(refused("PUSH").starts_with("line 1: `` is no number"));
        assert!(refused("PUSH 0x").contains("no number"));
        assert!(refused("PUSH1 256").contains("does not fit PUSH1"));
        assert!(refused(&format!("PUSH 0x1{}", "0".repeat(64))).contains("at most 256 bits"));
        assert!(refused("ADD 1").contains("takes no operand"));
        assert!(refused("PUSH @nowhere").contains("label `nowhere` is not defined"));
        assert!(refused("a:\na:").starts_with("line 2: label `a` is defined twice"));
        assert!(refused("1a: STOP").contains("is no label"));
        assert!(refused("STOP\n.container").starts_with("line 2: `.container` must come before"));
        assert!(refused(".data 0xabc").contains("whole bytes"));
        assert!(refused("HEADER").contains("no instruction"));
    }

    proptest! {
        #[test]
        fn disassembled_code_assembles_to_itself(code in prop::collection::vec(any::<u8>(), 0..300), is_container in any::<bool>()) {
            let code = if is_container { [&container::PREFIX[..], &code].concat() } else { code };
            prop_assert_eq!(assemble(&disassemble(&code)).unwrap(), code);
        }

        #[test]
        fn no_text_panics(text in "[ -~\n]{0,200}") {
            let _ = assemble(&text);
        }

        #[test]
        fn no_line_of_words_panics(words in prop::collection::vec(prop::sample::select(vec!["PUSH", "PUSH2", "@a", "a:", "0x10", ".data", ".container", "\"", "ADD", "\n", ";", "MODEL_EXEC", "é"]), 0..40)) {
            let _ = assemble(&words.join(" "));
        }
    }
}
