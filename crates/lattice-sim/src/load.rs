//! Transactions: transfers between accounts, some told to everybody and some to one node.

use crate::{message::Message, rng::Rng, world::World};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_types::{ChainSpec, RecoveredTx, recover, spec::DEV_ACCOUNTS, tx::TxSigner};
use std::sync::Arc;

/// Accounts that send; the last one is the adversaries' own.
const SENDERS: u64 = 9;
/// The account with which adversaries make their blocks differ.
pub const ADVERSARY_ACCOUNT: usize = 9;
/// Accounts that only receive.
const RECEIVERS: u64 = 16;

/// Makes transactions.
#[derive(Debug)]
pub struct Load {
    rng: Rng,
    /// Transactions made.
    pub made: u64,
    /// Nonce of the next transaction of who owns moving stake.
    pub owner_nonce: u64,
}

/// An account that only receives.
pub fn receiver(index: u64) -> Address {
    Address::with_last_byte(0x40 + index as u8)
}

/// All accounts that may only receive.
pub fn receivers() -> impl Iterator<Item = Address> {
    (0..RECEIVERS).map(receiver)
}

/// A transfer of a development account, signed and recovered.
pub fn transfer(spec: &ChainSpec, account: usize, nonce: u64, to: Address, wei: u64) -> Arc<RecoveredTx> {
    let signer = TxSigner::new(DEV_ACCOUNTS[account].1).expect("the development keys are keys");
    let tx = TxEip1559 {
        chain_id: spec.chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000 + u128::from(wei % 7),
        to: TxKind::Call(to),
        value: U256::from(wei),
        access_list: Default::default(),
        input: Bytes::new(),
    };
    Arc::new(recover(signer.sign(tx).into(), spec).expect("a signed transfer is well formed"))
}

impl Load {
    /// A load with chance of its own.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::of_purpose(seed, 4), made: 0, owner_nonce: 0 }
    }
}

impl World {
    /// Somebody sends a transaction, with the nonce that some honest node sees.
    pub(crate) fn send_transaction(&mut self) {
        let Some(node) = self.any_honest() else { return };
        let rng = &mut self.load.rng;
        let account = rng.below(SENDERS) as usize;
        let wei = 1 + rng.below(1_000_000_000_000);
        let to = if rng.chance(300_000) {
            DEV_ACCOUNTS[rng.below(SENDERS) as usize].0
        } else {
            receiver(rng.below(RECEIVERS))
        };
        let to_all = rng.chance(600_000);
        let Some(nonce) = self.nonce(node, account) else { return };
        let tx = transfer(&self.plan.spec, account, nonce, to, wei);
        self.load.made += 1;
        let message = Message::Transaction(tx);
        self.receive(node, node, message.clone());
        if to_all {
            self.publish(node, &message, |_| true);
        }
    }

    /// The next nonce of a development account on a node's head.
    pub(crate) fn nonce(&self, node: usize, account: usize) -> Option<u64> {
        let view = self.nodes[node].chain.as_ref()?.view().ok()?;
        Some(view.head_state().account(&DEV_ACCOUNTS[account].0).map_or(0, |account| account.nonce))
    }
}
