//! Producers and what they say to each other, by hand: each has its own chain and knows only what it is given.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_chain::{Chain, ChainError, ChainOptions, Effects, Input, ModelStore, Unchecked};
use lattice_storage::{ArtifactStore, Kv, MemoryKv};
use lattice_types::{
    ChainSpec, CheckedBlock, CheckedVote, RecoveredTx, TxEnvelope, Validator,
    bls::{Domain, SecretKey, vrf_content},
    check_in_isolation, recover,
    spec::{DEV_ACCOUNTS, DEV_CHAIN_ID},
    tx::TxSigner,
};
use std::sync::Arc;

/// Validators of the test chains.
pub const VALIDATORS: u8 = 4;

/// Key of a validator.
pub fn key(validator: u32) -> SecretKey {
    SecretKey::from_seed(&[validator as u8 + 1; 32])
}

/// Where a validator's rewards go.
pub fn reward(validator: u32) -> Address {
    Address::repeat_byte(0xe0 + validator as u8)
}

/// The development chain with four validators of equal stake.
pub fn spec() -> ChainSpec {
    let validator = |index| Validator { public_key: key(index).public_key(), stake: 1_000, reward: reward(index) };
    ChainSpec { validators: (0..u32::from(VALIDATORS)).map(validator).collect(), ..ChainSpec::dev() }
}

/// The same with one validator, whose vote alone makes a block final, and a checkpoint in every slot.
pub fn solo() -> ChainSpec {
    let whole = spec();
    ChainSpec { validators: whole.validators[..1].to_vec(), checkpoint_slots: 1, ..whole }
}

/// One node: a chain, its store, its artifacts.
pub struct Node {
    pub chain: Chain,
    pub kv: Arc<dyn Kv>,
    pub models: Arc<ModelStore>,
    pub validator: u32,
    pub options: ChainOptions,
    spec: ChainSpec,
    _artifacts: tempfile::TempDir,
}

impl Node {
    pub fn new(validator: u32) -> Self {
        Self::with(spec(), Arc::new(MemoryKv::new()), validator)
    }

    pub fn with(spec: ChainSpec, kv: Arc<dyn Kv>, validator: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(ArtifactStore::open(dir.path(), 1 << 30).unwrap());
        let models = Arc::new(ModelStore::new(artifacts));
        let chain = Chain::open(spec.clone(), kv.clone(), models.clone()).unwrap();
        Self { chain, kv, models, validator, options: ChainOptions::default(), spec, _artifacts: dir }
    }

    /// The same node after a restart: memory is gone, the store and the artifacts stay.
    pub fn reopen(&mut self) {
        self.chain = Chain::open_with(self.spec.clone(), self.kv.clone(), self.models.clone(), self.options).unwrap();
    }

    /// Time of a slot; tests have no clock.
    pub fn time(&self, slot: u64) -> u64 {
        self.spec.genesis_time_s * 1000 + slot * self.spec.slot_ms
    }

    pub fn submit(&mut self, tx: TxEnvelope) -> Result<Effects, ChainError> {
        self.chain.handle(0, Input::Transaction(Box::new(recovered(tx))))
    }

    /// Builds and signs a block on what this node knows, without inserting it.
    pub fn build(&mut self, slot: u64) -> CheckedBlock {
        let key = key(self.validator);
        let seed = self.chain.seal_key(slot, self.validator).unwrap().expect("a member").epoch_seed;
        let vrf = key.sign(Domain::Vrf, DEV_CHAIN_ID, &vrf_content(&seed, slot));
        let input = Input::Slot { slot, proposer: self.validator, vrf };
        let effects = self.chain.handle(self.time(slot), input).unwrap();
        effects.seal.expect("a slot gives a template").seal(&key, DEV_CHAIN_ID)
    }

    /// Builds, signs and inserts a block at the next slot, with these transactions in the pool.
    pub fn seal(&mut self, txs: impl IntoIterator<Item = TxEnvelope>) -> CheckedBlock {
        for tx in txs {
            self.submit(tx).unwrap();
        }
        let slot = self.chain.next_slot().unwrap();
        let block = self.build(slot);
        self.give(&block).unwrap();
        block
    }

