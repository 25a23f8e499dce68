//! Keys as strings of nibbles, packed two to a byte.

/// Longest key a trie accepts, in bytes. Every Ethereum trie fits: hashed keys are 32 bytes, index keys fewer.
pub const KEY_BYTES_MAX: usize = 32;

/// A string of at most 64 nibbles. Unused nibbles are zero, so the derived order (bytes first, then length) is the
/// lexicographic order of the nibble strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    bytes: [u8; KEY_BYTES_MAX],
    nibbles: u8,
}

impl Key {
    /// Packs a byte key.
    ///
    /// # Panics
    /// When `key` is longer than [`KEY_BYTES_MAX`]: keys are chosen by code, never by input.
    pub(crate) fn new(key: &[u8]) -> Self {
        assert!(key.len() <= KEY_BYTES_MAX, "a trie key has at most {KEY_BYTES_MAX} bytes, this one has {}", key.len());
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self { bytes, nibbles: (key.len() * 2) as u8 }
    }

    /// Length in nibbles.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.nibbles)
    }

    /// The nibble at `index`, which must be below [`Self::len`].
    pub(crate) fn at(&self, index: usize) -> usize {
        debug_assert!(index < self.len());
        let byte = self.bytes[index / 2];
        usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
    }

    /// The whole bytes of the key; exact for keys made by [`Self::new`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len() / 2]
    }

    /// Number of leading nibbles that both keys share.
    pub(crate) fn common_len(&self, other: &Self) -> usize {
        let bound = self.len().min(other.len());
        for (index, (a, b)) in self.bytes.iter().zip(&other.bytes).enumerate() {
            let differing = a ^ b;
            if differing != 0 {
                let nibbles = index * 2 + usize::from(differing & 0xf0 == 0);
                return nibbles.min(bound);
            }
        }
        bound
    }

    /// The first `len` nibbles.
    pub(crate) fn prefix(&self, len: usize) -> Self {
        debug_assert!(len <= self.len());
        let mut bytes = [0; KEY_BYTES_MAX];
        let whole = len / 2;
        bytes[..whole].copy_from_slice(&self.bytes[..whole]);
        if !len.is_multiple_of(2) {
            bytes[whole] = self.bytes[whole] & 0xf0;
        }
        Self { bytes, nibbles: len as u8 }
    }

    /// Whether `self` begins with `prefix`.
    pub(crate) fn starts_with(&self, prefix: &Self) -> bool {
        self.common_len(prefix) == prefix.len()
    }

    /// Appends the hex-prefix encoding (yellow paper, appendix C) of the nibbles from `depth` on as an RLP string.
    pub(crate) fn encode_path(&self, depth: usize, leaf: bool, out: &mut PathBuffer) {
        let odd = !(self.len() - depth).is_multiple_of(2);
        let flag = if leaf { 0x20 } else { 0x00 };
        let first = if odd { flag | 0x10 | self.at(depth) as u8 } else { flag };
        let mut from = depth + usize::from(odd);
        let len = 1 + (self.len() - from) / 2;
        if len > 1 {
            out.push(0x80 + len as u8);
        }
        out.push(first);
        if from.is_multiple_of(2) {
            out.extend(&self.bytes[from / 2..self.len() / 2]);
        } else {
            while from < self.len() {
                // `from` is odd here, so the pair straddles two packed bytes.
                out.push((self.bytes[from / 2] << 4) | (self.bytes[from / 2 + 1] >> 4));
                from += 2;
            }
        }
    }
}

/// A small stack buffer: an encoded path is at most 34 bytes, and list and string headers come around it.
pub(crate) struct PathBuffer {
    bytes: [u8; 64],
    len: usize,
}

impl PathBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nibbles(key: &Key) -> Vec<usize> {
        (0..key.len()).map(|index| key.at(index)).collect()
    }

    #[test]
    fn prefix_and_common_len_agree_with_nibble_lists() {
        let a = Key::new(&[0x12, 0x34, 0x56]);
        let b = Key::new(&[0x12, 0x35]);
        assert_eq!(a.common_len(&b), 3);
        assert_eq!(nibbles(&a.prefix(3)), [1, 2, 3]);
        assert!(b.starts_with(&a.prefix(3)));
        assert!(!b.starts_with(&a.prefix(4)));
        assert_eq!(a.common_len(&a.prefix(5)), 5);
    }

    #[test]
    fn order_is_lexicographic_with_the_shorter_first() {
        let short = Key::new(&[0x10]);
        let padded = Key::new(&[0x10, 0x00]);
        let other = Key::new(&[0x0f, 0xff]);
        assert!(other < short && short < padded);
    }

    #[test]
    fn hex_prefix_matches_the_yellow_paper() {
        let key = Key::new(&[0x12, 0x34, 0x56]);
        let cases: [(usize, bool, &[u8]); 5] = [
            (0, false, &[0x84, 0x00, 0x12, 0x34, 0x56]),
            (0, true, &[0x84, 0x20, 0x12, 0x34, 0x56]),
            (1, true, &[0x83, 0x32, 0x34, 0x56]),
            (5, false, &[0x16]),
            (6, true, &[0x20]),
        ];
        for (depth, leaf, expected) in cases {
            let mut out = PathBuffer::new();
            key.encode_path(depth, leaf, &mut out);
            assert_eq!(out.as_slice(), expected, "depth {depth}, leaf {leaf}");
        }
        // An extension ends at an odd nibble: the pairs straddle packed bytes.
        let mut out = PathBuffer::new();
        key.prefix(5).encode_path(1, false, &mut out);
        assert_eq!(out.as_slice(), [0x83, 0x00, 0x23, 0x45]);
    }
}
