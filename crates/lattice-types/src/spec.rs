//! The chain specification: everything that one chain may choose for itself.

use crate::{
    block::{DagBlock, DagBody, DagHeader},
    bls,
    cid::MaybeCid,
    finality::Offence,
};
use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use alloy_rlp::RlpEncodable;

/// A validator of the registry.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Validator {
    /// BLS key. Who writes a chain specification must have seen a proof of its possession.
    pub public_key: bls::PublicKey,
    /// Stake in LAT.
    pub stake: u64,
    /// Account that its rewards are withdrawn to. It owns the stake, too.
    pub reward: Address,
}

/// Millionths.
pub const PPM: u32 = 1_000_000;

/// Rules of stake: who may be a validator, what it earns, what it loses. Fractions are in millionths (ppm).
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Staking {
    /// Validators that vote and produce at most: those with the largest stakes.
    pub members_max: usize,
    /// Stake that a validator needs at least, LAT.
    pub stake_min: u64,
    /// At most one in this many members joins, and as many leave, an epoch (but always one may).
    pub churn_divisor: usize,
    /// Slots from a withdrawal of stake to its payment. Until then it can be slashed.
    pub unbonding_slots: u64,
    /// Issuance for each blue block to its producer, gwei.
    pub issuance_block_gwei: u64,
    /// Issuance for each certificate of finality to the producer that was the first to carry it, gwei.
    pub issuance_certificate_gwei: u64,
    /// Share of the stake that a double or surround vote costs.
    pub slash_vote_ppm: u32,
    /// Share of the stake that an equivocation costs.
    pub slash_equivocation_ppm: u32,
    /// Share of what is slashed that goes to the producer that carried the evidence; the rest is burned.
    pub reporter_ppm: u32,
}

impl Staking {
    /// Share of the stake that an offence costs, millionths.
    pub const fn slash_ppm(&self, offence: Offence) -> u32 {
        let ppm = match offence {
            Offence::Double | Offence::Surround => self.slash_vote_ppm,
            Offence::Equivocation => self.slash_equivocation_ppm,
        };
        if ppm > PPM { PPM } else { ppm }
    }
}

/// Balance of an account at genesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable)]
pub struct GenesisAccount {
    /// The account.
    pub address: Address,
    /// Wei.
    pub balance: U256,
}

/// One chain's parameters. Every node of a chain has the same.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct ChainSpec {
    /// Name, for people.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Unix time of the genesis, seconds.
    pub genesis_time_s: u64,
    /// Length of a slot.
    pub slot_ms: u64,
    /// GHOSTDAG's k.
    pub k: u16,
    /// Parents a block may name.
    pub parents_max: usize,
    /// Blocks a mergeset may hold (the selected parent not counted).
    pub mergeset_max: usize,
    /// Blue score below a block at which its merge-depth root lies: it merges nothing that lacks this root.
    pub merge_depth: u64,
    /// Blue score below a block at which its pruning point lies: what is not in this point's future may be forgotten.
    pub pruning_depth: u64,
    /// Active-slot coefficient f in millionths, 1 to 1,000,000: the chance that a slot has a producer. At 1,000,000
    /// every validator may use every slot.
    pub active_slot_ppm: u32,
    /// Slots of an epoch, at least 3.
    pub epoch_slots: u64,
    /// Slots from one checkpoint to the next, at least 1.
    pub checkpoint_slots: u64,
    /// A voted block is at least this many slots older than its checkpoint.
    pub checkpoint_lag_slots: u64,
    /// Whether readiness is renewed: a model becomes active an epoch after two thirds of the stake have certified that they
    /// hold its artifact, and is suspended when an epoch brings no certificate of half of the stake. Else it becomes active
    /// with the first certificate, for good.
    pub readiness_renewed: bool,
    /// Rules of stake.
    pub staking: Staking,
    /// Whether AI class gives work: a block then weighs 16, and 17 from class 1 on, instead of 1.
    pub ai_work: bool,
    /// Gas limit of one DAG block.
    pub gas_limit: u64,
    /// Of it, what model work may take: the AI lane. One transaction may take all of it.
    pub ai_gas_limit: u64,
    /// Of the AI lane, what transactions of one DAG block may take together that declare no AI gas.
    pub ai_gas_pool: u64,
    /// AI gas that one transaction may take that declares none, while the pool lasts.
    pub ai_gas_undeclared: u64,
    /// EIP-1559 elasticity: the gas target is the limit over this, and so is the AI lane's.
    pub elasticity: u64,
    /// Base fee of the genesis block, wei.
    pub base_fee_initial: u64,
    /// Executed chain blocks whose state is kept for reorgs and reads of old blocks.
    pub state_window: u64,
    /// Seed of the first epoch's lottery.
    pub epoch_seed: B256,
    /// The validators at genesis.
    pub validators: Vec<Validator>,
    /// Balances at genesis, wei.
    pub alloc: Vec<GenesisAccount>,
}

