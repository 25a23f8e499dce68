//! Values as Ethereum's vectors write them.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;

/// Why a vector's field cannot be read.
pub(crate) type Fault = String;

/// The text of a field; empty when absent.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An integer of any size as big-endian bytes without leading zeros: a JSON number, hex with leading zeros, `0x`,
/// `0x:bigint 0x...`, or decimal digits.
fn integer_bytes(value: &Value) -> Result<Vec<u8>, Fault> {
    if let Some(number) = value.as_u64() {
        return Ok(U256::from(number).to_be_bytes_trimmed_vec());
    }
    let text = text(value).trim();
    let text = text.strip_prefix("0x:bigint ").unwrap_or(text);
    let unreadable = || format!("{value} is not an integer");
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let digits = digits.trim_start_matches('0');
        let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
        return hex::decode(even).map_err(|_| unreadable());
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    U256::from_str_radix(text, 10).map(|number| number.to_be_bytes_trimmed_vec()).map_err(|_| unreadable())
}

/// An integer; absent and empty are zero, `None` beyond 256 bits.
pub(crate) fn wide(value: &Value) -> Result<Option<U256>, Fault> {
    if value.is_null() {
        return Ok(Some(U256::ZERO));
    }
    let bytes = integer_bytes(value)?;
    Ok((bytes.len() <= 32).then(|| U256::from_be_slice(&bytes)))
}

/// An integer that must fit 256 bits.
pub(crate) fn number(value: &Value) -> Result<U256, Fault> {
    wide(value)?.ok_or_else(|| format!("{value} does not fit 256 bits"))
}

/// An integer that must fit 64 bits.
pub(crate) fn small(value: &Value) -> Result<u64, Fault> {
    u64::try_from(number(value)?).map_err(|_| format!("{value} does not fit 64 bits"))
}

/// Hex bytes, with or without `0x`.
pub(crate) fn bytes(value: &Value) -> Result<Bytes, Fault> {
    hex::decode(text(value)).map(Bytes::from).map_err(|error| format!("{value} is not hex: {error}"))
}

/// An address.
pub(crate) fn address(text: &str) -> Result<Address, Fault> {
    let bytes = hex::decode(text).map_err(|error| format!("address {text}: {error}"))?;
    Address::try_from(bytes.as_slice()).map_err(|error| format!("address {text}: {error}"))
}

/// A hash.
pub(crate) fn hash(value: &Value) -> Result<B256, Fault> {
    text(value).parse().map_err(|error| format!("hash {value}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_in_every_form() {
        for (value, expected) in [
            (json!(7), 7),
            (json!("0x07"), 7),
            (json!("0x0000000000000000000000000000000000000000000000000000000000000000000a"), 10),
            (json!("0x"), 0),
            (json!(""), 0),
            (json!("12"), 12),
            (json!("0x:bigint 0x0100"), 256),
        ] {
            assert_eq!(small(&value), Ok(expected), "{value}");
        }
        let beyond = json!(format!("0x:bigint 0x1{}", "0".repeat(64)));
        assert_eq!(wide(&beyond), Ok(None));
        assert!(number(&json!("0xzz")).is_err());
    }
}
