//! The registry of models: the storage of the account MODELS, and the record of inferences in INFERENCE.
//!
//! The layout is part of the protocol (`docs/spec/ai-state.md`): anybody can prove a field with `eth_getProof`.

use crate::overlay::Overlay;
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::{Cid, limits::MODEL_NAME_BYTES_MAX, system, tx::ModelDeployPayload};
use std::convert::Infallible;

/// Slot of the number of models; the ids follow at keccak(slot) + i, as in a Solidity `bytes32[]` at slot 0.
const COUNT_SLOT: U256 = U256::ZERO;

/// Fields of a record. The number is part of the slot.
#[derive(Debug, Clone, Copy)]
enum Field {
    Status = 0,
    Owner = 1,
    Gas = 2,
    InputBytes = 3,
    OutputBytes = 4,
    ArtifactBytes = 5,
    ArtifactPrefix = 6,
    ArtifactDigest = 7,
    Name = 8,
    RegisteredBlock = 9,
    ActivatedBlock = 10,
}

/// Whether a model can be called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelStatus {
    /// Registered; the validators have not attested its artifact yet. Cannot run.
    #[default]
    Pending,
    /// Callable.
    Active,
}

/// What a run of a model needs of its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelTerms {
    /// Whether it can be called.
    pub status: ModelStatus,
    /// Static cost of one run, in gas.
    pub gas: u64,
    /// Bytes of one input.
    pub input_bytes: u64,
    /// Bytes of one output.
    pub output_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
}

/// A model as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRecord {
    /// Whether it can be called.
    pub status: ModelStatus,
    /// Who registered it.
    pub owner: Address,
    /// Static cost of one run, in gas.
    pub gas: u64,
    /// Bytes of one input.
    pub input_bytes: u64,
    /// Bytes of one output.
    pub output_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
    /// CID of the artifact's manifest.
    pub artifact: Cid,
    /// Short name.
    pub name: String,
    /// Number of the EVM block that registered it.
    pub registered_block: u64,
    /// Number of the EVM block that activated it; `None` while pending.
    pub activated_block: Option<u64>,
}

/// Slot of a field of a model's record in MODELS: keccak(model id ++ field number as a word).
pub fn model_slot(model_id: &B256, field: u8) -> U256 {
    let mut key = [0; 64];
    key[..32].copy_from_slice(model_id.as_slice());
    key[63] = field;
    keccak256(key).into()
}

/// Slot of an inference's commitment in INFERENCE: keccak(model id ++ keccak(input)).
pub fn inference_slot(model_id: &B256, input_hash: &B256) -> U256 {
    keccak256([model_id.as_slice(), input_hash.as_slice()].concat()).into()
}

fn slot(model_id: &B256, field: Field) -> U256 {
    model_slot(model_id, field as u8)
}

fn list_slot(index: u64) -> U256 {
    U256::from_be_bytes(keccak256(COUNT_SLOT.to_be_bytes::<32>()).0).wrapping_add(U256::from(index))
}

impl ModelStatus {
    const fn code(self) -> u64 {
        match self {
            Self::Pending => 1,
            Self::Active => 2,
        }
    }

    fn from_slot(value: U256) -> Option<Self> {
        match value.try_into().ok()? {
            1u64 => Some(Self::Pending),
            2 => Some(Self::Active),
            _ => None,
        }
    }
}

impl ModelRecord {
    /// The record of a model; `None` when nobody registered it.
    pub fn read(state: &State, model_id: &B256) -> Option<Self> {
        let Ok(record) = Self::read_with(model_id, |slot| Ok::<_, Infallible>(state.storage(&system::MODELS, slot)));
        record
    }

    /// Reads all fields through `slot_value`.
    fn read_with<E>(model_id: &B256, mut slot_value: impl FnMut(U256) -> Result<U256, E>) -> Result<Option<Self>, E> {
        let Some(terms) = ModelTerms::read_with(model_id, &mut slot_value)? else { return Ok(None) };
        let mut field = |field| slot_value(slot(model_id, field));
        let prefix = field(Field::ArtifactPrefix)?.to_be_bytes::<32>();
        let digest = field(Field::ArtifactDigest)?.to_be_bytes::<32>();
        let artifact = Cid::from_bytes(&[&prefix[28..], &digest].concat()).expect("a registration writes a valid CID");
        let name = field(Field::Name)?.to_be_bytes::<32>();
        let name_len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        let activated: u64 = field(Field::ActivatedBlock)?.saturating_to();
        Ok(Some(Self {
            status: terms.status,
            owner: Address::from_word(field(Field::Owner)?.into()),
            gas: terms.gas,
            input_bytes: terms.input_bytes,
            output_bytes: terms.output_bytes,
            artifact_bytes: terms.artifact_bytes,
            artifact,
            name: String::from_utf8_lossy(&name[..name_len]).into_owned(),
            registered_block: field(Field::RegisteredBlock)?.saturating_to(),
            activated_block: (terms.status == ModelStatus::Active).then_some(activated),
        }))
    }
}

