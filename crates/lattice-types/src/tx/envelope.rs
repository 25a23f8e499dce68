//! The envelope enum. It lives in a module of its own because the derive generates a second enum beside it.

use super::ai::{Inference, Lora, ModelDeploy, ModelUpdate, Training, TxAi};
use crate::ai_gas;
use alloy_consensus::{
    Signed, Transaction, TransactionEnvelope, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
    crypto::RecoveryError, transaction::SignerRecoverable,
};
use alloy_primitives::{Address, B256, Signature};

/// A signed transaction of any type that Lattice knows.
#[derive(Debug, Clone, TransactionEnvelope)]
#[envelope(tx_type_name = TxEnvelopeType)]
pub enum TxEnvelope {
    /// Type 0, EIP-155.
    #[envelope(ty = 0)]
    Legacy(Signed<TxLegacy>),
    /// Type 1, EIP-2930.
    #[envelope(ty = 1)]
    Eip2930(Signed<TxEip2930>),
    /// Type 2, EIP-1559.
    #[envelope(ty = 2)]
    Eip1559(Signed<TxEip1559>),
    /// Type 3, EIP-4844: only in Ethereum's own chains, for conformance. Lattice's decoder and blocks refuse it.
    #[envelope(ty = 3)]
    Eip4844(Signed<TxEip4844>),
    /// Type 4, EIP-7702.
    #[envelope(ty = 4)]
    Eip7702(Signed<TxEip7702>),
    /// Type 0x50: registers a model.
    #[envelope(ty = 0x50)]
    ModelDeploy(Signed<TxAi<ModelDeploy>>),
    /// Type 0x51: a new version of a model.
    #[envelope(ty = 0x51)]
    ModelUpdate(Signed<TxAi<ModelUpdate>>),
    /// Type 0x52: runs a model and records the result.
    #[envelope(ty = 0x52)]
    Inference(Signed<TxAi<Inference>>),
    /// Type 0x53: a training job.
    #[envelope(ty = 0x53)]
    Training(Signed<TxAi<Training>>),
    /// Type 0x54: an adapter.
    #[envelope(ty = 0x54)]
    Lora(Signed<TxAi<Lora>>),
}

macro_rules! each {
    ($self:expr, $tx:ident => $body:expr) => {
        match $self {
            TxEnvelope::Legacy($tx) => $body,
            TxEnvelope::Eip2930($tx) => $body,
            TxEnvelope::Eip1559($tx) => $body,
            TxEnvelope::Eip4844($tx) => $body,
            TxEnvelope::Eip7702($tx) => $body,
            TxEnvelope::ModelDeploy($tx) => $body,
            TxEnvelope::ModelUpdate($tx) => $body,
            TxEnvelope::Inference($tx) => $body,
            TxEnvelope::Training($tx) => $body,
            TxEnvelope::Lora($tx) => $body,
        }
    };
}

impl TxEnvelope {
    /// The transaction hash: keccak of the EIP-2718 bytes.
    pub fn hash(&self) -> &B256 {
        each!(self, tx => tx.hash())
    }

    /// The sender's signature.
    pub fn signature(&self) -> &Signature {
        each!(self, tx => tx.signature())
    }

    /// The declared bound on AI gas: the field of an AI transaction, or the entry in the access list of an ordinary one
    /// (see [`ai_gas`]). `None` without a declaration, and for a malformed one, which `check_form` refuses.
    pub fn ai_gas_limit(&self) -> Option<u64> {
        match self {
            Self::ModelDeploy(tx) => Some(tx.tx().ai_gas_limit),
            Self::ModelUpdate(tx) => Some(tx.tx().ai_gas_limit),
            Self::Inference(tx) => Some(tx.tx().ai_gas_limit),
            Self::Training(tx) => Some(tx.tx().ai_gas_limit),
            Self::Lora(tx) => Some(tx.tx().ai_gas_limit),
            Self::Legacy(_) | Self::Eip2930(_) | Self::Eip1559(_) | Self::Eip4844(_) | Self::Eip7702(_) => {
                ai_gas::declared_in(self.access_list()?).ok()?
            }
        }
    }

    /// Whether this is one of the AI types 0x50 to 0x54.
    pub const fn is_ai(&self) -> bool {
        !matches!(self, Self::Legacy(_) | Self::Eip2930(_) | Self::Eip1559(_) | Self::Eip4844(_) | Self::Eip7702(_))
    }
}

impl SignerRecoverable for TxEnvelope {
    fn recover_signer(&self) -> Result<Address, RecoveryError> {
        each!(self, tx => tx.recover_signer())
    }

    fn recover_signer_unchecked(&self) -> Result<Address, RecoveryError> {
        each!(self, tx => tx.recover_signer_unchecked())
    }
}

macro_rules! from_signed {
    ($($variant:ident($inner:ty)),* $(,)?) => {$(
        impl From<Signed<$inner>> for TxEnvelope {
            fn from(tx: Signed<$inner>) -> Self {
                Self::$variant(tx)
            }
        }
    )*};
}

from_signed!(
    Legacy(TxLegacy),
    Eip2930(TxEip2930),
    Eip1559(TxEip1559),
    Eip4844(TxEip4844),
    Eip7702(TxEip7702),
    ModelDeploy(TxAi<ModelDeploy>),
    ModelUpdate(TxAi<ModelUpdate>),
    Inference(TxAi<Inference>),
    Training(TxAi<Training>),
    Lora(TxAi<Lora>),
);
