//! What nodes say to each other.

use alloy_primitives::{B256, keccak256};
use lattice_types::{Attestation, CheckedBlock, CheckedVote, Evidence, RecoveredTx};
use std::sync::Arc;

/// Place of a node among the nodes; its validator has the same index in the registry.
pub type NodeId = usize;

/// A message. What was verified once is handed on as verified: a signature is good or bad wherever it is looked at.
#[derive(Debug, Clone)]
pub enum Message {
    /// A DAG block.
    Block(Arc<CheckedBlock>),
    /// A vote.
    Vote(Arc<CheckedVote>),
    /// Evidence.
    Evidence(Arc<Evidence>),
    /// A validator's word that it holds a model.
    Attestation(Arc<Attestation>),
    /// A transaction.
    Transaction(Arc<RecoveredTx>),
    /// The sender's tips.
    Tips(Arc<Vec<B256>>),
    /// A request for blocks, and how many blocks of their pasts to send along.
    Request(Arc<Vec<B256>>, usize),
}

impl Message {
    /// Names what is gossiped; requests and tips are between two nodes only.
    pub fn id(&self) -> Option<B256> {
        match self {
            Self::Block(block) => Some(block.hash()),
            Self::Vote(vote) => {
                let vote = vote.vote();
                Some(keccak256([&vote.vote.encode()[..], &vote.signer.to_be_bytes()].concat()))
            }
            Self::Evidence(evidence) => Some(evidence.hash()),
            Self::Attestation(attestation) => {
                let Attestation { model_id, epoch, signer, .. } = &**attestation;
                Some(keccak256([&model_id[..], &epoch.to_be_bytes(), &signer.to_be_bytes()].concat()))
            }
            Self::Transaction(tx) => Some(*tx.inner().hash()),
            Self::Tips(_) | Self::Request(..) => None,
        }
    }
}
