//! AI gas: what a transaction says of the model work it may do, and what a block's transactions add up to.
//!
//! AI gas is a part of the ordinary gas limit. An AI transaction declares its bound in a field. An ordinary transaction
//! declares it in its access list (EIP-2930): an entry for [`system::AI_GAS`] with exactly one storage key, which is the
//! bound as a number. Wallets need no new transaction type for it, and the declaration pays for itself as an access-list
//! entry does. Without a declaration a transaction draws on a small pool that every DAG block has
//! (`docs/spec/ai-precompiles.md`).

use crate::{spec::ChainSpec, system, tx::TxEnvelope};
use alloy_consensus::Transaction;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{B256, U256};

/// Gas of the plainest transaction: what is left of a gas limit beyond it could be spent on models.
const TX_GAS: u64 = 21_000;

/// Why a declaration of AI gas is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAiGas {
    /// Two entries for the address.
    #[error("the access list declares AI gas twice: keep one entry for {}", system::AI_GAS)]
    Twice,
    /// Not exactly one storage key.
    #[error(
        "the access list's entry for {address} has {0} storage keys: it must have one, the bound on AI gas as a number",
        address = system::AI_GAS
    )]
    Keys(usize),
    /// The key does not fit into 64 bits.
    #[error(
        "the access list declares a bound on AI gas of {0}, which is no amount of gas: write the number as a 32-byte key"
    )]
    Number(U256),
    /// An AI transaction has a field for it.
    #[error("an AI transaction declares AI gas in its field aiGas: remove {} from its access list", system::AI_GAS)]
    InAiTransaction,
    /// More AI gas than gas.
    #[error("aiGas {declared} exceeds the gas limit {gas_limit}: AI gas is a part of the gas limit, raise that too")]
    AboveGasLimit {
        /// AI gas declared.
        declared: u64,
        /// The transaction's gas limit.
        gas_limit: u64,
    },
    /// More AI gas than a block has.
    #[error("aiGas {declared} exceeds the AI lane of a block, {max}: use a smaller model, or another grade of trust")]
    AboveLane {
        /// AI gas declared.
        declared: u64,
        /// The AI lane's limit.
        max: u64,
    },
}

/// The bound that an access list declares; `None` when it does not name [`system::AI_GAS`].
///
/// # Errors
/// When it names the address in another way than with one storage key that is an amount of gas.
pub fn declared_in(list: &AccessList) -> Result<Option<u64>, InvalidAiGas> {
    let mut entries = list.iter().filter(|item| item.address == system::AI_GAS);
    let Some(entry) = entries.next() else { return Ok(None) };
    if entries.next().is_some() {
        return Err(InvalidAiGas::Twice);
    }
    let [key] = entry.storage_keys[..] else { return Err(InvalidAiGas::Keys(entry.storage_keys.len())) };
    let number = U256::from_be_bytes(key.0);
    u64::try_from(number).map(Some).map_err(|_| InvalidAiGas::Number(number))
}

/// The access-list entry that declares a bound on AI gas.
pub fn declaration(ai_gas: u64) -> AccessListItem {
    AccessListItem { address: system::AI_GAS, storage_keys: vec![B256::from(U256::from(ai_gas))] }
}

/// Checks a transaction's declaration: its form, and that it fits into the gas limit and into a block's AI lane.
pub(crate) fn check(tx: &TxEnvelope, spec: &ChainSpec) -> Result<(), InvalidAiGas> {
    let listed = tx.access_list().map_or(Ok(None), declared_in)?;
    if tx.is_ai() && listed.is_some() {
        return Err(InvalidAiGas::InAiTransaction);
    }
    let Some(declared) = tx.ai_gas_limit() else { return Ok(()) };
    if declared > tx.gas_limit() {
        return Err(InvalidAiGas::AboveGasLimit { declared, gas_limit: tx.gas_limit() });
    }
    if declared > spec.ai_gas_limit {
        return Err(InvalidAiGas::AboveLane { declared, max: spec.ai_gas_limit });
    }
    Ok(())
}

/// The AI gas that the transactions of one DAG block may use, known without running any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AiGasSum {
    declared: u64,
    undeclared: u64,
}

impl AiGasSum {
    /// The sum with one transaction more.
    #[must_use]
    pub fn with(self, tx: &TxEnvelope, spec: &ChainSpec) -> Self {
        match tx.ai_gas_limit() {
            Some(declared) => Self { declared: self.declared.saturating_add(declared), ..self },
            None => {
                let most = tx.gas_limit().saturating_sub(TX_GAS).min(spec.ai_gas_undeclared);
                Self { undeclared: self.undeclared.saturating_add(most).min(spec.ai_gas_pool), ..self }
            }
        }
    }

    /// Declared bounds, and what the rest may draw from the block's pool: never more than the pool.
    pub const fn total(&self) -> u64 {
        self.declared.saturating_add(self.undeclared)
    }

    /// Whether the AI lane of a block holds it.
    pub const fn fits(&self, spec: &ChainSpec) -> bool {
        self.total() <= spec.ai_gas_limit
    }
}