    /// What a validator votes for at a slot as this node sees it, signed.
    pub fn vote_of(&mut self, validator: u32, slot: u64) -> Option<CheckedVote> {
        let vote = self.chain.vote(self.time(slot), validator).unwrap()?;
        Some(CheckedVote::sign(vote, validator, &key(validator), DEV_CHAIN_ID))
    }

    /// Gives a vote at a slot.
    pub fn give_vote(&mut self, slot: u64, vote: CheckedVote) -> Result<Effects, ChainError> {
        self.chain.handle(self.time(slot), Input::Vote(vote))
    }

    /// Some validators vote at a slot for what this node sees.
    pub fn vote(&mut self, validators: std::ops::Range<u32>, slot: u64) {
        for validator in validators {
            if let Some(vote) = self.vote_of(validator, slot) {
                self.give_vote(slot, vote).unwrap();
            }
        }
    }

    /// Gives a block as a peer would: through the checks before the chain.
    pub fn give(&mut self, block: &CheckedBlock) -> Result<Effects, ChainError> {
        let said = Unchecked::Block(alloy_rlp::encode(&**block.block()).into());
        let checked = self.chain.keyring().unwrap().check(vec![said]).remove(0).unwrap();
        let Input::Block(of_door) = &checked else { panic!("{checked:?}") };
        assert_eq!(of_door.senders(), block.senders());
        self.chain.handle(self.time(block.block().header.slot), checked)
    }

    /// Gives a block of whose signatures nothing is known: the chain verifies them by itself.
    pub fn give_unverified(&mut self, block: &CheckedBlock) -> Result<Effects, ChainError> {
        let checked = check_in_isolation((**block.block()).clone(), &self.spec, None).unwrap();
        self.chain.handle(self.time(block.block().header.slot), Input::Block(checked))
    }

    pub fn give_all<'a>(&mut self, blocks: impl IntoIterator<Item = &'a CheckedBlock>) {
        for block in blocks {
            self.give(block).unwrap();
        }
    }

    /// Gives blocks in any order: those that lack parents wait among the orphans, and come back once these arrive.
    pub fn offer<'a>(&mut self, blocks: impl IntoIterator<Item = &'a CheckedBlock>) {
        for block in blocks {
            let mut ready = vec![block.clone()];
            while let Some(block) = ready.pop() {
                match self.give(&block) {
                    Ok(effects) => ready.extend(effects.adopted),
                    Err(ChainError::MissingParents(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    pub fn balance(&self, address: Address) -> U256 {
        let view = self.chain.view().unwrap();
        view.head_state().account(&address).map_or(U256::ZERO, |account| account.balance)
    }

    pub fn nonce(&self, address: Address) -> u64 {
        let view = self.chain.view().unwrap();
        view.head_state().account(&address).map_or(0, |account| account.nonce)
    }

    /// Number and hash of the head: equal on two nodes when they agree on everything that was executed.
    pub fn head(&self) -> (u64, alloy_primitives::B256) {
        (self.chain.head().header.number, self.chain.head().hash())
    }
}

/// Producers 0 to n-1, each with its own view.
pub fn nodes(count: u32) -> Vec<Node> {
    (0..count).map(Node::new).collect()
}

pub fn address(account: usize) -> Address {
    DEV_ACCOUNTS[account].0
}

pub fn signer(account: usize) -> TxSigner {
    TxSigner::new(DEV_ACCOUNTS[account].1).unwrap()
}

pub fn recovered(tx: TxEnvelope) -> RecoveredTx {
    recover(tx, &spec()).unwrap()
}

/// An EIP-1559 transaction of a development account.
pub fn transaction(account: usize, nonce: u64, change: impl FnOnce(&mut TxEip1559)) -> TxEnvelope {
    let mut tx = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::ZERO),
        value: U256::ZERO,
        input: Bytes::new(),
        ..Default::default()
    };
    change(&mut tx);
    signer(account).sign(tx).into()
}

/// A transfer of `value` wei.
pub fn transfer(account: usize, nonce: u64, to: Address, value: u64) -> TxEnvelope {
    transaction(account, nonce, |tx| {
        tx.to = TxKind::Call(to);
        tx.value = U256::from(value);
    })
}
