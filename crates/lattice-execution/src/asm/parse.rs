//! From text to items: bytes whose length is known, and labels.

use super::{InvalidAsm, PUSH0, PUSH32, byte_of, container, invalid};
use alloy_primitives::{U256, hex};

/// A piece of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A place with a name.
    Label(String),
    /// An instruction with its operand, or data.
    Bytes(Vec<u8>),
    /// A PUSH of a label's offset, as wide as the offset asks for.
    PushLabel(String),
}

/// A program in pieces, each with its line.
pub(super) struct Source {
    pub(super) items: Vec<(Item, usize)>,
}

impl Source {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidAsm> {
        let mut items: Vec<(Item, usize)> = Vec::new();
        let mut in_container = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let mut rest = without_comment(line).trim();
            if rest == ".container" {
                if !items.is_empty() {
                    return invalid(number, "`.container` must come before everything else");
                }
                in_container = true;
                items.push((Item::Bytes(container::PREFIX.to_vec()), number));
                continue;
            }
            if let Some((label, after)) = rest.split_once(':').filter(|(label, _)| !label.contains('"')) {
                items.push((Item::Label(label_name(label.trim(), number)?), number));
                rest = after.trim();
            }
            if !rest.is_empty() {
                items.push((statement(rest, in_container, number)?, number));
            }
        }
        Ok(Self { items })
    }
}

/// The line up to its comment; inside a quoted text there is none.
fn without_comment(line: &str) -> &str {
    let mut in_text = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => in_text = !in_text,
            ';' | '#' if !in_text => return &line[..at],
            '/' if !in_text && line[at..].starts_with("//") => return &line[..at],
            _ => {}
        }
    }
    line
}

fn label_name(name: &str, line: usize) -> Result<String, InvalidAsm> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return invalid(line, format!("`{name}` is no label: use letters, digits and _, a letter first"));
    }
    Ok(name.to_owned())
}

fn statement(text: &str, in_container: bool, line: usize) -> Result<Item, InvalidAsm> {
    let (word, operand) = match text.split_once(char::is_whitespace) {
        Some((word, operand)) => (word, operand.trim()),
        None => (text, ""),
    };
    match word.to_ascii_uppercase().as_str() {
        ".DATA" => data(operand, line).map(Item::Bytes),
        "PUSH" => match operand.strip_prefix('@') {
            Some(label) => Ok(Item::PushLabel(label_name(label, line)?)),
            None => push_narrowest(operand, line),
        },
        name => {
            let Some(byte) = byte_of(name, in_container) else { return unknown(name, in_container, line) };
            if byte > PUSH0 && byte <= PUSH32 {
                return push_exactly(byte, name, operand, line);
            }
            if !operand.is_empty() {
                return invalid(line, format!("{name} takes no operand, found `{operand}`: operands lie on the stack"));
            }
            Ok(Item::Bytes(vec![byte]))
        }
    }
}

fn unknown(name: &str, in_container: bool, line: usize) -> Result<Item, InvalidAsm> {
    if !in_container && byte_of(name, true).is_some() {
        return invalid(line, format!("{name} exists in AI containers only: begin the program with `.container`"));
    }
    invalid(line, format!("`{name}` is no instruction"))
}

fn number(text: &str, line: usize) -> Result<U256, InvalidAsm> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) if !digits.is_empty() => U256::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if text.starts_with(|c: char| c.is_ascii_digit()) => U256::from_str_radix(text, 10).ok(),
        None => None,
    };
    parsed.map_or_else(
        || invalid(line, format!("`{text}` is no number of at most 256 bits: write 42, 0x2a, or @label after PUSH")),
        Ok,
    )
}

fn push_narrowest(operand: &str, line: usize) -> Result<Item, InvalidAsm> {
    let value = number(operand, line)?;
    let width = value.byte_len();
    let mut bytes = vec![PUSH0 + width as u8];
    bytes.extend_from_slice(&value.to_be_bytes::<32>()[32 - width..]);
    Ok(Item::Bytes(bytes))
}

fn push_exactly(byte: u8, name: &str, operand: &str, line: usize) -> Result<Item, InvalidAsm> {
    let value = number(operand, line)?;
    let width = usize::from(byte - PUSH0);
    if value.byte_len() > width {
        return invalid(line, format!("`{operand}` does not fit {name}: write PUSH, which finds the width"));
    }
    let mut bytes = vec![byte];
    bytes.extend_from_slice(&value.to_be_bytes::<32>()[32 - width..]);
    Ok(Item::Bytes(bytes))
}

fn data(operand: &str, line: usize) -> Result<Vec<u8>, InvalidAsm> {
    if let Some(text) = operand.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(text.as_bytes().to_vec());
    }
    match operand.strip_prefix("0x").map(hex::decode) {
        Some(Ok(bytes)) if !bytes.is_empty() => Ok(bytes),
        _ => invalid(line, format!("`{operand}` is no data: write whole bytes as 0xc0ffee, or a text as \"abc\"")),
    }
}
