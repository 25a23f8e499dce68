//! Encoding fixtures, round trips and refusals of the types.
#![allow(clippy::unwrap_used)]

mod ai_gas;
mod block;
mod transaction;

use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_types::{
    TxEnvelope,
    spec::{DEV_ACCOUNTS, DEV_CHAIN_ID},
    tx::{AiKind, TxAi, TxSigner},
};

/// The signer of a development account.
fn signer(account: usize) -> TxSigner {
    TxSigner::new(DEV_ACCOUNTS[account].1).unwrap()
}

/// A signed EIP-1559 transfer.
fn transfer(chain_id: u64, nonce: u64) -> TxEnvelope {
    let tx = alloy_consensus::TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: Address::repeat_byte(0x11).into(),
        value: U256::from(5),
        ..Default::default()
    };
    signer(0).sign(tx).into()
}

/// A signed AI transaction with this payload.
fn ai<K: AiKind>(payload: Bytes) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
{
    let tx = TxAi::<K> {
        chain_id: DEV_CHAIN_ID,
        nonce: 3,
        max_priority_fee_per_gas: 1,
        max_fee_per_gas: 2_000_000_000,
        gas_limit: 5_000_000,
        ai_gas_limit: 4_000_000,
        value: U256::ZERO,
        payload,
        ..Default::default()
    };
    signer(1).sign(tx).into()
}

fn hash(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}
