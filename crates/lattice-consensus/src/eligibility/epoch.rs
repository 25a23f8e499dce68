//! Epochs: the seed of the lottery and the stake set it is drawn from, along a selected chain.

use alloy_primitives::{B256, keccak256};

/// How slots make epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochParams {
    /// Slots of an epoch; at least 3.
    pub epoch_slots: u64,
}

impl EpochParams {
    /// The epoch a slot belongs to.
    pub const fn epoch_of(&self, slot: u64) -> u64 {
        slot / self.epoch_slots
    }

    /// Whether the VRF outputs of this slot count for the next seed: the first two thirds of an epoch. The last third is
    /// there for the chain to settle before the seed that follows from it decides anything.
    pub const fn is_seeding(&self, slot: u64) -> bool {
        (slot % self.epoch_slots) * 3 < self.epoch_slots * 2
    }
}

/// The chain block whose state holds the registry from which a stake set is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetSource {
    /// The DAG hash of the chain block.
    pub block: B256,
    /// Index of the newest checkpoint that certificates in its past finalised.
    pub finalised: u64,
}

/// What the selected chain up to and including one block says about epochs. The chain keeps one for each chain block;
/// genesis has [`EpochState::genesis`], a block B has `state(selected parent).after(B)`.
///
/// B's own eligibility is judged by `state(selected parent).at(B's slot)`: its seed, and the stake set read at
/// [`EpochState::set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochState {
    /// The epoch.
    pub epoch: u64,
    /// Seed of the lottery in this epoch.
    pub seed: B256,
    /// The chain block at which the stake set of this epoch is read.
    pub set: SetSource,
    /// The same for the next epoch.
    next_set: SetSource,
    /// Chained hash over the first seed and all VRF outputs that count for a seed.
    mix: B256,
    /// The newest chain block.
    tip: SetSource,
}

impl EpochState {
    /// Bytes of [`EpochState::encode`].
    pub const ENCODED_LEN: usize = 8 + 2 * 32 + 3 * 40;

    /// The state of the genesis block; `seed` comes from the chain specification.
    pub const fn genesis(genesis: B256, seed: B256) -> Self {
        let source = SetSource { block: genesis, finalised: 0 };
        Self { epoch: 0, seed, set: source, next_set: source, mix: seed, tip: source }
    }

    /// The state in which a block of this slot is judged: rolled on to the slot's epoch. Slots before the newest chain
    /// block's epoch leave it as it is (such a block is invalid for its slot anyway).
    #[must_use]
    pub fn at(&self, params: &EpochParams, slot: u64) -> Self {
        let mut state = *self;
        let epoch = params.epoch_of(slot);
        if epoch <= state.epoch {
            return state;
        }
        // The set of epoch e is read at the last chain block of e-2. After two epochs without a block there is nothing new
        // to read, so any number of them takes two steps.
        for _ in 0..(epoch - state.epoch).min(2) {
            state.set = state.next_set;
            if state.tip.finalised > state.next_set.finalised {
                state.next_set = state.tip;
            }
        }
        state.epoch = epoch;
        state.seed = keccak256([b"LAT-SEED".as_slice(), state.mix.as_slice(), &epoch.to_be_bytes()].concat());
        state
    }

    /// The state after a chain block. `finalised` is the index of the newest checkpoint finalised by certificates in the
    /// past of the block, those it carries itself included.
    #[must_use]
    pub fn after(&self, params: &EpochParams, slot: u64, block: B256, vrf_hash: &B256, finalised: u64) -> Self {
        let mut state = self.at(params, slot);
        state.tip = SetSource { block, finalised };
        if params.is_seeding(slot) {
            state.mix = keccak256([b"LAT-MIX".as_slice(), state.mix.as_slice(), vrf_hash.as_slice()].concat());
        }
        state
    }

    /// The chain block at which the stake set of the next epoch is read.
    pub const fn next_set(&self) -> SetSource {
        self.next_set
    }

    /// The newest chain block, when a block of this slot makes it the one at which a stake set is read: it is the last of
    /// its epoch, and its past finalised a newer checkpoint than that of the block the set was read at before.
    pub fn set_read_before(&self, params: &EpochParams, slot: u64) -> Option<SetSource> {
        let ends = params.epoch_of(slot) > self.epoch;
        (ends && self.tip.finalised > self.next_set.finalised).then_some(self.tip)
    }

