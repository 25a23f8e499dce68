//! LoRA (Hu et al., 2021): adapters on a base version, and compositions of adapters.

use super::{action_length, check_artifact_bytes, check_name, decode_action, encode_action};
use crate::Cid;
use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};

/// An adapter: low-rank updates of some of a base version's weights.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct LoraAdapter {
    /// The base: the id of a model's version.
    pub base_model: B256,
    /// That version's number within its line.
    pub base_version: u64,
    /// CID of the adapter's manifest.
    pub artifact: Cid,
    /// Bytes of the adapter's artifact.
    pub artifact_bytes: u64,
    /// Rank of the update.
    pub rank: u32,
    /// Numerator of the scale alpha / rank.
    pub alpha: u32,
    /// A short name, UTF-8.
    pub name: String,
}

/// One adapter of a composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct LoraPart {
    /// The adapter's id.
    pub adapter: B256,
    /// Its weight: a 32-bit two's complement number in units of 1/65,536.
    pub weight: u32,
}

/// Adapters of one base combined into one.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct LoraComposition {
    /// How: [`LoraComposition::CAT`] or [`LoraComposition::LINEAR`].
    pub method: u8,
    /// The adapters, in order.
    pub parts: Vec<LoraPart>,
    /// A short name, UTF-8.
    pub name: String,
}

/// LoRA: an adapter or a composition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoraPayload {
    /// Action 0: registers an adapter.
    Adapter(LoraAdapter),
    /// Action 1: registers a composition.
    Compose(LoraComposition),
}

impl LoraAdapter {
    /// Highest rank.
    pub const RANK_MAX: u32 = 1_024;
}

impl LoraComposition {
    /// Ranks are concatenated: the sum of the weighted updates, exactly.
    pub const CAT: u8 = 0;
    /// Factors are summed with weights: all ranks are equal, and so is the result's.
    pub const LINEAR: u8 = 1;
    /// Adapters that one composition may list.
    pub const PARTS_MAX: usize = 8;
}

impl LoraPayload {
    fn parts(&self) -> (u8, &dyn Encodable) {
        match self {
            Self::Adapter(adapter) => (0, adapter),
            Self::Compose(composition) => (1, composition),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Adapter(adapter) => {
                check_name(&adapter.name)?;
                check_artifact_bytes(adapter.artifact_bytes)?;
                let max = LoraAdapter::RANK_MAX;
                if adapter.rank == 0 || adapter.rank > max {
                    return Err(format!("the rank is {}, allowed are 1 to {max}", adapter.rank));
                }
                if adapter.alpha == 0 {
                    return Err("alpha is 0: such an adapter does nothing".into());
                }
                Ok(())
            }
            Self::Compose(composition) => {
                check_name(&composition.name)?;
                if composition.method > LoraComposition::LINEAR {
                    return Err(format!("method {} is not known: use 0 (cat) or 1 (linear)", composition.method));
                }
                let (got, max) = (composition.parts.len(), LoraComposition::PARTS_MAX);
                if got == 0 || got > max {
                    return Err(format!("a composition of {got} adapters: allowed are 1 to {max}"));
                }
                if composition.parts.iter().any(|part| part.weight == 0) {
                    return Err("a weight is 0: leave that adapter out".into());
                }
                Ok(())
            }
        }
    }
}

impl Encodable for LoraPayload {
    fn encode(&self, out: &mut dyn BufMut) {
        let (action, body) = self.parts();
        encode_action(action, body, out);
    }

    fn length(&self) -> usize {
        let (action, body) = self.parts();
        action_length(action, body)
    }
}

impl Decodable for LoraPayload {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        decode_action(buf, |action, body| match action {
            0 => Decodable::decode(body).map(Self::Adapter),
            1 => Decodable::decode(body).map(Self::Compose),
            _ => Err(alloy_rlp::Error::Custom("unknown action: 0 registers an adapter, 1 a composition")),
        })
    }
}