impl ModelTerms {
    /// Reads what a run needs and no more: status, gas and the three lengths, five slots.
    pub(crate) fn read_with<E>(
        model_id: &B256,
        mut slot_value: impl FnMut(U256) -> Result<U256, E>,
    ) -> Result<Option<Self>, E> {
        let mut field = |field| slot_value(slot(model_id, field));
        let Some(status) = ModelStatus::from_slot(field(Field::Status)?) else { return Ok(None) };
        Ok(Some(Self {
            status,
            gas: field(Field::Gas)?.saturating_to(),
            input_bytes: field(Field::InputBytes)?.saturating_to(),
            output_bytes: field(Field::OutputBytes)?.saturating_to(),
            artifact_bytes: field(Field::ArtifactBytes)?.saturating_to(),
        }))
    }
}

/// The slots that a registration writes, in order: record, list length, list item. `count` is the length before.
pub(crate) fn registration(payload: &ModelDeployPayload, owner: Address, block: u64, count: u64) -> Vec<(U256, U256)> {
    let id = &payload.model_id;
    let cid = payload.artifact.to_bytes();
    let mut name = [0; MODEL_NAME_BYTES_MAX];
    name[..payload.name.len()].copy_from_slice(payload.name.as_bytes());
    let fields = [
        (Field::Status, U256::from(ModelStatus::Pending.code())),
        (Field::Owner, U256::from_be_bytes(owner.into_word().0)),
        (Field::Gas, U256::from(payload.gas)),
        (Field::InputBytes, U256::from(payload.input_bytes)),
        (Field::OutputBytes, U256::from(payload.output_bytes)),
        (Field::ArtifactBytes, U256::from(payload.artifact_bytes)),
        (Field::ArtifactPrefix, U256::from_be_slice(&cid[..4])),
        (Field::ArtifactDigest, U256::from_be_slice(&cid[4..])),
        (Field::Name, U256::from_be_bytes(name)),
        (Field::RegisteredBlock, U256::from(block)),
    ];
    let mut slots: Vec<_> = fields.into_iter().map(|(field, value)| (slot(id, field), value)).collect();
    slots.push((COUNT_SLOT, U256::from(count + 1)));
    slots.push((list_slot(count), U256::from_be_bytes(id.0)));
    slots
}

/// Slot of the number of models.
pub(crate) const fn count_slot() -> U256 {
    COUNT_SLOT
}

/// Slot of a model's status: zero when nobody registered it.
pub(crate) fn status_slot(model_id: &B256) -> U256 {
    slot(model_id, Field::Status)
}

/// System operation: a pending model becomes active. Anything else stays as it is, so a second certificate or one for
/// an unknown model does nothing.
pub(crate) fn activate(overlay: &mut Overlay<'_>, model_id: &B256, block: u64) {
    let status = overlay.slot(system::MODELS, status_slot(model_id));
    if ModelStatus::from_slot(status) == Some(ModelStatus::Pending) {
        overlay.write_slot(system::MODELS, status_slot(model_id), U256::from(ModelStatus::Active.code()));
        overlay.write_slot(system::MODELS, slot(model_id, Field::ActivatedBlock), U256::from(block));
    }
}

/// Number of registered models.
pub fn model_count(state: &State) -> u64 {
    state.storage(&system::MODELS, COUNT_SLOT).saturating_to()
}

/// Ids of registered models in the order of registration: at most `limit` from `offset` on.
pub fn models(state: &State, offset: u64, limit: u64) -> Vec<B256> {
    let end = model_count(state).min(offset.saturating_add(limit));
    (offset..end).map(|index| state.storage(&system::MODELS, list_slot(index)).into()).collect()
}

/// The commitment of a recorded inference: keccak of the output. `None` when there is no record.
pub fn inference_record(state: &State, model_id: &B256, input_hash: &B256) -> Option<B256> {
    let value = state.storage(&system::INFERENCE, inference_slot(model_id, input_hash));
    (!value.is_zero()).then(|| value.into())
}
