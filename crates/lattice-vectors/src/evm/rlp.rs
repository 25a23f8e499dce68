//! RLPTests: our RLP codec reads what is valid, to the byte, and refuses the rest.

use crate::{json, report::Verdict};
use alloy_primitives::{U256, hex};
use alloy_rlp::{Header, PayloadView};
use serde_json::Value;

/// Depth to which nested lists are read; no vector goes near it.
const DEPTH_MAX: usize = 1_024;

/// Any RLP item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn decode(bytes: &mut &[u8], depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("lists nested more than {DEPTH_MAX} deep"));
        }
        match Header::decode_raw(bytes).map_err(|error| error.to_string())? {
            PayloadView::String(text) => Ok(Self::Text(text.to_vec())),
            PayloadView::List(items) => items
                .into_iter()
                .map(|mut item| Self::decode(&mut item, depth + 1))
                .collect::<Result<_, _>>()
                .map(Self::List),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => alloy_rlp::Encodable::encode(text.as_slice(), out),
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.encode(&mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend(payload);
            }
        }
    }

    /// As RLPTests write items: numbers, `#` and decimal digits, text, lists.
    fn of_json(value: &Value) -> Result<Self, json::Fault> {
        Ok(match value {
            Value::Array(items) => Self::List(items.iter().map(Self::of_json).collect::<Result<_, _>>()?),
            Value::String(text) => match text.strip_prefix('#') {
                Some(digits) => Self::Text(decimal(digits)?),
                None => Self::Text(text.as_bytes().to_vec()),
            },
            number => Self::Text(json::number(number)?.to_be_bytes_trimmed_vec()),
        })
    }
}

/// Decimal digits of any length as big-endian bytes without leading zeros.
fn decimal(digits: &str) -> Result<Vec<u8>, json::Fault> {
    if let Ok(number) = U256::from_str_radix(digits, 10) {
        return Ok(number.to_be_bytes_trimmed_vec());
    }
    // One digit after the other into base 256, lowest byte first.
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10).ok_or_else(|| format!("#{digits} is not an integer"))?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.reverse();
    Ok(bytes)
}

/// Decodes one item that must be all there is.
fn decode_whole(bytes: &[u8]) -> Result<Item, String> {
    let mut rest = bytes;
    let item = Item::decode(&mut rest, 0)?;
    if rest.is_empty() { Ok(item) } else { Err(format!("{} bytes follow", rest.len())) }
}

/// One RLP test: `in` is `INVALID`, `VALID` or the item.
pub(super) fn verdict(test: &Value) -> Verdict {
    outcome(test).unwrap_or_else(Verdict::Failed)
}

fn outcome(test: &Value) -> Result<Verdict, json::Fault> {
    let bytes = json::bytes(&test["out"])?;
    let decoded = decode_whole(&bytes);
    let expected = match json::text(&test["in"]) {
        "INVALID" => {
            return Ok(match decoded {
                Ok(item) => Verdict::Failed(format!("invalid, but decoded as {item:?}")),
                Err(_) => Verdict::Passed,
            });
        }
        "VALID" => None,
        _ => Some(Item::of_json(&test["in"])?),
    };
    let item = decoded.map_err(|error| format!("valid, but refused: {error}"))?;
    if let Some(expected) = expected.filter(|expected| *expected != item) {
        return Ok(Verdict::Failed(format!("decoded as {item:?}, expected {expected:?}")));
    }
    let mut again = Vec::new();
    item.encode(&mut again);
    if again != bytes {
        return Ok(Verdict::Failed(format!("encodes as {}", hex::encode_prefixed(again))));
    }
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_are_told_apart() {
        let ends = |test: Value| super::verdict(&test) == Verdict::Passed;
        assert!(ends(json!({"in": "dog", "out": "0x83646f67"})));
        assert!(ends(json!({"in": ["", [1, "#256"]], "out": "c680c401820100"})));
        assert!(ends(json!({"in": "VALID", "out": "0xc0"})));
        assert!(ends(json!({"in": "INVALID", "out": "0x8100"})));
        assert!(ends(json!({"in": "INVALID", "out": "0xc000"})));
        assert!(!ends(json!({"in": "INVALID", "out": "0xc0"})));
        assert!(!ends(json!({"in": "cat", "out": "0x83646f67"})));
    }

    #[test]
    fn long_decimals() {
        let number = decimal("115792089237316195423570985008687907853269984665640564039457584007913129639936").unwrap();
        assert_eq!(number.len(), 33);
        assert_eq!(number[0], 1);
        assert!(number[1..].iter().all(|byte| *byte == 0));
    }
}
