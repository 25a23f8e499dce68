//! The records on disk. Blocks name others by index (the place in insertion order) and hash, so that a record can be read
//! alone, and still says who was there when that one is pruned.
//!
//! | table | key | value (integers big-endian; *distance*: own index minus the other's, as LEB128) |
//! |---|---|---|
//! | `Relations` | hash | insertion index u64 |
//! | `Ghostdag` | index u64 | hash, slot u64, VRF hash, AI class u8, work u128, blue score u64, blue work u128, pruning point (hash), height LEB128, distance of the jump, of the merge-depth root, then parents, blues, reds (each: number LEB128, then distance and hash), anticone sizes (number LEB128, then each: distance, size u16) |
//! | `Reachability` | index u64 | start u64, end u64, then what is before and after the start and the end in the list of interval ends (u64 each), then the covering set (indices u64) |
//! | `Meta` | `dag genesis` | hash of genesis |
//! | `Meta` | `dag window` | index u64 from which on covering sets are not written yet: they follow from the mergesets |
//! | `Meta` | `dag tip` ++ index u64 | hash of a tip before the window |
//! | `Meta` | `dag pruning` | index u64 of the pruning point, index u64 of the oldest chain block kept |
//! | `Meta` | `dag past` ++ index u64 | hash of a pruning point, past or present |

use alloy_primitives::B256;
use lattice_storage::{KvRead, StorageFault, Table};

use crate::{
    BlockFacts, GhostdagData,
    dag::Block,
    ghostdag::Colouring,
    older::{Record, undecodable},
};

pub(crate) const GENESIS: &[u8] = b"dag genesis";
pub(crate) const WINDOW: &[u8] = b"dag window";
pub(crate) const TIP: &[u8] = b"dag tip";
pub(crate) const PRUNING: &[u8] = b"dag pruning";
pub(crate) const PAST_POINT: &[u8] = b"dag past";

/// Another block, as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub index: u64,
    pub hash: B256,
}

/// The `Ghostdag` record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockRecord {
    pub index: u64,
    pub hash: B256,
    pub slot: u64,
    pub vrf_hash: B256,
    pub ai_class: u8,
    pub work: u128,
    pub blue_score: u64,
    pub blue_work: u128,
    pub newest_pruning_point: B256,
    pub height: u64,
    pub jump: u64,
    pub merge_root: u64,
    pub parents: Vec<Named>,
    pub blues: Vec<Named>,
    pub reds: Vec<Named>,
    pub anticone_sizes: Vec<(u64, u16)>,
}

/// Most of a record's bytes, to size its buffer: hashes and numbers but for the lists.
const BASE_BYTES: usize = 192;
/// Of one named block.
const NAMED_BYTES: usize = 34;

