//! Parameters of calls: positional, each with a name and a description that errors repeat.

use crate::error::{RpcError, clip};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag, Filter};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Characters of a wrong value that an error repeats.
const GOT_CHARS_MAX: usize = 80;
/// Characters of the reason, which may repeat the value once more.
const REASON_CHARS_MAX: usize = 200;

/// The parameters of one call.
pub(crate) struct Params<'a> {
    items: std::vec::IntoIter<&'a RawValue>,
    /// Parameters taken so far.
    taken: usize,
}

impl<'a> Params<'a> {
    /// Splits `params` of a request, which may be absent; at most `max` are allowed.
    pub(crate) fn parse(raw: Option<&'a RawValue>, max: usize) -> Result<Self, RpcError> {
        let items: Vec<&RawValue> = match raw.map(RawValue::get) {
            None | Some("null") => Vec::new(),
            Some(text) if text.starts_with('[') => {
                serde_json::from_str(text).map_err(|error| RpcError::params(error.to_string()))?
            }
            Some(_) => {
                return Err(RpcError::params("params must be an array: parameters are given by position, not by name"));
            }
        };
        if items.len() > max {
            return Err(RpcError::params(format!("too many parameters: {} given, want at most {max}", items.len())));
        }
        Ok(Self { items: items.into_iter(), taken: 0 })
    }

    /// The next parameter, which must be there.
    pub(crate) fn required<T: Argument>(&mut self, name: &str) -> Result<T, RpcError> {
        let missing = |taken| RpcError::params(format!("missing parameter {taken} ({name}): expected {}", T::EXPECTED));
        self.optional(name)?.ok_or_else(|| missing(self.taken))
    }

    /// The next parameter; `None` when it is absent or null.
    pub(crate) fn optional<T: Argument>(&mut self, name: &str) -> Result<Option<T>, RpcError> {
        self.taken += 1;
        let Some(raw) = self.items.next().filter(|raw| raw.get() != "null") else { return Ok(None) };
        T::read(raw).map(Some).map_err(|reason| {
            let (index, expected) = (self.taken, T::EXPECTED);
            let (got, reason) = (clip(raw.get(), GOT_CHARS_MAX), clip(&reason, REASON_CHARS_MAX));
            RpcError::params(format!("invalid parameter {index} ({name}): expected {expected}, got {got}: {reason}"))
        })
    }
}

/// A kind of parameter.
pub(crate) trait Argument: Sized {
    /// What it looks like, for errors.
    const EXPECTED: &'static str;

    /// Reads it; the error says what is wrong.
    fn read(raw: &RawValue) -> Result<Self, String>;
}

fn read_json<T: DeserializeOwned>(raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| error.to_string())
}

macro_rules! arguments {
    ($($kind:ty: $expected:expr;)*) => {$(
        impl Argument for $kind {
            const EXPECTED: &'static str = $expected;

            fn read(raw: &RawValue) -> Result<Self, String> {
                read_json(raw)
            }
        }
    )*};
}

arguments! {
    Address: "a 20-byte address in hex (0x…)";
    B256: "a 32-byte hash in hex (0x…)";
    Bytes: "bytes in hex (0x…)";
    bool: "true or false";
    BlockId: "a block: number in hex, latest, pending, safe, finalized or earliest, a hash, or {blockHash} or {blockNumber}";
    BlockNumberOrTag: "a block: number in hex, or latest, pending, safe, finalized or earliest";
    Filter: "a filter {address, topics, fromBlock, toBlock} or {address, topics, blockHash}";
    String: "a text";
    Vec<f64>: "percentiles, from 0 to 100 and ascending";
    Vec<StorageKey>: "storage keys, each up to 32 bytes in hex";
}

/// A number that fits 64 bits: hex text, or a JSON number for lenient callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity(pub u64);

impl Argument for Quantity {
    const EXPECTED: &'static str = "a number in hex (0x…)";

