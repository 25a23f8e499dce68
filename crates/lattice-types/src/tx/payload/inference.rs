//! Inference: one run of a model, in one of three grades of trust.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// Terms of a request that a provider answers later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct RequestTerms {
    /// EVM blocks that providers have to answer in; afterwards the fee is refunded.
    pub answer_blocks: u64,
    /// Wei that an answer has to put at stake.
    pub bond: u128,
}

/// Inference: runs a model on an input, logs the output and records its commitment; or asks for that.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
pub struct InferencePayload {
    /// The model.
    pub model_id: B256,
    /// Grade of trust; see [`InferencePayload::REPLAY`] and the others.
    pub grade: u8,
    /// All input tensors, little endian, row-major, in graph order.
    pub input: Bytes,
    /// Terms, for a grade whose answer comes later. The fee is the value sent along.
    pub terms: Option<RequestTerms>,
}

impl InferencePayload {
    /// Every validator replays the inference.
    pub const REPLAY: u8 = 0;
    /// Nobody runs it on chain: a request for a proof is opened, with the value sent along as the prover's fee.
    pub const PROOF: u8 = 1;
    /// A provider answers under a bond, which a challenge can slash.
    pub const BONDED: u8 = 2;
    /// As [`InferencePayload::BONDED`]; the answer publishes the hashes of all values, and a challenge opens one operator.
    pub const TRACED: u8 = 3;
    /// Blocks that a request may wait for its answer.
    pub const ANSWER_BLOCKS_MAX: u64 = 1_000_000;

    pub(crate) fn check(&self) -> Result<(), String> {
        match (self.grade, &self.terms) {
            (Self::REPLAY | Self::PROOF, None) => Ok(()),
            (Self::REPLAY, Some(_)) => Err("grade 0 (replay) answers at once: leave the terms out".into()),
            (Self::PROOF, Some(_)) => Err("grade 1 (proof) has no terms: leave them out".into()),
            (Self::BONDED | Self::TRACED, Some(terms)) => terms.check(),
            (Self::BONDED, None) => Err("grade 2 (bonded) needs terms: [answer_blocks, bond]".into()),
            (Self::TRACED, None) => Err("grade 3 (traced) needs terms: [answer_blocks, bond]".into()),
            (grade, _) => {
                Err(format!("grade {grade} does not exist: use 0 (replay), 1 (proof), 2 (bonded) or 3 (traced)"))
            }
        }
    }
}

impl RequestTerms {
    fn check(&self) -> Result<(), String> {
        let max = InferencePayload::ANSWER_BLOCKS_MAX;
        if self.answer_blocks == 0 || self.answer_blocks > max {
            return Err(format!("answer_blocks is {}, allowed are 1 to {max}", self.answer_blocks));
        }
        if self.bond == 0 {
            return Err("the bond is 0: an answer without a bond costs a liar nothing".into());
        }
        Ok(())
    }
}
