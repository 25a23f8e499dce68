//! Words that hold several fields: fewer slots, cheaper operations.

use alloy_primitives::{Address, U256};

/// A storage word of packed fields, addressed by byte from the left, big-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Word([u8; 32]);

impl Word {
    pub(crate) const fn new(value: U256) -> Self {
        Self(value.to_be_bytes())
    }

    pub(crate) const fn value(self) -> U256 {
        U256::from_be_bytes(self.0)
    }

    /// The number in `len` bytes (at most 16) from byte `at` on.
    pub(crate) fn number(self, at: usize, len: usize) -> u128 {
        self.0[at..at + len].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    /// As [`Word::number`], for fields of at most 8 bytes.
    pub(crate) fn short(self, at: usize, len: usize) -> u64 {
        self.number(at, len) as u64
    }

    /// Writes a number into `len` bytes (at most 16); one that does not fit becomes the highest that does.
    pub(crate) fn with(mut self, at: usize, len: usize, number: impl Into<u128>) -> Self {
        let highest = u128::MAX >> (8 * (16 - len));
        let bytes = number.into().min(highest).to_be_bytes();
        self.0[at..at + len].copy_from_slice(&bytes[16 - len..]);
        self
    }

    pub(crate) fn address(self, at: usize) -> Address {
        Address::from_slice(&self.0[at..at + 20])
    }

    pub(crate) fn with_address(mut self, at: usize, address: &Address) -> Self {
        self.0[at..at + 20].copy_from_slice(address.as_slice());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let word = Word::default().with(0, 4, 7u64).with(4, 16, u128::MAX).with(20, 2, 70_000u64).with(22, 5, 1u64);
        assert_eq!(word.number(0, 4), 7);
        assert_eq!(word.number(4, 16), u128::MAX);
        assert_eq!(word.number(20, 2), 0xffff, "too large is the highest");
        assert_eq!(word.short(22, 5), 1);
        assert_eq!(word.number(27, 5), 0);
        assert_eq!(Word::new(word.value()), word);
        let address = Address::repeat_byte(7);
        assert_eq!(Word::default().with_address(3, &address).address(3), address);
    }
}
