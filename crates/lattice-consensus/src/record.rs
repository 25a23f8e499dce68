//! The records on disk, one of each kind a block, so that a node may one day hold only some of them in memory.
//!
//! | table | key | value (integers big-endian) |
//! |---|---|---|
//! | `Relations` | hash | insertion index u64, slot u64, VRF hash, work u128, number of parents u16, parents |
//! | `Ghostdag` | hash | blue score u64, blue work u128, blues, reds (each: number u16, hashes), anticone sizes (number u16, then each: blocks back in insertion order u32, size u16) |
//! | `Reachability` | hash | interval start u64, end u64 |
//!
//! Tips, covering sets and bit rows follow from these and have no record.

use alloy_primitives::B256;
use lattice_storage::{KvRead, StorageFault, Table};

use crate::{BlockFacts, GhostdagData, reachability::Interval};

/// The `Relations` record: a block's facts without the claims, which are equal to the computed values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relations {
    pub index: u64,
    pub slot: u64,
    pub vrf_hash: B256,
    pub work: u128,
    pub parents: Vec<B256>,
}

impl Relations {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(66 + 32 * self.parents.len());
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.slot.to_be_bytes());
        out.extend_from_slice(self.vrf_hash.as_slice());
        out.extend_from_slice(&self.work.to_be_bytes());
        put_hashes(&mut out, self.parents.iter().copied());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let relations = Self {
            index: input.u64()?,
            slot: input.u64()?,
            vrf_hash: input.hash()?,
            work: input.u128()?,
            parents: input.hashes()?,
        };
        input.end()?;
        Some(relations)
    }
}

/// The `Ghostdag` record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GhostdagRecord {
    pub blue_score: u64,
    pub blue_work: u128,
    pub blues: Vec<B256>,
    pub reds: Vec<B256>,
    /// (own index minus the blue's index, size).
    pub anticone_sizes: Vec<(u32, u16)>,
}

impl GhostdagRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let hashes = self.blues.len() + self.reds.len();
        let mut out = Vec::with_capacity(30 + 32 * hashes + 6 * self.anticone_sizes.len());
        out.extend_from_slice(&self.blue_score.to_be_bytes());
        out.extend_from_slice(&self.blue_work.to_be_bytes());
        put_hashes(&mut out, self.blues.iter().copied());
        put_hashes(&mut out, self.reds.iter().copied());
        put_len(&mut out, self.anticone_sizes.len());
        for (distance, size) in &self.anticone_sizes {
            out.extend_from_slice(&distance.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (blue_score, blue_work) = (input.u64()?, input.u128()?);
        let (blues, reds) = (input.hashes()?, input.hashes()?);
        let count = input.u16()?;
        let anticone_sizes = (0..count).map(|_| Some((input.u32()?, input.u16()?))).collect::<Option<_>>()?;
        input.end()?;
        Some(Self { blue_score, blue_work, blues, reds, anticone_sizes })
    }
}

pub(crate) fn encode_interval(interval: Interval) -> Vec<u8> {
    [interval.start.to_be_bytes(), interval.end.to_be_bytes()].concat()
}

pub(crate) fn decode_interval(bytes: &[u8]) -> Option<Interval> {
    let mut input = Input(bytes);
    let interval = Interval { start: input.u64()?, end: input.u64()? };
    input.end()?;
    (interval.start < interval.end).then_some(interval)
}

impl GhostdagData {
    /// Reads the record of a block from the store or a snapshot; none when the block is not known.
    pub fn load(kv: &dyn KvRead, hash: &B256) -> Result<Option<Self>, StorageFault> {
        let Some(bytes) = kv.get(Table::Ghostdag, hash.as_slice())? else { return Ok(None) };
        let record = GhostdagRecord::decode(&bytes).ok_or_else(|| undecodable(Table::Ghostdag, hash.as_slice()))?;
        Ok(Some(Self {
            blue_score: record.blue_score,
            blue_work: record.blue_work,
            selected_parent: record.blues.first().copied().unwrap_or_default(),
            mergeset_blues: record.blues,
            mergeset_reds: record.reds,
        }))
    }
}

impl BlockFacts {
    /// Reads the records of a block from the store or a snapshot; none when the block is not known.
    pub fn load(kv: &dyn KvRead, hash: &B256) -> Result<Option<Self>, StorageFault> {
        let Some(bytes) = kv.get(Table::Relations, hash.as_slice())? else { return Ok(None) };
        let record = Relations::decode(&bytes).ok_or_else(|| undecodable(Table::Relations, hash.as_slice()))?;
        let data = GhostdagData::load(kv, hash)?
            .ok_or_else(|| StorageFault::corrupt(Table::Ghostdag, format!("block {hash} has no record")))?;
        Ok(Some(Self {
            hash: *hash,
            parents: record.parents,
            slot: record.slot,
            vrf_hash: record.vrf_hash,
            work: record.work,
            blue_score: data.blue_score,
            blue_work: data.blue_work,
        }))
    }
}

/// The fault of a record that does not decode.
pub(crate) fn undecodable(table: Table, key: &[u8]) -> StorageFault {
    StorageFault::corrupt(table, format!("the record of {} does not decode", alloy_primitives::hex::encode(key)))
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // Lengths follow from k, the parents' and the mergeset's limits, all far below 2^16.
    let len = u16::try_from(len).expect("lists of a block are bounded by its parameters");
    out.extend_from_slice(&len.to_be_bytes());
}

fn put_hashes(out: &mut Vec<u8>, hashes: impl ExactSizeIterator<Item = B256>) {
    put_len(out, hashes.len());
    for hash in hashes {
        out.extend_from_slice(hash.as_slice());
    }
}

/// What is left to read of a record.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn hash(&mut self) -> Option<B256> {
        self.take().map(B256::new)
    }

    fn hashes(&mut self) -> Option<Vec<B256>> {
        let count = self.u16()?;
        (0..count).map(|_| self.hash()).collect()
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_come_back_and_cut_ones_are_refused() {
        let hash = B256::repeat_byte;
        let relations =
            Relations { index: 7, slot: 9, vrf_hash: hash(1), work: 1 << 100, parents: vec![hash(2), hash(3)] };
        let ghostdag = GhostdagRecord {
            blue_score: 5,
            blue_work: 6,
            blues: vec![hash(2)],
            reds: vec![hash(4), hash(5)],
            anticone_sizes: vec![(1, 0), (70_000, 37)],
        };
        let interval = Interval { start: 3, end: u64::MAX };
        assert_eq!(Relations::decode(&relations.encode()).unwrap(), relations);
        assert_eq!(GhostdagRecord::decode(&ghostdag.encode()).unwrap(), ghostdag);
        assert_eq!(decode_interval(&encode_interval(interval)).unwrap(), interval);
        for cut in 0..relations.encode().len() {
            assert!(Relations::decode(&relations.encode()[..cut]).is_none());
        }
        for cut in 0..ghostdag.encode().len() {
            assert!(GhostdagRecord::decode(&ghostdag.encode()[..cut]).is_none());
        }
        assert!(decode_interval(&[0; 16]).is_none(), "an empty interval");
        assert!(decode_interval(&[0; 17]).is_none(), "left-over bytes");
    }
}
