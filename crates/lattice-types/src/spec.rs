//! The chain specification: everything that one chain may choose for itself.

use crate::{
    block::{DagBlock, DagBody, DagHeader},
    bls,
    cid::MaybeCid,
};
use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use alloy_rlp::RlpEncodable;

/// A validator of the registry.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Validator {
    /// BLS key, registered with a proof of possession.
    pub public_key: bls::PublicKey,
    /// Stake in LAT.
    pub stake: u64,
    /// Account that its rewards are withdrawn to.
    pub reward: Address,
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
    /// Issuance a blue block, gwei.
    pub issuance_gwei: u64,
    /// Executed chain blocks whose state is kept for reorgs and reads of old blocks.
    pub state_window: u64,
    /// Seed of the VRF.
    pub epoch_seed: B256,
    /// The validators.
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

impl ChainSpec {
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
            gas_limit: 60_000_000,
            // Half of the block: transfers always find the other half.
            ai_gas_limit: 30_000_000,
            // A tenth of the lane, and a sixth of that for one transaction (about 2 ms of one core): small models work
            // from any wallet, and nobody fills the lane without saying so.
            ai_gas_pool: 3_000_000,
            ai_gas_undeclared: 500_000,
            elasticity: 4,
            base_fee_initial: 1_000_000_000,
            issuance_gwei: 0,
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

    /// The stake of all validators.
    pub fn stake_total(&self) -> u128 {
        self.validators.iter().map(|validator| u128::from(validator.stake)).sum()
    }

    /// AI gas of a DAG block at which the lane price stays as it is. Never 0.
    pub const fn ai_gas_target(&self) -> u64 {
        let elasticity = if self.elasticity == 0 { 1 } else { self.elasticity };
        let target = self.ai_gas_limit / elasticity;
        if target == 0 { 1 } else { target }
    }

    /// The EVM timestamp of a slot, in seconds.
    pub const fn timestamp(&self, slot: u64) -> u64 {
        self.genesis_time_s + slot.saturating_mul(self.slot_ms) / 1000
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
            blue_score: 0,
            blue_work: 0,
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
    fn dev_keys_belong_to_their_addresses() {
        for (address, secret) in DEV_ACCOUNTS {
            assert_eq!(TxSigner::new(secret).unwrap().address(), address);
        }
        assert_eq!(DEV_BALANCE, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
    }
}