impl BlockRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let named = self.parents.len() + self.blues.len() + self.reds.len();
        let mut out = Vec::with_capacity(BASE_BYTES + NAMED_BYTES * named + 4 * self.anticone_sizes.len());
        out.extend_from_slice(self.hash.as_slice());
        out.extend_from_slice(&self.slot.to_be_bytes());
        out.extend_from_slice(self.vrf_hash.as_slice());
        out.push(self.ai_class);
        out.extend_from_slice(&self.work.to_be_bytes());
        out.extend_from_slice(&self.blue_score.to_be_bytes());
        out.extend_from_slice(&self.blue_work.to_be_bytes());
        out.extend_from_slice(self.newest_pruning_point.as_slice());
        put_number(&mut out, self.height);
        put_number(&mut out, self.index - self.jump);
        put_number(&mut out, self.index - self.merge_root);
        for list in [&self.parents, &self.blues, &self.reds] {
            put_number(&mut out, list.len() as u64);
            for named in list {
                put_number(&mut out, self.index - named.index);
                out.extend_from_slice(named.hash.as_slice());
            }
        }
        put_number(&mut out, self.anticone_sizes.len() as u64);
        for &(blue, size) in &self.anticone_sizes {
            put_number(&mut out, self.index - blue);
            out.extend_from_slice(&size.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(index: u64, bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (hash, slot, vrf_hash, [ai_class]) = (input.hash()?, input.u64()?, input.hash()?, input.take()?);
        let (work, blue_score, blue_work) = (input.u128()?, input.u64()?, input.u128()?);
        let newest_pruning_point = input.hash()?;
        let height = input.number()?;
        let (jump, merge_root) = (index.checked_sub(input.number()?)?, index.checked_sub(input.number()?)?);
        let (parents, blues, reds) = (input.named(index)?, input.named(index)?, input.named(index)?);
        let count = input.number()?;
        let mut anticone_sizes = Vec::new();
        for _ in 0..count {
            anticone_sizes.push((input.before(index)?, u16::from_be_bytes(input.take()?)));
        }
        input.end()?;
        // Only genesis selects nobody.
        (blues.is_empty() == (index == 0) && parents.is_empty() == (index == 0)).then_some(())?;
        Some(Self {
            index,
            hash,
            slot,
            vrf_hash,
            ai_class,
            work,
            blue_score,
            blue_work,
            newest_pruning_point,
            height,
            jump,
            merge_root,
            parents,
            blues,
            reds,
            anticone_sizes,
        })
    }

    fn load(kv: &dyn KvRead, hash: &B256) -> Result<Option<Self>, StorageFault> {
        let Some(index) = load_index(kv, hash)? else { return Ok(None) };
        let bytes = kv.get(Table::Ghostdag, &index.to_be_bytes())?;
        let bytes =
            bytes.ok_or_else(|| StorageFault::corrupt(Table::Ghostdag, format!("block {hash} has no record")))?;
        Self::decode(index, &bytes).ok_or_else(|| undecodable::<Block>(index)).map(Some)
    }

    pub(crate) fn parent_hashes(&self) -> Vec<B256> {
        hashes(&self.parents)
    }

    pub(crate) fn data(&self) -> GhostdagData {
        GhostdagData {
            blue_score: self.blue_score,
            blue_work: self.blue_work,
            selected_parent: self.blues.first().map_or(B256::ZERO, |parent| parent.hash),
            mergeset_blues: hashes(&self.blues),
            mergeset_reds: hashes(&self.reds),
        }
    }
}

fn hashes(list: &[Named]) -> Vec<B256> {
    list.iter().map(|named| named.hash).collect()
}

fn indices(list: &[Named]) -> Box<[u64]> {
    list.iter().map(|named| named.index).collect()
}

impl From<&BlockRecord> for Block {
    fn from(record: &BlockRecord) -> Self {
        Self {
            hash: record.hash,
            vrf_hash: record.vrf_hash,
            slot: record.slot,
            ai_class: record.ai_class,
            work: record.work,
            parents: indices(&record.parents),
            colouring: Colouring {
                blue_score: record.blue_score,
                blue_work: record.blue_work,
                blues: indices(&record.blues),
                reds: indices(&record.reds),
                anticone_sizes: record.anticone_sizes.clone().into(),
            },
            height: record.height,
            jump: record.jump,
            merge_root: record.merge_root,
            newest_pruning_point: record.newest_pruning_point,
        }
    }
}

impl Record for Block {
    const TABLE: Table = Table::Ghostdag;

    fn decode(index: u64, bytes: &[u8]) -> Option<Self> {
        BlockRecord::decode(index, bytes).map(|record| Self::from(&record))
    }
}

/// Insertion index of a block; none when it is not known.
pub(crate) fn load_index(kv: &dyn KvRead, hash: &B256) -> Result<Option<u64>, StorageFault> {
    let Some(bytes) = kv.get(Table::Relations, hash.as_slice())? else { return Ok(None) };
    let index = bytes.as_slice().try_into().map(u64::from_be_bytes);
    index.map(Some).map_err(|_| {
        StorageFault::corrupt(Table::Relations, format!("the record of {hash} is {} bytes, not 8", bytes.len()))
    })
}

/// `prefix ++ index`, a key of `Meta`.
pub(crate) fn indexed_key(prefix: &[u8], index: u64) -> Vec<u8> {
    [prefix, &index.to_be_bytes()].concat()
}

impl GhostdagData {
    /// Reads the record of a block from the store or a snapshot; none when the block is not known.
    pub fn load(kv: &dyn KvRead, hash: &B256) -> Result<Option<Self>, StorageFault> {
        Ok(BlockRecord::load(kv, hash)?.map(|record| record.data()))
    }
}

impl BlockFacts {
    /// Reads the record of a block from the store or a snapshot; none when the block is not known.
    pub fn load(kv: &dyn KvRead, hash: &B256) -> Result<Option<Self>, StorageFault> {
        Ok(BlockRecord::load(kv, hash)?.map(|record| Self {
            hash: *hash,
            parents: record.parent_hashes(),
            slot: record.slot,
            vrf_hash: record.vrf_hash,
            ai_class: record.ai_class,
            work: record.work,
            blue_score: record.blue_score,
            blue_work: record.blue_work,
            newest_pruning_point: record.newest_pruning_point,
        }))
    }
}

/// LEB128: seven bits a byte from the lowest, the highest bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read of a record.
pub(crate) struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn hash(&mut self) -> Option<B256> {
        self.take().map(B256::new)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for place in 0..10 {
            let [byte] = self.take()?;
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The index of a block before this one.
    fn before(&mut self, index: u64) -> Option<u64> {
        index.checked_sub(self.number()?).filter(|&other| other < index)
    }

    fn named(&mut self, index: u64) -> Option<Vec<Named>> {
        let count = self.number()?;
        (0..count).map(|_| Some(Named { index: self.before(index)?, hash: self.hash()? })).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        let named = |index: u64| Named { index, hash: B256::repeat_byte(index as u8) };
        let index = (1 << 40) + 7;
        let record = BlockRecord {
            index,
            hash: B256::repeat_byte(1),
            slot: 9,
            vrf_hash: B256::repeat_byte(2),
            ai_class: 3,
            work: 1 << 100,
            blue_score: 5,
            blue_work: 6,
            newest_pruning_point: B256::repeat_byte(7),
            height: 300,
            jump: 4,
            merge_root: index - 200,
            parents: vec![named(3), named(index - 1)],
            blues: vec![named(3)],
            reds: vec![named(4), named(5)],
            anticone_sizes: vec![(index - 1, 0), (index - 70_000, 37)],
        };
        let bytes = record.encode();
        assert_eq!(BlockRecord::decode(index, &bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(BlockRecord::decode(index, &bytes[..cut]).is_none());
        }
        assert!(BlockRecord::decode(index, &[bytes.as_slice(), &[0]].concat()).is_none(), "left-over bytes");
        assert!(BlockRecord::decode(100, &bytes).is_none(), "distances lead before genesis");
    }

    #[test]
    fn numbers_have_ten_bytes_at_most() {
        for number in [0, 1, 127, 128, 1 << 32, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(Input(&out).number(), Some(number));
        }
        assert_eq!(Input(&[0xff; 11]).number(), None);
        assert_eq!(Input(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number(), None);
    }
}
