//! What a transaction must fulfil to wait in the pool.

use super::{NONCE_GAP_MAX, REPLACEMENT_PERCENT};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, U256};
use lattice_state::{Account, State};
use lattice_types::{ChainSpec, InvalidTx, RecoveredTx};

/// Why a transaction is not admitted. The words are geth's where tools match on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Its form is wrong: see there.
    #[error(transparent)]
    Form(#[from] InvalidTx),
    /// It waits already.
    #[error("already known")]
    AlreadyKnown,
    /// Its nonce was used.
    #[error("nonce too low: next nonce {want}, tx nonce {have}")]
    NonceTooLow {
        /// The transaction's.
        have: u64,
        /// The account's.
        want: u64,
    },
    /// Its nonce is too far ahead.
    #[error("nonce too high: tx nonce {have} is more than {NONCE_GAP_MAX} ahead of the account's {want}")]
    NonceTooHigh {
        /// The transaction's.
        have: u64,
        /// The account's.
        want: u64,
    },
    /// The sender cannot pay for it.
    #[error("insufficient funds for gas * price + value: address {address} have {have} want {want}")]
    InsufficientFunds {
        /// The sender.
        address: Address,
        /// Its balance.
        have: U256,
        /// Gas limit times fee cap, plus value.
        want: U256,
    },
    /// The gas limit does not even cover the intrinsic cost.
    #[error("intrinsic gas too low: gas {have}, minimum needed {want}")]
    IntrinsicGas {
        /// The transaction's gas limit.
        have: u64,
        /// The intrinsic cost (with EIP-7623's floor).
        want: u64,
    },
    /// The gas limit is above what one transaction may use.
    #[error("exceeds block gas limit: gas {have}, one transaction may use {max} (EIP-7825)")]
    GasLimit {
        /// The transaction's gas limit.
        have: u64,
        /// The chain's bound.
        max: u64,
    },
    /// The tip exceeds the fee cap.
    #[error("max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas {tip}, maxFeePerGas {cap}")]
    TipAboveCap {
        /// The tip.
        tip: u128,
        /// The cap.
        cap: u128,
    },
    /// The creation code is too long.
    #[error("max initcode size exceeded: code size {have}, limit {max} (EIP-3860)")]
    InitcodeSize {
        /// Bytes.
        have: usize,
        /// EIP-3860's bound.
        max: usize,
    },
    /// A type-4 transaction without authorisations, or one that creates a contract.
    #[error("a set-code transaction (EIP-7702) needs a recipient and at least one authorization")]
    SetCode,
    /// The sender is a contract.
    #[error("sender not an eoa: it has code (EIP-3607)")]
    SenderHasCode,
    /// Another transaction with this nonce waits, and this one does not pay enough more.
    #[error("replacement transaction underpriced: raise both fees by at least {REPLACEMENT_PERCENT} %")]
    ReplacementUnderpriced,
    /// The sender has too many transactions waiting.
    #[error("txpool is full for this sender: {max} of its {lane} transactions wait, send more once some are mined")]
    SenderFull {
        /// The lane.
        lane: &'static str,
        /// The bound.
        max: usize,
    },
    /// The pool is full of transactions that pay as much or more.
    #[error("transaction underpriced: the pool's {lane} lane is full, pay a tip above {min} wei a gas")]
    Underpriced {
        /// The lane.
        lane: &'static str,
        /// Wei a gas that the cheapest transaction there pays.
        min: u128,
    },
    /// The node is about to end.
    #[error("the node is stopping: send the transaction again once it runs")]
    Stopping,
    /// The pool is full.
    #[error("txpool is full: its {lane} lane holds at most {max} transactions, try again once some are mined")]
    PoolFull {
        /// The lane.
        lane: &'static str,
        /// The bound.
        max: usize,
    },
}

/// EIP-3860.
const INITCODE_BYTES_MAX: usize = 49_152;
/// EIP-7702's delegation designator.
const DELEGATION_PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

pub fn check(tx: &RecoveredTx, account: &Account, spec: &ChainSpec) -> Result<(), AdmissionError> {
    let (have, want) = (tx.nonce(), account.nonce);
    if have < want {
        return Err(AdmissionError::NonceTooLow { have, want });
    }
    if have > want.saturating_add(NONCE_GAP_MAX) {
        return Err(AdmissionError::NonceTooHigh { have, want });
    }
    let max = lattice_execution::gas_limit_max(tx.inner(), spec).min(spec.gas_limit);
    if tx.gas_limit() > max {
        return Err(AdmissionError::GasLimit { have: tx.gas_limit(), max });
    }
    if let Some(tip) = tx.max_priority_fee_per_gas()
        && tip > tx.max_fee_per_gas()
    {
        return Err(AdmissionError::TipAboveCap { tip, cap: tx.max_fee_per_gas() });
    }
    check_shape(tx)?;
    let want = lattice_execution::intrinsic_gas(tx.inner());
    if tx.gas_limit() < want {
        return Err(AdmissionError::IntrinsicGas { have: tx.gas_limit(), want });
    }
    let fee = U256::from(tx.gas_limit()) * U256::from(tx.max_fee_per_gas());
    let want = fee.saturating_add(tx.value());
    if account.balance < want {
        return Err(AdmissionError::InsufficientFunds { address: tx.signer(), have: account.balance, want });
    }
    Ok(())
}

fn check_shape(tx: &RecoveredTx) -> Result<(), AdmissionError> {
    if tx.is_create() && tx.input().len() > INITCODE_BYTES_MAX {
        return Err(AdmissionError::InitcodeSize { have: tx.input().len(), max: INITCODE_BYTES_MAX });
    }
    if let Some(authorizations) = tx.authorization_list()
        && (authorizations.is_empty() || tx.is_create())
    {
        return Err(AdmissionError::SetCode);
    }
    Ok(())
}

/// EIP-3607: an account with code sends nothing, unless the code is an EIP-7702 delegation.
pub fn check_sender_code(code_hash: &B256, state: &State) -> Result<(), AdmissionError> {
    match state.code(code_hash) {
        Ok(Some(code)) if !code.starts_with(&DELEGATION_PREFIX) && !code.is_empty() => {
            Err(AdmissionError::SenderHasCode)
        }
        _ => Ok(()),
    }
}

pub fn check_replacement(old: &RecoveredTx, new: &RecoveredTx) -> Result<(), AdmissionError> {
    let raised =
        |old: u128, new: u128| new >= old.saturating_add(old.saturating_mul(REPLACEMENT_PERCENT).div_ceil(100));
    let tip = |tx: &RecoveredTx| tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas());
    if raised(old.max_fee_per_gas(), new.max_fee_per_gas()) && raised(tip(old), tip(new)) {
        Ok(())
    } else {
        Err(AdmissionError::ReplacementUnderpriced)
    }
}
