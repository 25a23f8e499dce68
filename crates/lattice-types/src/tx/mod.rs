//! The transaction envelope (EIP-2718): Ethereum's types 0, 1, 2 and 4, and Lattice's AI types 0x50 to 0x54.
//!
//! This is the only decoder in the project. A sender is recovered once, in [`recover`], and travels as
//! [`RecoveredTx`] from then on.

mod ai;
mod envelope;
pub mod operation;
mod payload;

pub use ai::{AiKind, Inference, Lora, ModelDeploy, ModelUpdate, Training, TxAi};
pub use envelope::{TxEnvelope, TxEnvelopeType};
pub use payload::{
    DisputeTerms, InferencePayload, LoraAdapter, LoraComposition, LoraPart, LoraPayload, ModelCommitments, ModelDelta,
    ModelDeployPayload, ModelUpdatePayload, RequestTerms, TrainingChallenge, TrainingCheckpoint, TrainingCompletion,
    TrainingJob, TrainingPayload,
};

use crate::{
    ai_gas::{self, InvalidAiGas},
    limits,
    spec::ChainSpec,
};
use alloy_consensus::{
    Transaction, Typed2718,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Signature};

/// A transaction with its sender.
pub type RecoveredTx = Recovered<TxEnvelope>;

/// Why a transaction is refused before any state is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTx {
    /// Nothing was sent.
    #[error("the transaction is empty: send the EIP-2718 bytes of a signed transaction")]
    Empty,
    /// More bytes than allowed.
    #[error(
        "the transaction has {got} bytes, at most {} are allowed: put large data into an artifact",
        limits::TX_BYTES_MAX
    )]
    TooLarge {
        /// Bytes sent.
        got: usize,
    },
    /// The type byte is not one we know.
    #[error("transaction type 0x{0:02x} is not supported: use 0x00, 0x01, 0x02, 0x04 or the AI types 0x50 to 0x54")]
    UnknownType(u8),
    /// Blob transactions.
    #[error(
        "blob transactions (type 0x03, EIP-4844) are not supported: put large data into an artifact and its CID on chain"
    )]
    Blob,
    /// The bytes are not the RLP of a transaction of that type.
    #[error("malformed transaction of type 0x{ty:02x}: {reason}")]
    Malformed {
        /// The type that the first byte claims.
        ty: u8,
        /// What the decoder stumbled over.
        reason: String,
    },
    /// Bytes are left over after the transaction.
    #[error("{0} bytes follow the end of the transaction")]
    Trailing(usize),
    /// Signed for another chain.
    #[error("the transaction is signed for chain id {got}, this chain is {expected}")]
    WrongChainId {
        /// The transaction's chain id.
        got: u64,
        /// This chain's.
        expected: u64,
    },
    /// A legacy transaction without chain id (before EIP-155) could be replayed from another chain.
    #[error("the transaction names no chain id (EIP-155): sign it for chain id {0}")]
    MissingChainId(u64),
    /// The signature does not recover, or its s is in the upper half (EIP-2).
    #[error("invalid signature: no sender can be recovered (EIP-2 wants the lower s)")]
    Signature,
    /// The declaration of AI gas breaks a rule.
    #[error(transparent)]
    AiGas(#[from] InvalidAiGas),
    /// The AI payload breaks a rule of its form.
    #[error("malformed payload of transaction type 0x{ty:02x}: {reason}")]
    Payload {
        /// The transaction's type.
        ty: u8,
        /// Which rule.
        reason: String,
    },
}

/// Decodes the EIP-2718 bytes of one signed transaction, all of them.
pub fn decode_transaction(bytes: &[u8]) -> Result<TxEnvelope, InvalidTx> {
    if bytes.first() == Some(&3) {
        return Err(InvalidTx::Blob);
    }
    decode_any(bytes)
}