/// Chain id of development chains, as anvil's and hardhat's.
pub const DEV_CHAIN_ID: u64 = 31337;

/// The ten accounts of the mnemonic "test test test test test test test test test test test junk"
/// (BIP-44 path m/44'/60'/0'/0/i) with their secret keys. Everybody knows these keys: they are for development only.
pub const DEV_ACCOUNTS: [(Address, B256); 10] = [
    (
        address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    ),
    (
        address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        b256!("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    ),
    (
        address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
        b256!("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    ),
    (
        address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
        b256!("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    ),
    (
        address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
        b256!("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    ),
    (
        address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
        b256!("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    ),
    (
        address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
        b256!("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    ),
    (
        address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
        b256!("0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    ),
    (
        address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
        b256!("0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    ),
    (
        address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        b256!("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
    ),
];

/// Balance of each development account: 10,000 LAT in wei.
pub const DEV_BALANCE: U256 = U256::from_limbs([0x19e0c9bab2400000, 0x21e, 0, 0]);

/// The key of the development chain's only validator.
pub fn dev_validator_key() -> bls::SecretKey {
    bls::SecretKey::from_seed(&keccak256(b"lattice dev validator").0)
}

/// The key of validator `index` of a local network ([`ChainSpec::local`]).
pub fn local_validator_key(index: u32) -> bls::SecretKey {
    bls::SecretKey::from_seed(&keccak256([b"lattice local validator".as_slice(), &index.to_be_bytes()].concat()).0)
}

impl ChainSpec {
    /// A network of equal validators on one machine, with the development chain's id and accounts.
    pub fn local(validators: u32) -> Self {
        let validator = |index| Validator {
            public_key: local_validator_key(index).public_key(),
            stake: 1_000,
            reward: Address::from_slice(
                &keccak256([b"lattice local reward".as_slice(), &index.to_be_bytes()].concat())[12..],
            ),
        };
        let network = Self::network((0..validators).map(validator).collect());
        // For development: models become active at once, as on the development chain.
        Self { name: "lattice-local".into(), readiness_renewed: false, ..network }
    }

    /// The development chain: one validator, slots of a millisecond, ten funded accounts.
    pub fn dev() -> Self {
        Self {
            name: "lattice-dev".into(),
            chain_id: DEV_CHAIN_ID,
            genesis_time_s: 1_767_225_600, // 2026-01-01T00:00:00Z
            slot_ms: 1,
            k: 37,
            parents_max: 24,
            mergeset_max: 180,
            merge_depth: 2_400,
            pruning_depth: 345_600,
            active_slot_ppm: 1_000_000,
            epoch_slots: 300_000,
            checkpoint_slots: 3_000,
            // One node agrees with itself at once.
            checkpoint_lag_slots: 0,
            readiness_renewed: false,
            staking: Staking {
                members_max: 1_024,
                stake_min: 1_000,
                churn_divisor: 32,
                unbonding_slots: 14 * 24 * 3600 * 1000,
                issuance_block_gwei: 0,
                issuance_certificate_gwei: 0,
                slash_vote_ppm: 1_000_000,
                slash_equivocation_ppm: 50_000,
                reporter_ppm: 62_500,
            },
            ai_work: false,
            gas_limit: 60_000_000,
            // Half of the block: transfers always find the other half.
            ai_gas_limit: 30_000_000,
            // A tenth of the lane, and a sixth of that for one transaction (about 2 ms of one core): small models work
            // from any wallet, and nobody fills the lane without saying so.
            ai_gas_pool: 3_000_000,
            ai_gas_undeclared: 500_000,
            elasticity: 4,
            base_fee_initial: 1_000_000_000,
            state_window: 256,
            epoch_seed: keccak256(b"lattice dev seed"),
            validators: vec![Validator {
                public_key: dev_validator_key().public_key(),
                stake: 1_000,
                reward: Address::from_slice(&keccak256(b"lattice dev reward")[12..]),
            }],
            alloc: DEV_ACCOUNTS.iter().map(|&(address, _)| GenesisAccount { address, balance: DEV_BALANCE }).collect(),
        }
    }

    /// A chain of several validators with the rules of a network: slots of 250 ms, a lottery that gives 4 blocks/s,
    /// checkpoints every 3 s with 3 s of lag, epochs of 300 s. The accounts are the development chain's.
    pub fn network(validators: Vec<Validator>) -> Self {
        let dev = Self::dev();
        Self {
            name: "lattice-network".into(),
            slot_ms: 250,
            active_slot_ppm: 632_000,
            epoch_slots: 1_200,
            checkpoint_slots: 12,
            checkpoint_lag_slots: 12,
            readiness_renewed: true,
            staking: Staking {
                unbonding_slots: 14 * 24 * 3600 * 4,
                issuance_block_gwei: 10_000_000,
                issuance_certificate_gwei: 10_000_000,
                ..dev.staking
            },
            epoch_seed: keccak256(b"lattice network seed"),
            validators,
            ..dev
        }
    }

    /// Slots for which a checkpoint may be trusted by who has not followed the chain: ten days when unbonding takes fourteen.
    /// After that, those who finalised it may have been paid back their stake, and lose nothing by another history.
    pub const fn weak_subjectivity_slots(&self) -> u64 {
        self.staking.unbonding_slots / 14 * 10
    }

    /// What a block of this class adds to the blue work of those that merge it as blue.
    pub const fn work(&self, ai_class: u8) -> u128 {
        match (self.ai_work, ai_class) {
            (false, _) => 1,
            (true, 0) => 16,
            (true, _) => 17,
        }
    }

    /// The class of a producer with this much AI gas charged in its previous chain-executed block.
    pub const fn ai_class(&self, ai_gas: u64) -> u8 {
        if self.ai_gas_limit == 0 {
            return 0;
        }
        let class = ai_gas.saturating_mul(4) / self.ai_gas_limit;
        if class > 3 { 3 } else { class as u8 }
    }

    /// AI gas of a DAG block at which the lane price stays as it is. Never 0.
    pub const fn ai_gas_target(&self) -> u64 {
        let elasticity = if self.elasticity == 0 { 1 } else { self.elasticity };
        let target = self.ai_gas_limit / elasticity;
        if target == 0 { 1 } else { target }
    }

    /// The epoch of a slot.
    pub const fn epoch_of(&self, slot: u64) -> u64 {
        match slot.checked_div(self.epoch_slots) {
            Some(epoch) => epoch,
            None => 0,
        }
    }

    /// The EVM timestamp of a slot, in seconds.
    pub const fn timestamp(&self, slot: u64) -> u64 {
        self.genesis_time_s + slot.saturating_mul(self.slot_ms) / 1000
    }

    /// The first slot with at least this EVM timestamp.
    pub const fn slot_at(&self, timestamp: u64) -> u64 {
        let slot_ms = if self.slot_ms == 0 { 1 } else { self.slot_ms };
        timestamp.saturating_sub(self.genesis_time_s).saturating_mul(1000).div_ceil(slot_ms)
    }

    /// The genesis DAG block. Its body root commits to all parameters,
    /// so chains with other beginnings never mix.
    pub fn genesis_block(
        &self,
        evm_hash: B256,
        model_root: B256,
        inference_root: B256,
        training_root: B256,
    ) -> DagBlock {
        let body = DagBody::default();
        let header = DagHeader {
            parents: Vec::new(),
            slot: 0,
            proposer: 0,
            vrf: bls::Signature::ZERO,
            ai_class: 0,
            blue_score: 0,
            blue_work: 0,
            newest_pruning_point: B256::ZERO,
            body_root: self.commitment(),
            evm_hash,
            model_root,
            inference_root,
            training_root,
            artifact_cid: MaybeCid(None),
            signature: bls::Signature::ZERO,
        };
        DagBlock { header, body }
    }

    /// keccak over the parameters, so that two chains that differ in any of them have different genesis blocks.
    fn commitment(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tx::TxSigner;

    #[test]
    fn a_timestamp_names_the_first_slot_that_has_it() {
        for slot_ms in [1, 250, 400, 1_000, 12_000] {
            let spec = ChainSpec { slot_ms, ..ChainSpec::dev() };
            for slot in (0..60).chain([1_000_000, 1_000_001]) {
                let first = spec.slot_at(spec.timestamp(slot));
                assert!(first <= slot && spec.timestamp(first) == spec.timestamp(slot), "{slot_ms} ms, slot {slot}");
                assert!(first == 0 || spec.timestamp(first - 1) < spec.timestamp(slot), "{slot_ms} ms, slot {slot}");
            }
        }
    }

    #[test]
    fn dev_keys_belong_to_their_addresses() {
        for (address, secret) in DEV_ACCOUNTS {
            assert_eq!(TxSigner::new(secret).unwrap().address(), address);
        }
        assert_eq!(DEV_BALANCE, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
    }
}
