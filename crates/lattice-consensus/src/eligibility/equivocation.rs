//! Equivocation: two headers of one proposer for one slot. One copy stands, the others are evidence.

use std::collections::BTreeMap;

use alloy_primitives::B256;

/// Two different headers, signed by one proposer for one slot. Whether the signatures are good is the chain's to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EquivocationEvidence {
    /// Registry index of the proposer.
    pub proposer: u32,
    /// The slot.
    pub slot: u64,
    /// Hashes of the two headers, strictly ascending: one pair has one form.
    pub headers: [B256; 2],
}

/// Why a pair of headers is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEquivocation {
    /// The same header twice, or not in ascending order.
    #[error("the headers of an equivocation are two different ones in ascending order")]
    Headers,
    /// The headers differ in proposer or slot.
    #[error("the headers of an equivocation have one proposer and one slot")]
    Other,
}

impl EquivocationEvidence {
    /// From (proposer, slot, hash) of two headers in any order.
    pub fn of(a: (u32, u64, B256), b: (u32, u64, B256)) -> Result<Self, InvalidEquivocation> {
        if (a.0, a.1) != (b.0, b.1) {
            return Err(InvalidEquivocation::Other);
        }
        let evidence = Self { proposer: a.0, slot: a.1, headers: [a.2.min(b.2), a.2.max(b.2)] };
        evidence.check_form().map(|()| evidence)
    }

    /// Checks that the two are different and in order.
    pub fn check_form(&self) -> Result<(), InvalidEquivocation> {
        if self.headers[0] < self.headers[1] { Ok(()) } else { Err(InvalidEquivocation::Headers) }
    }
}

/// What to do with a header that comes over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// It is the only one of its proposer and slot: relay it.
    First,
    /// It is the second one: relay it, because the two together are evidence.
    Second(EquivocationEvidence),
    /// Two are known, which is all that anybody needs: keep it only if a block that is kept references it.
    Surplus,
}

/// All known headers by slot and proposer, for as long as they matter.
///
/// A working set: the chain adds every header it inserts, and forgets slots below the pruning point.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    known: BTreeMap<(u64, u32), Vec<B256>>,
}

impl Copies {
    /// Adds a header and says what to do with it. Adding one again changes nothing and gives the same answer.
    pub fn add(&mut self, proposer: u32, slot: u64, hash: B256) -> Relay {
        let known = self.known.entry((slot, proposer)).or_default();
        let place = known.iter().position(|&other| other == hash).unwrap_or_else(|| {
            known.push(hash);
            known.len() - 1
        });
        match place {
            0 => Relay::First,
            1 => EquivocationEvidence::of((proposer, slot, known[0]), (proposer, slot, hash))
                .map_or(Relay::Surplus, Relay::Second),
            _ => Relay::Surplus,
        }
    }

    /// How many headers of this proposer and slot are known: producers avoid tips that bring third ones.
    pub fn count(&self, proposer: u32, slot: u64) -> usize {
        self.known.get(&(slot, proposer)).map_or(0, Vec::len)
    }

    /// Which blocks of a mergeset are later copies: red and not executed, but counted in limits.
    ///
    /// `merged` holds (hash, proposer, slot) in the order of consensus, `in_past` says whether a block is the selected
    /// parent or in its past. The copy there stands; else the first one in order does. An answer a block, in order.
    pub fn later_copies<E>(
        &self,
        merged: &[(B256, u32, u64)],
        in_past: impl Fn(&B256) -> Result<bool, E>,
    ) -> Result<Vec<bool>, E> {
        let mut standing: BTreeMap<(u64, u32), B256> = BTreeMap::new();
        let mut later = Vec::with_capacity(merged.len());
        for &(hash, proposer, slot) in merged {
            if standing.contains_key(&(slot, proposer)) {
                later.push(true);
                continue;
            }
            let mut has_earlier = false;
            for other in self.known.get(&(slot, proposer)).into_iter().flatten() {
                has_earlier = has_earlier || (*other != hash && in_past(other)?);
            }
            standing.insert((slot, proposer), hash);
            later.push(has_earlier);
        }
        Ok(later)
    }

    /// Forgets all slots before this one.
    pub fn forget_before(&mut self, slot: u64) {
        self.known = self.known.split_off(&(slot, 0));
    }

    /// Slots with their proposers that are held.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::convert::Infallible;

    fn hash(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    #[test]
    fn two_headers_of_a_slot_are_evidence_and_more_are_surplus() {
        let mut copies = Copies::default();
        assert_eq!(copies.add(7, 5, hash(9)), Relay::First);
        assert_eq!(copies.add(7, 6, hash(8)), Relay::First);
        assert_eq!(copies.add(8, 5, hash(7)), Relay::First);
        let evidence = EquivocationEvidence { proposer: 7, slot: 5, headers: [hash(1), hash(9)] };
        assert_eq!(copies.add(7, 5, hash(1)), Relay::Second(evidence));
        assert_eq!(copies.add(7, 5, hash(2)), Relay::Surplus);
        assert_eq!(copies.add(7, 5, hash(1)), Relay::Second(evidence), "again, the same answer");
        assert_eq!(copies.count(7, 5), 3);
        copies.forget_before(6);
        assert_eq!((copies.len(), copies.count(7, 5), copies.count(7, 6)), (1, 0, 1));
    }

    #[test]
    fn evidence_has_one_form() {
        let pair = EquivocationEvidence::of((1, 2, hash(9)), (1, 2, hash(3))).unwrap();
        assert_eq!(pair, EquivocationEvidence::of((1, 2, hash(3)), (1, 2, hash(9))).unwrap());
        let of = EquivocationEvidence::of;
        assert_eq!(of((1, 2, hash(3)), (1, 2, hash(3))), Err(InvalidEquivocation::Headers));
        assert_eq!(of((1, 2, hash(3)), (1, 3, hash(4))), Err(InvalidEquivocation::Other));
        assert_eq!(of((1, 2, hash(3)), (2, 2, hash(4))), Err(InvalidEquivocation::Other));
        let swapped = EquivocationEvidence { headers: [hash(9), hash(3)], ..pair };
        assert_eq!(swapped.check_form(), Err(InvalidEquivocation::Headers));
    }

    fn later(copies: &Copies, merged: &[u8], past: &[u8]) -> Vec<bool> {
        let merged: Vec<_> = merged.iter().map(|&byte| (hash(byte), 1, 5)).collect();
        copies.later_copies(&merged, |block| Ok::<_, Infallible>(past.contains(&block[0]))).unwrap()
    }

    #[test]
    fn the_copy_in_the_past_stands_else_the_first_in_order() {
        let mut copies = Copies::default();
        for byte in [1, 2, 3] {
            copies.add(1, 5, hash(byte));
        }
        assert_eq!(later(&copies, &[3, 1, 2], &[]), [false, true, true]);
        assert_eq!(later(&copies, &[3, 1], &[2]), [true, true]);
        assert_eq!(later(&copies, &[1], &[9]), [false]);
        let mixed = [(hash(1), 1, 5), (hash(4), 1, 6), (hash(2), 1, 5)];
        assert_eq!(copies.later_copies(&mixed, |_| Ok::<_, Infallible>(false)).unwrap(), [false, false, true]);
    }
}