    fn read(raw: &RawValue) -> Result<Self, String> {
        if let Ok(number) = serde_json::from_str::<u64>(raw.get()) {
            return Ok(Self(number));
        }
        let text: String = read_json(raw)?;
        let digits = text.strip_prefix("0x").ok_or("hex numbers begin with 0x")?;
        u64::from_str_radix(digits, 16).map(Self).map_err(|error| error.to_string())
    }
}

/// A storage slot, echoed in answers as geth does: in full when it was given in full, else as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorageKey {
    /// The slot.
    pub slot: U256,
    /// Whether all 32 bytes were given.
    pub full: bool,
}

impl StorageKey {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.len() > 64 {
            return Err(format!("storage key too long (want at most 32 bytes): \"{text:.80}\""));
        }
        if digits.is_empty() {
            return Ok(Self { slot: U256::ZERO, full: false });
        }
        let slot = U256::from_str_radix(digits, 16).map_err(|_| format!("storage key is not hex: \"{text}\""))?;
        Ok(Self { slot, full: digits.len() == 64 })
    }
}

impl Argument for StorageKey {
    const EXPECTED: &'static str = "a storage key, up to 32 bytes in hex (0x…)";

    fn read(raw: &RawValue) -> Result<Self, String> {
        read_json(raw)
    }
}

impl<'de> Deserialize<'de> for StorageKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for StorageKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.full { B256::from(self.slot).serialize(serializer) } else { self.slot.serialize(serializer) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn first<T: Argument>(text: &str) -> Result<T, RpcError> {
        Params::parse(Some(&raw(text)), 3)?.required("thing")
    }

    #[test]
    fn errors_name_the_parameter_and_what_is_expected() {
        let missing = first::<Address>("[]").unwrap_err();
        assert_eq!(missing.code, -32602);
        assert_eq!(missing.message, "missing parameter 1 (thing): expected a 20-byte address in hex (0x…)");
        let null = first::<Address>("[null]").unwrap_err();
        assert_eq!(null, missing);
        let wrong = first::<Address>(r#"["0x12"]"#).unwrap_err();
        assert!(
            wrong
                .message
                .starts_with("invalid parameter 1 (thing): expected a 20-byte address in hex (0x…), got \"0x12\": ")
        );
        let named = first::<Address>(r#"{"address":"0x12"}"#).unwrap_err();
        assert!(named.message.contains("must be an array"));
        let many = first::<Address>("[1,2,3,4]").unwrap_err();
        assert_eq!(many.message, "too many parameters: 4 given, want at most 3");
        let long = first::<Address>(&format!("[\"{}\"]", "é".repeat(5000))).unwrap_err();
        assert!(long.message.len() < 600, "{}", long.message);
    }

    #[test]
    fn quantities_are_hex_or_numbers() {
        assert_eq!(first::<Quantity>(r#"["0x10"]"#).unwrap(), Quantity(16));
        assert_eq!(first::<Quantity>("[16]").unwrap(), Quantity(16));
        for wrong in [r#"["16"]"#, r#"["0x"]"#, r#"["0x10000000000000000"]"#, "[-1]", "[1.5]", "[{}]"] {
            assert_eq!(first::<Quantity>(wrong).unwrap_err().code, -32602, "{wrong}");
        }
    }

    #[test]
    fn storage_keys_echo_as_given() {
        let full = format!("0x{:064x}", 5);
        for (given, echoed) in
            [("0x0", "0x0"), ("0x00", "0x0"), ("0x", "0x0"), ("0x5", "0x5"), (full.as_str(), full.as_str())]
        {
            let key = first::<StorageKey>(&format!("[\"{given}\"]")).unwrap();
            assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{echoed}\""));
        }
        let long = first::<StorageKey>(&format!("[\"0x{}\"]", "0".repeat(65))).unwrap_err();
        assert!(long.message.contains("storage key too long (want at most 32 bytes)"), "{}", long.message);
        assert!(first::<StorageKey>(r#"["0xzz"]"#).is_err());
    }
}
