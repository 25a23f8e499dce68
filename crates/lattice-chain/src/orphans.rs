//! Blocks that wait for their parents, bounded in number and bytes.
//!
//! What their parents are nobody can tell, so anybody may send any number of them. Room goes to those that a member of the
//! stake set has signed, as far as the newest head tells, and among these each producer has its share.

use alloy_primitives::B256;
use alloy_rlp::Encodable;
use lattice_types::{CheckedBlock, bls::PublicKey};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Orphans kept at the same time.
const ORPHANS_MAX: usize = 512;
/// Bytes of all of them, encoded.
const ORPHAN_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Orphans {
    blocks: BTreeMap<B256, Orphan>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug)]
struct Orphan {
    block: CheckedBlock,
    missing: BTreeSet<B256>,
    bytes: usize,
    arrival: u64,
}

impl Orphan {
    /// Who has signed it, if that is known.
    fn signer(&self) -> Option<PublicKey> {
        self.block.sealed_with().map(|seal| seal.public_key)
    }
}

impl Orphans {
    /// Keeps a block until these parents come.
    pub fn insert(&mut self, block: CheckedBlock, missing: &[B256]) {
        let (hash, missing) = (block.hash(), missing.iter().copied().collect());
        if let Some(known) = self.blocks.get_mut(&hash) {
            known.missing = missing;
            return;
        }
        let bytes = block.block().length();
        self.blocks.insert(hash, Orphan { block, missing, bytes, arrival: self.arrivals });
        self.bytes += bytes;
        self.arrivals += 1;
        while (self.blocks.len() > ORPHANS_MAX || self.bytes > ORPHAN_BYTES_MAX)
            && let Some(last) = self.last()
        {
            self.remove(&last);
        }
    }

    fn remove(&mut self, hash: &B256) -> Option<CheckedBlock> {
        let orphan = self.blocks.remove(hash)?;
        self.bytes -= orphan.bytes;
        Some(orphan.block)
    }

    /// Which block to give up: the oldest of those of whose producer nothing is known; else the farthest of the producer
    /// with the most blocks, or bytes where these are too many.
    fn last(&self) -> Option<B256> {
        let unknown = self.blocks.iter().filter(|(_, orphan)| orphan.signer().is_none());
        if let Some((hash, _)) = unknown.min_by_key(|(_, orphan)| orphan.arrival) {
            return Some(*hash);
        }
        let is_count = self.blocks.len() > ORPHANS_MAX;
        let mut shares = BTreeMap::<_, usize>::new();
        for orphan in self.blocks.values() {
            *shares.entry(orphan.signer()).or_default() += if is_count { 1 } else { orphan.bytes };
        }
        let (largest, _) = shares.into_iter().max_by_key(|(_, share)| *share)?;
        let of_largest = self.blocks.iter().filter(|(_, orphan)| orphan.signer() == largest);
        let far = |(_, orphan): &(&B256, &Orphan)| (orphan.block.block().header.slot, Reverse(orphan.arrival));
        of_largest.max_by_key(far).map(|(hash, _)| *hash)
    }

    /// Takes out the orphans that waited for `parent` and now lack nothing.
    pub fn adopt(&mut self, parent: &B256) -> Vec<CheckedBlock> {
        let mut whole = Vec::new();
        for (hash, orphan) in &mut self.blocks {
            if orphan.missing.remove(parent) && orphan.missing.is_empty() {
                whole.push(*hash);
            }
        }
        whole.iter().filter_map(|hash| self.remove(hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_types::{Bitmap, ChainSpec, ReadinessCertificate, SealKey, bls::Signature};

    const MISSING: B256 = B256::repeat_byte(1);

    /// A block of a producer in a slot; 0 stands for one of whom nothing is known.
    fn block(producer: u8, slot: u64, bytes: usize) -> CheckedBlock {
        let mut block = ChainSpec::dev().genesis_block(B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO);
        (block.header.slot, block.header.parents) = (slot, vec![MISSING]);
        block.header.proposer = u32::from(producer);
        if bytes > 0 {
            let (signers, signature) = (Bitmap::new(vec![0; bytes].into()), Signature::ZERO);
            let certificate =
                ReadinessCertificate { model_id: MISSING, epoch: 0, is_two_thirds: true, signers, signature };
            block.body.readiness = vec![certificate];
        }
        let block = CheckedBlock::trusted(block, Vec::new());
        let seal = SealKey { public_key: PublicKey::repeat_byte(producer), epoch_seed: B256::ZERO };
        if producer == 0 { block } else { block.with_seal(seal) }
    }

    fn has(orphans: &Orphans, block: &CheckedBlock) -> bool {
        orphans.blocks.contains_key(&block.hash())
    }

    #[test]
    fn orphans_are_bounded_and_the_oldest_stranger_goes_first() {
        let mut orphans = Orphans::default();
        for slot in 0..ORPHANS_MAX as u64 + 100 {
            orphans.insert(block(0, slot, 0), &[MISSING]);
            orphans.insert(block(0, slot, 0), &[MISSING]);
        }
        assert_eq!(orphans.blocks.len(), ORPHANS_MAX);
        assert!(has(&orphans, &block(0, 100, 0)) && !has(&orphans, &block(0, 99, 0)));
        assert_eq!(orphans.adopt(&MISSING).len(), ORPHANS_MAX);
        assert!(orphans.blocks.is_empty() && orphans.bytes == 0);
    }

    #[test]
    fn strangers_do_not_drive_out_what_members_have_signed() {
        let mut orphans = Orphans::default();
        (0..100).for_each(|slot| orphans.insert(block(1, slot, 0), &[MISSING]));
        (0..2 * ORPHANS_MAX as u64).for_each(|slot| orphans.insert(block(0, slot, 0), &[MISSING]));
        assert_eq!(orphans.blocks.len(), ORPHANS_MAX);
        assert!((0..100).all(|slot| has(&orphans, &block(1, slot, 0))));
    }

    #[test]
    fn a_producer_drives_out_itself_and_its_farthest_first() {
        let mut orphans = Orphans::default();
        (0..100).for_each(|slot| orphans.insert(block(1, slot, 0), &[MISSING]));
        (0..2 * ORPHANS_MAX as u64).for_each(|slot| orphans.insert(block(2, slot, 0), &[MISSING]));
        assert_eq!(orphans.blocks.len(), ORPHANS_MAX);
        assert!((0..100).all(|slot| has(&orphans, &block(1, slot, 0))));
        let room = ORPHANS_MAX as u64 - 100;
        assert!((0..room).all(|slot| has(&orphans, &block(2, slot, 0))) && !has(&orphans, &block(2, room, 0)));
    }

    #[test]
    fn large_blocks_are_bounded_by_their_bytes() {
        let mut orphans = Orphans::default();
        (0..100).for_each(|slot| orphans.insert(block(1, slot, 0), &[MISSING]));
        (0..200).for_each(|slot| orphans.insert(block(2, slot, 1 << 19), &[MISSING]));
        assert!(orphans.bytes <= ORPHAN_BYTES_MAX && orphans.bytes > ORPHAN_BYTES_MAX - (1 << 20));
        assert!((0..100).all(|slot| has(&orphans, &block(1, slot, 0))) && has(&orphans, &block(2, 0, 1 << 19)));
    }
}
