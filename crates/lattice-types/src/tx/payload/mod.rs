//! What the AI transactions carry. Only commitments: weights live in artifacts, named by CID (part P5 of the mission).
//!
//! Encodings are RLP lists, nothing behind them. Fields that came later are optional and trailing, and absent ones are
//! left out rather than written empty, so every payload has one spelling and old encodings stay valid.

mod inference;
mod lora;
mod models;
mod training;

pub use inference::{InferencePayload, RequestTerms};
pub use lora::{LoraAdapter, LoraComposition, LoraPart, LoraPayload};
pub use models::{ModelCommitments, ModelDelta, ModelDeployPayload, ModelUpdatePayload};
pub use training::{
    DisputeTerms, TrainingChallenge, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload,
};

use crate::limits::{ARTIFACT_BYTES_MAX, MODEL_NAME_BYTES_MAX};
use alloy_rlp::{Decodable, Encodable, Header};

/// A name: at most 32 bytes, without NUL, because its slot is padded with zeros.
fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MODEL_NAME_BYTES_MAX {
        return Err(format!("the name has {} bytes, at most {MODEL_NAME_BYTES_MAX} are allowed", name.len()));
    }
    if name.contains('\0') {
        return Err("the name contains a NUL".into());
    }
    Ok(())
}

/// An artifact's length: 1 byte to the limit of the chain.
fn check_artifact_bytes(bytes: u64) -> Result<(), String> {
    if bytes == 0 || bytes > ARTIFACT_BYTES_MAX {
        return Err(format!("artifact_bytes is {bytes}, allowed are 1 to {ARTIFACT_BYTES_MAX}"));
    }
    Ok(())
}

/// Encodes `[action, body]`.
fn encode_action(action: u8, body: &dyn Encodable, out: &mut dyn alloy_rlp::BufMut) {
    Header { list: true, payload_length: action.length() + body.length() }.encode(out);
    action.encode(out);
    body.encode(out);
}

/// Bytes of `[action, body]`.
fn action_length(action: u8, body: &dyn Encodable) -> usize {
    let payload_length = action.length() + body.length();
    payload_length + alloy_rlp::length_of_length(payload_length)
}

/// Decodes `[action, body]`; `body` reads what belongs to the action.
fn decode_action<T>(
    buf: &mut &[u8],
    body: impl FnOnce(u8, &mut &[u8]) -> alloy_rlp::Result<T>,
) -> alloy_rlp::Result<T> {
    let mut inner = Header::decode_bytes(buf, true)?;
    let action = u8::decode(&mut inner)?;
    let decoded = body(action, &mut inner)?;
    if !inner.is_empty() {
        return Err(alloy_rlp::Error::Custom("bytes follow the action's body"));
    }
    Ok(decoded)
}
