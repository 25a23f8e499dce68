//! Merkle trees over keccak256, for data sets, training traces and activations.
//!
//! A leaf is keccak(0x00 ++ content), a node keccak(0x01 ++ left ++ right); the last node of an odd level moves up as it is.
//! The root is keccak(0x02 ++ number of leaves, u64 little-endian ++ top), so a proof also proves the number of leaves.

use alloy_primitives::{B256, keccak256};

/// The hash of a leaf's content.
pub fn leaf(content: &[u8]) -> B256 {
    keccak256([&[0], content].concat())
}

fn node(left: &B256, right: &B256) -> B256 {
    keccak256([&[1], left.as_slice(), right.as_slice()].concat())
}

fn seal(leaves: u64, top: &B256) -> B256 {
    keccak256([&[2], &leaves.to_le_bytes()[..], top.as_slice()].concat())
}

/// The next level up.
fn level(below: &[B256]) -> Vec<B256> {
    below.chunks(2).map(|pair| if let [left, right] = pair { node(left, right) } else { pair[0] }).collect()
}

/// The root over the hashes of leaves.
pub fn root(leaves: &[B256]) -> B256 {
    let mut nodes = leaves.to_vec();
    while nodes.len() > 1 {
        nodes = level(&nodes);
    }
    seal(leaves.len() as u64, &nodes.first().copied().unwrap_or_default())
}

/// What leads from one leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// Number of leaves.
    pub leaves: u64,
    /// The other node of each pair on the way up.
    pub path: Vec<B256>,
}

impl Proof {
    /// The proof for leaf `index`; `None` when there is no such leaf.
    pub fn of(leaves: &[B256], index: u64) -> Option<Proof> {
        let mut at = usize::try_from(index).ok().filter(|&at| at < leaves.len())?;
        let mut nodes = leaves.to_vec();
        let mut path = Vec::new();
        while nodes.len() > 1 {
            path.extend(nodes.get(at ^ 1));
            nodes = level(&nodes);
            at /= 2;
        }
        Some(Proof { index, leaves: leaves.len() as u64, path })
    }

    /// Whether the leaf with this hash is where the proof says, under that root.
    pub fn proves(&self, leaf: &B256, root: &B256) -> bool {
        if self.index >= self.leaves {
            return false;
        }
        let (mut at, mut width, mut hash) = (self.index, self.leaves, *leaf);
        let mut path = self.path.iter();
        while width > 1 {
            // The last node of an odd level has no other.
            if at ^ 1 < width {
                let Some(other) = path.next() else { return false };
                hash = if at % 2 == 0 { node(&hash, other) } else { node(other, &hash) };
            }
            (at, width) = (at / 2, width.div_ceil(2));
        }
        path.next().is_none() && seal(self.leaves, &hash) == *root
    }

    /// Bytes of a proof with a path of that length.
    pub(crate) const fn bytes(path: usize) -> usize {
        17 + 32 * path
    }

    /// Appends its bytes: index, leaves, path with a length of one byte.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.leaves.to_le_bytes());
        out.push(self.path.len() as u8);
        self.path.iter().for_each(|hash| out.extend_from_slice(hash.as_slice()));
    }

    /// Reads what [`Proof::append`] wrote.
    pub(crate) fn read(cursor: &mut crate::bytes::Cursor<'_>) -> Result<Proof, String> {
        let (index, leaves) = (cursor.u64("a proof's index")?, cursor.u64("a proof's leaves")?);
        let len = cursor.u8("a proof's length")?;
        let path = (0..len).map(|_| cursor.hash("a proof's path")).collect::<Result<_, _>>()?;
        Ok(Proof { index, leaves, path })
    }
}

/// The search for the place where two sequences of hashes part, when they agree at one position and not at a later one.
///
/// It keeps this: both agree at `agreed` and differ at `disputed`. So it always ends with a pair of neighbours, whatever lies
/// between, and each answer halves the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bisection {
    /// A position at which both agree.
    pub agreed: u64,
    /// A later position at which they differ.
    pub disputed: u64,
}

impl Bisection {
    /// The position to compare next; `None` when the two are neighbours.
    pub fn question(&self) -> Option<u64> {
        (self.disputed - self.agreed > 1).then(|| self.agreed + (self.disputed - self.agreed) / 2)
    }

    /// Takes the answer to the question.
    pub fn answer(&mut self, equal: bool) {
        if let Some(middle) = self.question() {
            if equal { self.agreed = middle } else { self.disputed = middle }
        }
    }

    /// Position of the first difference that bisection finds between two sequences of equal length that begin alike and end
    /// differently: the hash before it is equal, its own is not. `None` when they end alike, or begin differently.
    pub fn between(one: &[B256], other: &[B256]) -> Option<u64> {
        let last = one.len().checked_sub(1)?;
        if one.len() != other.len() || one[0] != other[0] || one[last] == other[last] {
            return None;
        }
        let mut search = Bisection { agreed: 0, disputed: last as u64 };
        while let Some(middle) = search.question() {
            search.answer(one[middle as usize] == other[middle as usize]);
        }
        Some(search.disputed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<B256> {
        (0..count).map(|i| leaf(&i.to_le_bytes())).collect()
    }

    #[test]
    fn every_leaf_is_proved_and_nothing_else() {
        for count in 1..=20 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for index in 0..count as u64 {
                let proof = Proof::of(&leaves, index).unwrap();
                let own = leaves[index as usize];
                assert!(proof.proves(&own, &root), "{index} of {count}");
                assert!(!proof.proves(&leaf(b"other"), &root));
                assert!(
                    !Proof { index: (index + 1) % count as u64, ..proof.clone() }.proves(&own, &root) || count == 1
                );
                assert!(!Proof { leaves: proof.leaves + 1, ..proof.clone() }.proves(&own, &root));
                let mut longer = proof;
                longer.path.push(own);
                assert!(!longer.proves(&own, &root));
            }
            assert_eq!(Proof::of(&leaves, count as u64), None);
        }
    }

    proptest! {
        #[test]
        fn bisection_ends_at_neighbours_that_part(equal in proptest::collection::vec(any::<bool>(), 2..300)) {
            let one = leaves(equal.len());
            let mut other = one.clone();
            for (at, equal) in equal.iter().enumerate().skip(1) {
                if !equal || at + 1 == one.len() {
                    other[at] = B256::ZERO;
                }
            }
            let at = Bisection::between(&one, &other).unwrap() as usize;
            prop_assert!(one[at - 1] == other[at - 1] && one[at] != other[at]);
            let mut rounds = 0;
            let mut search = Bisection { agreed: 0, disputed: one.len() as u64 - 1 };
            while search.question().is_some() {
                search.answer(false);
                rounds += 1;
            }
            prop_assert!(rounds <= 9 && search.disputed == 1);
            prop_assert_eq!(Bisection::between(&one, &one), None);
        }
    }
}