/// [`decode_transaction`] with blob transactions, which blocks of Ethereum hold: [`check_form`] refuses them in ours.
pub(crate) fn decode_any(bytes: &[u8]) -> Result<TxEnvelope, InvalidTx> {
    let first = *bytes.first().ok_or(InvalidTx::Empty)?;
    if bytes.len() > limits::TX_BYTES_MAX {
        return Err(InvalidTx::TooLarge { got: bytes.len() });
    }
    let ty = if first >= 0xc0 { 0 } else { first };
    if !matches!(ty, 0..=4 | 0x50..=0x54) {
        return Err(InvalidTx::UnknownType(ty));
    }
    let mut rest = bytes;
    let tx =
        TxEnvelope::decode_2718(&mut rest).map_err(|error| InvalidTx::Malformed { ty, reason: error.to_string() })?;
    if !rest.is_empty() {
        return Err(InvalidTx::Trailing(rest.len()));
    }
    Ok(tx)
}

/// Checks what needs no state (chain id, enabled type, payload form) and recovers the sender.
pub fn recover(tx: TxEnvelope, spec: &ChainSpec) -> Result<RecoveredTx, InvalidTx> {
    check_form(&tx, spec)?;
    let sender = tx.recover_signer().map_err(|_| InvalidTx::Signature)?;
    Ok(Recovered::new_unchecked(tx, sender))
}

/// Recovers the sender of a transaction whose form was checked before.
pub(crate) fn sender(tx: &TxEnvelope) -> Result<Address, InvalidTx> {
    tx.recover_signer().map_err(|_| InvalidTx::Signature)
}

/// The checks of a transaction's form that need the chain specification but neither its signature nor any state.
pub fn check_form(tx: &TxEnvelope, spec: &ChainSpec) -> Result<(), InvalidTx> {
    if matches!(tx, TxEnvelope::Eip4844(_)) {
        return Err(InvalidTx::Blob);
    }
    match tx.chain_id() {
        Some(got) if got != spec.chain_id => {
            return Err(InvalidTx::WrongChainId { got, expected: spec.chain_id });
        }
        None => return Err(InvalidTx::MissingChainId(spec.chain_id)),
        _ => {}
    }
    ai_gas::check(tx, spec)?;
    let ty = tx.ty();
    let payload = |reason: String| InvalidTx::Payload { ty, reason };
    match tx {
        TxEnvelope::ModelDeploy(tx) => tx.tx().payload().map(drop).map_err(payload),
        TxEnvelope::Inference(tx) => tx.tx().payload().map(drop).map_err(payload),
        TxEnvelope::ModelUpdate(tx) => tx.tx().payload().map(drop).map_err(payload),
        TxEnvelope::Training(tx) => tx.tx().payload().map(drop).map_err(payload),
        TxEnvelope::Lora(tx) => tx.tx().payload().map(drop).map_err(payload),
        _ => Ok(()),
    }
}

/// A secp256k1 key that signs transactions.
#[derive(Clone)]
pub struct TxSigner {
    secret: B256,
    address: Address,
}

impl std::fmt::Debug for TxSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TxSigner({})", self.address)
    }
}

impl TxSigner {
    /// A signer from a 32-byte secret key; `None` when it is zero or not below the group order.
    pub fn new(secret: B256) -> Option<Self> {
        let probe = sign_hash(&secret, B256::repeat_byte(1))?;
        let address = alloy_consensus::crypto::secp256k1::recover_signer(&probe, B256::repeat_byte(1)).ok()?;
        Some(Self { secret, address })
    }

    /// The account this key controls.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a transaction of any type.
    pub fn sign<T>(&self, tx: T) -> alloy_consensus::Signed<T>
    where
        T: alloy_consensus::SignableTransaction<Signature> + alloy_consensus::transaction::RlpEcdsaEncodableTx,
    {
        let signature = sign_hash(&self.secret, tx.signature_hash()).expect("the key was checked in new");
        tx.into_signed(signature)
    }
}

fn sign_hash(secret: &B256, hash: B256) -> Option<Signature> {
    alloy_consensus::crypto::secp256k1::sign_message(*secret, hash).ok()
}