    /// Fixed form: epoch, seed, mix, then block and finalised index of the set, the next set and the newest chain block.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.epoch.to_be_bytes());
        out[8..40].copy_from_slice(self.seed.as_slice());
        out[40..72].copy_from_slice(self.mix.as_slice());
        for (source, part) in [self.set, self.next_set, self.tip].iter().zip(out[72..].chunks_exact_mut(40)) {
            part[..32].copy_from_slice(source.block.as_slice());
            part[32..].copy_from_slice(&source.finalised.to_be_bytes());
        }
        out
    }

    /// Reads [`EpochState::encode`]; none when the length is another.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED_LEN] = bytes.try_into().ok()?;
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let hash = |at: usize| Some(B256::from_slice(bytes.get(at..at + 32)?));
        let source = |at: usize| Some(SetSource { block: hash(at)?, finalised: number(at + 32)? });
        Some(Self {
            epoch: number(0)?,
            seed: hash(8)?,
            mix: hash(40)?,
            set: source(72)?,
            next_set: source(112)?,
            tip: source(152)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PARAMS: EpochParams = EpochParams { epoch_slots: 9 };

    fn hash(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    /// Folds (slot, finalised) blocks; block n has hash n, and VRF hash n unless another is given.
    fn fold(blocks: &[(u64, u64)], vrf: impl Fn(u8) -> B256) -> EpochState {
        let mut state = EpochState::genesis(hash(0), hash(0xee));
        for (n, &(slot, finalised)) in (1u8..).zip(blocks) {
            state = state.after(&PARAMS, slot, hash(n), &vrf(n), finalised);
        }
        state
    }

    #[test]
    fn the_first_two_thirds_of_an_epoch_make_the_next_seed() {
        let blocks = [(1, 0), (5, 0), (6, 0), (8, 0)];
        let seed = |changed: u8| fold(&blocks, |n| hash(if n == changed { 0x77 } else { n })).at(&PARAMS, 9).seed;
        assert_ne!(seed(1), seed(0));
        assert_ne!(seed(2), seed(0));
        // Slots 6, 7 and 8 of nine are the last third: they come too late to have a say.
        assert_eq!(seed(3), seed(0));
        assert_eq!(seed(4), seed(0));
    }

    #[test]
    fn a_seed_has_nothing_of_its_own_epoch() {
        let before = fold(&[(1, 0)], hash).at(&PARAMS, 9);
        let after = fold(&[(1, 0), (9, 0), (10, 0)], hash);
        assert_eq!(before.seed, after.seed);
        assert_ne!(before.at(&PARAMS, 18).seed, after.at(&PARAMS, 18).seed);
    }

    #[test]
    fn empty_epochs_have_seeds_of_their_own() {
        let state = fold(&[(1, 0)], hash);
        let seeds: std::collections::BTreeSet<_> = (0..6).map(|epoch| state.at(&PARAMS, epoch * 9).seed).collect();
        assert_eq!(seeds.len(), 6);
        assert_eq!(state.at(&PARAMS, 45), state.at(&PARAMS, 20).at(&PARAMS, 45), "rolling in steps changes nothing");
    }

    #[test]
    fn a_set_is_read_two_epochs_back() {
        // Blocks 1, 2 in epoch 0; 3, 4 in epoch 1; 5 in epoch 2.
        let state = fold(&[(1, 1), (7, 2), (9, 3), (17, 4), (18, 5)], hash);
        let source = |epoch: u64| state.at(&PARAMS, epoch * 9).set.block;
        assert_eq!(source(2), hash(2), "the last chain block of epoch 0");
        assert_eq!(source(3), hash(4), "the last chain block of epoch 1");
        assert_eq!(source(4), hash(5));
        assert_eq!(source(5), hash(5), "an epoch without blocks has no last block");
        assert_eq!(fold(&[(1, 1), (7, 2), (9, 3)], hash).set.block, hash(0));
    }

    #[test]
    fn a_set_carries_over_while_finality_stands_still() {
        let blocks = [(7, 2), (17, 2), (26, 2), (35, 3), (44, 3)];
        let source = |epoch: u64| fold(&blocks, hash).at(&PARAMS, epoch * 9).set.block;
        assert_eq!(fold(&blocks, hash).epoch, 4);
        assert_eq!(source(5), hash(4), "epoch 3 ended with a newer checkpoint");
        let early = |slot: u64| fold(&blocks[..3], hash).at(&PARAMS, slot).set.block;
        assert_eq!((early(27), early(36)), (hash(1), hash(1)));
    }

    #[test]
    fn states_come_back() {
        let state = fold(&[(1, 1), (7, 2), (9, 3), (17, 4), (18, 5)], hash);
        assert_eq!(EpochState::decode(&state.encode()), Some(state));
        assert_eq!(EpochState::decode(&state.encode()[1..]), None);
    }
}
