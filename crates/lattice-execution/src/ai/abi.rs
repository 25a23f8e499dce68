//! The few pieces of Solidity's ABI that the doors speak: `Error(string)`, dynamic bytes in logs, words, arguments.

use alloy_primitives::{Address, B256, U256};

/// Selector of `Error(string)`.
const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of `Panic(uint256)`.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// A number as a word.
pub(crate) const fn word(value: u64) -> [u8; 32] {
    U256::from_limbs([value, 0, 0, 0]).to_be_bytes()
}

/// ABI encoding of a tuple of dynamic byte strings: the data of logs.
pub(crate) fn encode_bytes(items: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut offset = 32 * items.len() as u64;
    for item in items {
        out.extend_from_slice(&word(offset));
        offset += 32 + (item.len() as u64).next_multiple_of(32);
    }
    for item in items {
        out.extend_from_slice(&word(item.len() as u64));
        out.extend_from_slice(item);
        out.resize(out.len().next_multiple_of(32), 0);
    }
    out
}

/// ABI encoding of a tuple of one dynamic byte string and then words.
pub(crate) fn encode_bytes_and_words(bytes: &[u8], words: &[[u8; 32]]) -> Vec<u8> {
    let mut out = word(32 * (1 + words.len() as u64)).to_vec();
    out.extend_from_slice(words.as_flattened());
    out.extend_from_slice(&word(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(32), 0);
    out
}

/// ABI encoding of a tuple of two dynamic arrays of words.
pub(crate) fn encode_arrays(first: &[U256], second: &[U256]) -> Vec<u8> {
    let mut out = word(64).to_vec();
    out.extend_from_slice(&word(32 * (3 + first.len() as u64)));
    for array in [first, second] {
        out.extend_from_slice(&word(array.len() as u64));
        out.extend(array.iter().flat_map(U256::to_be_bytes::<32>));
    }
    out
}

/// The arguments of a call: an ABI tuple. What does not decode as asked is `None`; what follows is not looked at, as
/// Solidity does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments<'d>(pub(crate) &'d [u8]);

impl<'d> Arguments<'d> {
    /// The word `index`.
    pub(crate) fn word(self, index: usize) -> Option<U256> {
        let at = index.checked_mul(32)?;
        self.0.get(at..at.checked_add(32)?).map(U256::from_be_slice)
    }

    /// The word `index` as a `uint32`.
    pub(crate) fn short(self, index: usize) -> Option<u32> {
        self.word(index)?.try_into().ok()
    }

    /// The word `index` as an `address`.
    pub(crate) fn address(self, index: usize) -> Option<Address> {
        let word = B256::from(self.word(index)?);
        word[..12].iter().all(|byte| *byte == 0).then(|| Address::from_word(word))
    }

    /// The `bytes` that the word `index` points to.
    pub(crate) fn bytes(self, index: usize) -> Option<&'d [u8]> {
        decode_bytes(self.0, index)
    }
}

/// Revert data that Solidity tools show as text.
pub(crate) fn encode_error(reason: &str) -> Vec<u8> {
    let mut out = ERROR.to_vec();
    out.extend_from_slice(&encode_bytes(&[reason.as_bytes()]));
    out
}

/// The item `index` of a tuple of dynamic byte strings.
pub(crate) fn decode_bytes(data: &[u8], index: usize) -> Option<&[u8]> {
    let offset = number(data, index.checked_mul(32)?)?;
    let len = number(data, offset)?;
    let start = offset.checked_add(32)?;
    data.get(start..start.checked_add(len)?)
}

fn number(data: &[u8], at: usize) -> Option<usize> {
    let word = B256::from_slice(data.get(at..at.checked_add(32)?)?);
    U256::from_be_bytes(word.0).try_into().ok()
}

/// The text behind revert data: that of `Error(string)`, or the meaning of `Panic(uint256)`. `None` for anything else.
pub fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, data) = output.split_at_checked(4)?;
    if selector == ERROR {
        return decode_bytes(data, 0).map(|text| String::from_utf8_lossy(text).into_owned());
    }
    if selector == PANIC && data.len() == 32 {
        let code = U256::from_be_slice(data);
        let meaning = match code.try_into().unwrap_or(u64::MAX) {
            0x00 => "generic panic",
            0x01 => "assert(false)",
            0x11 => "arithmetic underflow or overflow",
            0x12 => "division or modulo by zero",
            0x21 => "enum overflow",
            0x22 => "invalid encoded storage byte array accessed",
            0x31 => "out-of-bounds array access; popping on an empty array",
            0x32 => "out-of-bounds access of an array or bytesN",
            0x41 => "out of memory",
            0x51 => "uninitialized function",
            _ => return Some(format!("unknown panic code: {code:#x}")),
        };
        return Some(meaning.into());
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn errors_read_back_and_look_like_solidity() {
        let data = encode_error("user error");
        let expected = hex!(
            "08c379a0"
            "0000000000000000000000000000000000000000000000000000000000000020"
            "000000000000000000000000000000000000000000000000000000000000000a"
            "75736572206572726f7200000000000000000000000000000000000000000000"
        );
        assert_eq!(data, expected);
        assert_eq!(revert_reason(&data).unwrap(), "user error");
        let mut panic = PANIC.to_vec();
        panic.extend_from_slice(&word(0x11));
        assert_eq!(revert_reason(&panic).unwrap(), "arithmetic underflow or overflow");
        assert_eq!(revert_reason(&data[..40]), None);
        assert_eq!(revert_reason(b"\x01\x02"), None);
    }

    #[test]
    fn arguments_read_back_or_are_none() {
        let address = Address::repeat_byte(0xab);
        let words = [address.into_word().0, word(7), [0xff; 32]];
        let data = encode_bytes_and_words(b"abc", &words);
        let arguments = Arguments(&data);
        assert_eq!(arguments.bytes(0), Some(&b"abc"[..]));
        assert_eq!(arguments.address(1), Some(address));
        assert_eq!((arguments.short(2), arguments.word(2)), (Some(7), Some(U256::from(7))));
        assert_eq!((arguments.short(3), arguments.address(3), arguments.word(3)), (None, None, Some(U256::MAX)));
        assert_eq!((arguments.bytes(1), arguments.word(100), arguments.word(usize::MAX)), (None, None, None));
        assert_eq!(Arguments(&data[..31]).word(0), None);
    }

    #[test]
    fn arrays_look_like_solidity() {
        let data = encode_arrays(&[U256::from(5), U256::from(6)], &[U256::from(9)]);
        let words: Vec<u64> = data.chunks(32).map(|word| U256::from_be_slice(word).to()).collect();
        assert_eq!(words, [64, 160, 2, 5, 6, 1, 9]);
    }

    #[test]
    fn tuples_of_bytes_read_back() {
        let items: [&[u8]; 3] = [b"", b"abc", &[7; 64]];
        let data = encode_bytes(&items);
        for (index, item) in items.iter().enumerate() {
            assert_eq!(decode_bytes(&data, index).unwrap(), *item);
        }
        assert_eq!(decode_bytes(&data[..100], 2), None);
        assert_eq!(decode_bytes(&[0xff; 96], 0), None);
    }
}
