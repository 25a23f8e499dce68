//! Floor 0: the words every other room speaks.
//!
//! Blocks of the DAG and of the EVM, the transaction envelope with its AI types, receipts, content
//! identifiers, keys, the chain specification and all limits, and the one canonical encoding of each (RLP).
//! Pure data: nothing here knows a disk, a clock, a peer or the EVM.

pub mod ai_gas;
pub mod block;
pub mod bls;
pub mod check;
pub mod cid;
pub mod evidence;
pub mod evm;
pub mod finality;
pub mod limits;
pub mod readiness;
pub mod spec;
pub mod system;
pub mod tx;

pub use ai_gas::{AiGasSum, InvalidAiGas};
pub use block::{DagBlock, DagBody, DagHeader};
pub use check::{CheckedBlock, InvalidBlock, SealKey, SetVerdict, Verdicts, check_in_isolation, check_without_seal};
pub use cid::Cid;
pub use evidence::{Evidence, InvalidEvidence};
pub use evm::{EvmBlock, IncludedTx, SkippedTx, TxReceipt};
pub use finality::{Bitmap, Certificate, CheckedVote, Checkpoint, Offence, SignedVote, Vote};
pub use readiness::{Attestation, CheckedAttestation, ReadinessCertificate};
pub use spec::{ChainSpec, Staking, Validator};
pub use tx::{InvalidTx, RecoveredTx, TxEnvelope, decode_transaction, recover};
