//! Adapters and compositions (LoRA) in MODELS. An id is keccak of the canonical payload.

use super::{Registry, Word, models::Reader, models::name_text, slot};
use alloy_primitives::{Address, B256, U256};
use lattice_state::State;
use lattice_types::{Cid, tx::LoraPart};

/// Kind, codec, base version, rank, alpha, bytes, block, parts, method, activity.
pub(crate) const HEAD: u8 = 0x60;
pub(crate) const OWNER: u8 = 0x61;
pub(crate) const BASE: u8 = 0x62;
pub(crate) const DIGEST: u8 = 0x63;
pub(crate) const NAME: u8 = 0x64;
pub(crate) const WEIGHTS: u8 = 0x65;
/// First of the parts' ids.
pub(crate) const PARTS: u8 = 0x68;

/// First field of an adapter or composition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AdapterHead {
    /// 0 nothing, 1 adapter, 2 composition.
    pub(crate) kind: u8,
    pub(crate) dag_pb: bool,
    pub(crate) base_version: u32,
    pub(crate) rank: u32,
    pub(crate) alpha: u32,
    pub(crate) artifact_bytes: u64,
    pub(crate) registered_block: u64,
    pub(crate) parts: u8,
    pub(crate) method: u8,
    /// Whether validators with two thirds of the stake hold the artifact; of a composition its parts tell.
    pub(crate) active: bool,
}

impl AdapterHead {
    pub(crate) const ADAPTER: u8 = 1;
    pub(crate) const COMPOSITION: u8 = 2;

    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            kind: word.short(0, 1) as u8,
            dag_pb: word.short(1, 1) != 0,
            base_version: word.short(2, 4) as u32,
            rank: word.short(6, 4) as u32,
            alpha: word.short(10, 4) as u32,
            artifact_bytes: word.short(14, 5),
            registered_block: word.short(19, 5),
            parts: word.short(24, 1) as u8,
            method: word.short(25, 1) as u8,
            active: word.short(26, 1) != 0,
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with(0, 1, self.kind).with(1, 1, u64::from(self.dag_pb));
        let word = word.with(2, 4, self.base_version).with(6, 4, self.rank).with(10, 4, self.alpha);
        let word = word.with(14, 5, self.artifact_bytes).with(19, 5, self.registered_block);
        word.with(24, 1, self.parts).with(25, 1, self.method).with(26, 1, u64::from(self.active)).value()
    }

    pub(crate) fn read<R: Registry>(registry: &mut R, id: &B256) -> Result<Self, R::Error> {
        registry.read(slot(id, HEAD)).map(Self::decode)
    }
}

/// System operation: a pending adapter becomes active. Anything else stays as it is.
pub(crate) fn activate<R: Registry>(registry: &mut R, id: &B256) -> Result<(), R::Error> {
    let head = AdapterHead::read(registry, id)?;
    if head.kind == AdapterHead::ADAPTER && !head.active {
        registry.write(slot(id, HEAD), AdapterHead { active: true, ..head }.encode())?;
    }
    Ok(())
}

/// What an adapter's record stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterKind {
    /// Low-rank factors in an artifact.
    Adapter {
        /// CID of the artifact's manifest.
        artifact: Cid,
        /// Bytes of the artifact.
        artifact_bytes: u64,
        /// Rank of the update.
        rank: u32,
        /// Numerator of the scale alpha / rank.
        alpha: u32,
    },
    /// Several adapters as one.
    Composition {
        /// 0 cat, 1 linear.
        method: u8,
        /// The adapters with their weights.
        parts: Vec<LoraPart>,
    },
}

/// An adapter or a composition as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterRecord {
    /// Who registered it.
    pub owner: Address,
    /// The base version's id.
    pub base_model: B256,
    /// The base version's number in its line.
    pub base_version: u32,
    /// Number of the EVM block that registered it.
    pub registered_block: u64,
    /// Whether it can be run with: an adapter once validators with two thirds of the stake hold its artifact, a composition
    /// when all of its parts can.
    pub active: bool,
    /// Short name.
    pub name: String,
    /// Which of the two.
    pub kind: AdapterKind,
}

impl AdapterRecord {
    /// Whether it waits for a readiness certificate; a composition never does.
    pub const fn is_pending(&self) -> bool {
        matches!(self.kind, AdapterKind::Adapter { .. }) && !self.active
    }

    /// The record of an adapter or composition; `None` when nobody registered it.
    pub fn read(state: &State, id: &B256) -> Option<Self> {
        let mut reader = Reader(state);
        let mut field = |field: u8| {
            let Ok(value) = reader.read(slot(id, field));
            value
        };
        let head = AdapterHead::decode(field(HEAD));
        let kind = match head.kind {
            AdapterHead::ADAPTER => AdapterKind::Adapter {
                artifact: super::models::cid(head.dag_pb, field(DIGEST)),
                artifact_bytes: head.artifact_bytes,
                rank: head.rank,
                alpha: head.alpha,
            },
            AdapterHead::COMPOSITION => {
                let weights = Word::new(field(WEIGHTS));
                let part = |index: u8| LoraPart {
                    adapter: field(PARTS + index).into(),
                    weight: weights.short(4 * usize::from(index), 4) as u32,
                };
                AdapterKind::Composition { method: head.method, parts: (0..head.parts).map(part).collect() }
            }
            _ => return None,
        };
        let active = match &kind {
            AdapterKind::Adapter { .. } => head.active,
            AdapterKind::Composition { parts, .. } => {
                parts.iter().all(|part| Self::read(state, &part.adapter).is_some_and(|part| part.active))
            }
        };
        Some(Self {
            active,
            owner: Address::from_word(field(OWNER).into()),
            base_model: field(BASE).into(),
            base_version: head.base_version,
            registered_block: head.registered_block,
            name: name_text(field(NAME)),
            kind,
        })
    }
}
