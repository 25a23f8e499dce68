//! From signed transactions to what revm runs.

use crate::{ai, evm::SPEC};
use alloy_consensus::Transaction;
use alloy_eips::{Typed2718, eip7702::SignedAuthorization};
use alloy_primitives::Address;
use lattice_types::{ChainSpec, TxEnvelope, limits};
use revm::{
    context::TxEnv,
    context_interface::{
        cfg::gas_params::GasParams,
        either::Either,
        transaction::{RecoveredAuthority, RecoveredAuthorization},
    },
};
use std::sync::LazyLock;

/// EIP-2718 type that AI transactions have inside the EVM: revm skips the EIP-1559 checks for types it does not know.
const EIP1559: u8 = 2;

/// The highest gas limit that a transaction may have: EIP-7825's cap, plus the AI gas it declares, up to the lane's limit.
pub fn gas_limit_max(tx: &TxEnvelope, spec: &ChainSpec) -> u64 {
    let declared = tx.ai_gas_limit().unwrap_or(0);
    limits::TX_GAS_LIMIT_MAX.saturating_add(declared.min(spec.ai_gas_limit))
}

/// The least gas limit that the EVM accepts for a transaction: the intrinsic cost (EIPs 2028, 2930, 3860, 7702) or the
/// floor by its calldata (EIP-7623), whichever is higher.
pub fn intrinsic_gas(tx: &TxEnvelope) -> u64 {
    static PARAMS: LazyLock<GasParams> = LazyLock::new(|| GasParams::new_spec(SPEC));
    let (accounts, slots) = tx.access_list().map_or((0, 0), |list| (list.len(), list.storage_keys_count()));
    let authorizations = tx.authorization_count().unwrap_or(0);
    let gas = PARAMS.initial_tx_gas(
        &ai::call_input(tx.ty(), tx.input()),
        tx.is_create(),
        accounts as u64,
        slots as u64,
        authorizations,
        None,
    );
    gas.initial_total_gas().max(gas.floor_gas)
}

/// A signed transaction as revm's environment. AI transactions are calls to their system account with the payload as
/// input, behind the type byte where the door needs it.
pub(crate) fn tx_env(tx: &TxEnvelope, sender: Address) -> TxEnv {
    TxEnv {
        tx_type: if tx.is_ai() { EIP1559 } else { tx.ty() },
        caller: sender,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: ai::call_input(tx.ty(), tx.input()),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        blob_hashes: tx.blob_versioned_hashes().map(<[_]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: authorizations(tx.authorization_list().unwrap_or_default()),
    }
}

/// Recovers the authorities of an EIP-7702 list with the C library. One that does not recover stays in the list (it
/// costs gas) and does nothing.
pub(crate) fn authorizations(list: &[SignedAuthorization]) -> Vec<Either<SignedAuthorization, RecoveredAuthorization>> {
    let recover = |signed: &SignedAuthorization| {
        let authority = signed.signature().ok().and_then(|signature| {
            alloy_consensus::crypto::secp256k1::recover_signer(&signature, signed.signature_hash()).ok()
        });
        authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid)
    };
    list.iter()
        .map(|signed| Either::Right(RecoveredAuthorization::new_unchecked(signed.inner().clone(), recover(signed))))
        .collect()
}
