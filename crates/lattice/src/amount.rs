//! Amounts of money as people write them: `1.5`, `1.5lat`, `20gwei`, `7wei`. The unit of the token is 10^18 wei, as
//! ether's, whose name is accepted too.

use alloy_primitives::U256;

/// Decimals of LAT.
const LAT_DECIMALS: usize = 18;

/// Reads an amount; without a unit it is LAT. The result is wei.
pub fn parse(text: &str) -> Result<U256, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    // 0x… is a number of wei, as JSON-RPC writes it.
    if let Some(digits) = text.strip_prefix("0x") {
        return U256::from_str_radix(digits, 16).map_err(|_| format!("{text:?} is no hexadecimal number of wei"));
    }
    let (number, unit) = (text[..split].trim_end(), &text[split..]);
    let decimals = match unit.to_ascii_lowercase().as_str() {
        "" | "lat" | "eth" | "ether" => LAT_DECIMALS,
        "gwei" => 9,
        "wei" => 0,
        _ => return Err(format!("unknown unit {unit:?} in {text:?}: use lat (or eth), gwei or wei")),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || !whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit()) {
        return Err(format!("{text:?} is no amount: write one like 1.5, 20gwei or 7wei"));
    }
    if fraction.len() > decimals {
        return Err(format!("{text:?} has {} decimals, its unit has {decimals}", fraction.len()));
    }
    let padded = format!("{whole}{fraction:0<decimals$}");
    U256::from_str_radix(&padded, 10).map_err(|_| format!("{text:?} is larger than 2^256 wei"))
}

/// Wei as LAT, with as many decimals as it needs.
pub fn to_lat(wei: U256) -> String {
    let digits = format!("{wei:0>width$}", width = LAT_DECIMALS + 1);
    let (whole, fraction) = digits.split_at(digits.len() - LAT_DECIMALS);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units() {
        let lat = U256::from(10).pow(U256::from(18));
        for (text, wei) in [
            ("1", lat),
            ("1.5", lat + lat / U256::from(2)),
            ("2 lat", lat * U256::from(2)),
            ("1ETH", lat),
            ("0.5ether", lat / U256::from(2)),
            ("20gwei", U256::from(20_000_000_000u64)),
            ("0.000000001gwei", U256::from(1)),
            ("7wei", U256::from(7)),
            ("0", U256::ZERO),
            (".5", lat / U256::from(2)),
            ("0x10", U256::from(16)),
        ] {
            assert_eq!(parse(text).unwrap(), wei, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount() {
        for text in ["", "lat", ".", "1.5wei", "-1", "1e18", "1.0000000000000000001", "1 btc", "1,5", "0xzz", "1.2.3"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"9".repeat(80)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(limbs: [u64; 4]) {
            let wei = U256::from_limbs(limbs);
            prop_assert_eq!(parse(&to_lat(wei)).unwrap(), wei);
        }
    }
}
