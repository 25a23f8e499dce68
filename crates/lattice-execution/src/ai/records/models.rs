//! The registry of models: the storage of the account MODELS, and the record of inferences in INFERENCE.

use super::{
    Registry, Word, slot,
    versions::{self, Line, ModelPermission},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::{
    Cid,
    limits::MODEL_NAME_BYTES_MAX,
    system,
    tx::{ModelCommitments, ModelDelta, ModelDeployPayload},
};
use std::convert::Infallible;

/// Slot of the counts: models in the list, registrations ever; the ids of the list follow at keccak(slot) + i, as in a
/// Solidity `bytes32[]` at slot 0.
const COUNT_SLOT: U256 = U256::ZERO;
/// The ring of the newest registrations, versions included, lies at keccak(word(1)) + n mod [`REGISTRATIONS_KEPT`].
const REGISTRATIONS_SLOT: U256 = U256::ONE;
/// Registrations that the ring remembers.
pub const REGISTRATIONS_KEPT: u64 = 4_096;
/// A registration that is still pending after so many EVM blocks may be replaced.
pub const PENDING_BLOCKS: u64 = 28_800;

/// Fields of a model's record. The number is part of the slot.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    /// Status, version, blocks, metrics.
    Head = 0,
    /// Gas, the last epoch in which it may run, the three lengths.
    Terms = 1,
    ArtifactDigest = 2,
    /// Of a version after the first: the id of its line.
    LineId = 3,
    /// Of a line, as everything up to the offer: owner, counts, permission.
    Line = 4,
    Chain = 5,
    Name = 6,
    LatestActive = 7,
    Price = 8,
    OfferedTo = 9,
    /// First of the four commitments.
    Metadata = 10,
    /// Parent version and delta base, when they are not the plain ones.
    Lineage = 14,
    DeltaDigest = 15,
    /// Of a line: quality stake.
    Stake = 16,
}

/// Whether a model can be called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelStatus {
    /// Registered; the validators have not attested its artifact yet. Cannot run.
    #[default]
    Pending,
    /// Callable.
    Active,
    /// An old version whose record was cleared. Cannot run.
    Pruned,
}

/// The last epoch in which a model may run, where readiness is not renewed.
pub const FOR_GOOD: u64 = u32::MAX as u64;

/// Stake whose word a model waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessNeed {
    /// Nobody's: it cannot run any more, or need not be certified in this epoch again.
    None,
    /// Half of the stake, to go on.
    Half,
    /// Two thirds of the stake, to become active or, after a suspension, to run again.
    TwoThirds,
}

/// First field of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// `None`: not registered.
    pub(crate) status: Option<ModelStatus>,
    /// The id is in the registry's list.
    pub(crate) listed: bool,
    /// The artifact's codec is dag-pb.
    pub(crate) dag_pb: bool,
    /// Which of the four commitments are there, by bit.
    pub(crate) commitments: u8,
    /// The fields Lineage and DeltaDigest are there.
    pub(crate) lineage: bool,
    /// A readiness certificate of this epoch makes it runnable in the next one.
    pub(crate) scheduled: bool,
    pub(crate) version: u32,
    pub(crate) registered_block: u64,
    pub(crate) activated_block: u64,
    pub(crate) calls: u64,
    pub(crate) last_use_block: u64,
    pub(crate) disputes: u64,
    pub(crate) open_requests: u64,
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
    /// The last epoch in which it may run; [`FOR_GOOD`] where readiness is not renewed.
    pub fresh_until: u64,
    /// Its number in its line, from 1.
    pub version: u32,
    /// Id of its line: that of the first version.
    pub line: B256,
    /// The line's owner.
    pub owner: Address,
    /// Who may run it.
    pub permission: ModelPermission,
    /// Whether the owner ended the line.
    pub retired: bool,
    /// Id of the version whose record this is: its own, or the base's when adapters are run.
    pub base: B256,
    /// AI work of loading and merging adapters, at the first touch in a block.
    pub adapter_work: u64,
}

/// What recorded operations did with a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMetrics {
    /// Recorded runs.
    pub calls: u64,
    /// EVM block of the last one; 0 for none.
    pub last_use_block: u64,
    /// Answers that a challenge proved wrong.
    pub disputes: u64,
    /// Bonded requests that are not settled.
    pub open_requests: u64,
}

/// A model as the registry has it: one version and the line it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRecord {
    /// Whether it can be called.
    pub status: ModelStatus,
    /// Who owns the line.
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
    /// The last epoch in which it may run; [`FOR_GOOD`] where readiness is not renewed.
    pub fresh_until: u64,
    /// Whether a readiness certificate of the present epoch makes it runnable in the next one.
    pub scheduled: bool,
    /// Short name of the line.
    pub name: String,
    /// Number of the EVM block that registered it.
    pub registered_block: u64,
    /// Number of the EVM block that activated it; `None` while pending.
    pub activated_block: Option<u64>,
    /// Its number in its line, from 1.
    pub version: u32,
    /// The version that it follows; 0 for the first.
    pub parent_version: u32,
    /// A delta that makes its artifact from an older version's.
    pub delta: Option<ModelDelta>,
    /// Further commitments.
    pub commitments: ModelCommitments,
    /// Use and disputes.
    pub metrics: ModelMetrics,
    /// Its line.
    pub line: ModelLine,
}

/// What all versions of a model share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLine {
    /// Id of the first version, which names the line.
    pub id: B256,
    /// Versions ever registered.
    pub versions: u32,
    /// Number and id of the newest active version.
    pub latest_active: Option<(u32, B256)>,
    /// Accumulating hash of all registrations.
    pub chain_hash: B256,
    /// Who may run it.
    pub permission: ModelPermission,
    /// Wei a run, with [`ModelPermission::Price`].
    pub price: u128,
    /// Whether the owner ended it.
    pub retired: bool,
    /// To whom the owner offers it.
    pub offered_to: Option<Address>,
    /// Quality stake, wei.
    pub stake: u128,
}

/// Slot of a field of a model's record in MODELS: keccak(model id ++ field number as a word).
pub fn model_slot(model_id: &B256, field: u8) -> U256 {
    slot(model_id, field)
}

/// Slot of an inference's commitment in INFERENCE: keccak(model id ++ keccak(input)).
pub fn inference_slot(model_id: &B256, input_hash: &B256) -> U256 {
    keccak256([model_id.as_slice(), input_hash.as_slice()].concat()).into()
}

fn list_slot(index: u64) -> U256 {
    U256::from_be_bytes(keccak256(COUNT_SLOT.to_be_bytes::<32>()).0).wrapping_add(U256::from(index))
}

fn registration_slot(index: u64) -> U256 {
    let base = U256::from_be_bytes(keccak256(REGISTRATIONS_SLOT.to_be_bytes::<32>()).0);
    base.wrapping_add(U256::from(index % REGISTRATIONS_KEPT))
}

const LISTED: u64 = 1;
const DAG_PB: u64 = 2;
const COMMITMENTS_SHIFT: u64 = 2;
const LINEAGE: u64 = 1 << 6;
const SCHEDULED: u64 = 1 << 7;

impl ModelStatus {
    const fn code(self) -> u64 {
        match self {
            Self::Pending => 1,
            Self::Active => 2,
            Self::Pruned => 3,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Pending),
            2 => Some(Self::Active),
            3 => Some(Self::Pruned),
            _ => None,
        }
    }
}

impl Head {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        let flags = word.short(1, 1);
        Self {
            status: ModelStatus::from_code(word.short(0, 1)),
            listed: flags & LISTED != 0,
            dag_pb: flags & DAG_PB != 0,
            commitments: (flags >> COMMITMENTS_SHIFT & 15) as u8,
            lineage: flags & LINEAGE != 0,
            scheduled: flags & SCHEDULED != 0,
            version: word.short(2, 4) as u32,
            registered_block: word.short(6, 5),
            activated_block: word.short(11, 5),
            calls: word.short(16, 6),
            last_use_block: word.short(22, 5),
            disputes: word.short(27, 3),
            open_requests: word.short(30, 2),
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let flags = flag(self.listed, LISTED)
            | flag(self.dag_pb, DAG_PB)
            | u64::from(self.commitments) << COMMITMENTS_SHIFT
            | flag(self.lineage, LINEAGE)
            | flag(self.scheduled, SCHEDULED);
        let word = Word::default().with(0, 1, self.status.map_or(0, ModelStatus::code)).with(1, 1, flags);
        let word = word.with(2, 4, self.version).with(6, 5, self.registered_block).with(11, 5, self.activated_block);
        let word = word.with(16, 6, self.calls).with(22, 5, self.last_use_block);
        word.with(27, 3, self.disputes).with(30, 2, self.open_requests).value()
    }

    pub(crate) fn read<R: Registry>(registry: &mut R, id: &B256) -> Result<Self, R::Error> {
        registry.read(slot(id, Field::Head as u8)).map(Self::decode)
    }

    pub(crate) fn write<R: Registry>(&self, registry: &mut R, id: &B256) -> Result<(), R::Error> {
        registry.write(slot(id, Field::Head as u8), self.encode())
    }

    /// Id of the version's line.
    pub(crate) fn line<R: Registry>(&self, registry: &mut R, id: &B256) -> Result<B256, R::Error> {
        match self.version {
            0 | 1 => Ok(*id),
            _ => registry.read(slot(id, Field::LineId as u8)).map(Into::into),
        }
    }

    /// What stays of a record that was cleared: whether it is listed, and its number.
    pub(crate) fn bare(&self) -> Self {
        Self { listed: self.listed, version: self.version, ..Self::default() }
    }

    /// Clears the version's own fields but for this one.
    pub(crate) fn clear<R: Registry>(&self, registry: &mut R, id: &B256) -> Result<(), R::Error> {
        let mut fields = vec![Field::Terms as u8, Field::ArtifactDigest as u8];
        if self.version > 1 {
            fields.push(Field::LineId as u8);
        }
        fields.extend((0..4).filter(|bit| self.commitments >> bit & 1 == 1).map(|bit| Field::Metadata as u8 + bit));
        if self.lineage {
            fields.extend([Field::Lineage as u8, Field::DeltaDigest as u8]);
        }
        fields.into_iter().try_for_each(|field| registry.write(slot(id, field), U256::ZERO))
    }

    /// Whether a new registration may take the place of this one at `block`.
    pub(crate) fn is_replaceable(&self, block: u64) -> bool {
        match self.status {
            None | Some(ModelStatus::Pruned) => true,
            Some(ModelStatus::Pending) => block >= self.registered_block.saturating_add(PENDING_BLOCKS),
            Some(ModelStatus::Active) => false,
        }
    }
}

/// The CID of a codec and a digest.
pub(crate) fn cid(dag_pb: bool, digest: U256) -> Cid {
    let codec = if dag_pb { 0x70 } else { 0x55 };
    let bytes = [&[0x01, codec, 0x12, 0x20], digest.to_be_bytes::<32>().as_slice()].concat();
    Cid::from_bytes(&bytes).expect("the prefix is one that CIDs may have")
}

/// Whether a CID names a dag-pb block; it names a raw one otherwise.
pub(crate) fn is_dag_pb(cid: &Cid) -> bool {
    cid.to_bytes()[1] == 0x70
}

/// The slots of a version's own fields: head, terms, artifact, commitments.
pub(crate) fn version_slots(payload: &ModelDeployPayload, head: &Head) -> Vec<(U256, U256)> {
    let id = &payload.model_id;
    let terms = Word::default()
        .with(0, 8, payload.gas)
        .with(8, 8, payload.input_bytes)
        .with(16, 8, payload.output_bytes)
        .with(28, 4, payload.artifact_bytes);
    let mut slots = vec![
        (slot(id, Field::Head as u8), head.encode()),
        (slot(id, Field::Terms as u8), terms.value()),
        (slot(id, Field::ArtifactDigest as u8), U256::from_be_slice(payload.artifact.digest())),
    ];
    for (index, commitment) in payload.commitments.unwrap_or_default().all().into_iter().enumerate() {
        if let Some(value) = commitment {
            slots.push((slot(id, Field::Metadata as u8 + index as u8), U256::from_be_bytes(value.0)));
        }
    }
    slots
}

/// A new version's head.
pub(crate) fn new_head(payload: &ModelDeployPayload, version: u32, block: u64) -> Head {
    let present = payload.commitments.unwrap_or_default().all().map(|commitment| u8::from(commitment.is_some()));
    Head {
        status: Some(ModelStatus::Pending),
        dag_pb: is_dag_pb(&payload.artifact),
        commitments: present.iter().rev().fold(0, |bits, bit| bits << 1 | bit),
        version,
        registered_block: block,
        ..Head::default()
    }
}

/// A name as a word: left-aligned, padded with zeros.
pub(crate) fn name_word(name: &str) -> U256 {
    let mut bytes = [0; MODEL_NAME_BYTES_MAX];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    U256::from_be_bytes(bytes)
}

/// The name in a word.
pub(crate) fn name_text(word: U256) -> String {
    let bytes = word.to_be_bytes::<32>();
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// The two counts of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) registrations: u64,
    pub(crate) models: u64,
}

impl Counts {
    fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self { registrations: word.short(16, 8), models: word.short(24, 8) }
    }

    /// Notes a registration in the ring of the newest, and in the list when it opens a line that is not in it yet.
    pub(crate) fn note<R: Registry>(registry: &mut R, id: &B256, list: bool) -> Result<(), R::Error> {
        let mut counts = Self::decode(registry.read(COUNT_SLOT)?);
        let value = U256::from_be_bytes(id.0);
        registry.write(registration_slot(counts.registrations), value)?;
        counts.registrations += 1;
        if list {
            registry.write(list_slot(counts.models), value)?;
            counts.models += 1;
        }
        let word = Word::default().with(16, 8, counts.registrations).with(24, 8, counts.models);
        registry.write(COUNT_SLOT, word.value())
    }
}

impl ModelTerms {
    /// Reads what a run needs and no more: at most four slots. `None` when nobody registered the model.
    pub(crate) fn read_with<R: Registry>(registry: &mut R, model_id: &B256) -> Result<Option<Self>, R::Error> {
        let head = Head::read(registry, model_id)?;
        let Some(status) = head.status else { return Ok(None) };
        let terms = Word::new(registry.read(slot(model_id, Field::Terms as u8))?);
        let line_id = head.line(registry, model_id)?;
        let line = Line::read(registry, &line_id)?;
        Ok(Some(Self {
            status,
            gas: terms.short(0, 8),
            input_bytes: terms.short(8, 8),
            output_bytes: terms.short(16, 8),
            artifact_bytes: terms.short(28, 4),
            fresh_until: terms.short(24, 4),
            version: head.version,
            line: line_id,
            owner: line.owner,
            permission: line.permission,
            retired: line.retired,
            base: *model_id,
            adapter_work: 0,
        }))
    }
}

/// A state's MODELS, to read.
pub(crate) struct Reader<'a>(pub(crate) &'a State);

impl Registry for Reader<'_> {
    type Error = Infallible;

    fn read(&mut self, slot: U256) -> Result<U256, Infallible> {
        Ok(self.0.storage(&system::MODELS, slot))
    }

    fn write(&mut self, _: U256, _: U256) -> Result<(), Infallible> {
        unreachable!("readers do not write")
    }
}

fn is_suspended(status: ModelStatus, fresh_until: u64, epoch: u64) -> bool {
    status == ModelStatus::Active && fresh_until < epoch.min(FOR_GOOD)
}

impl ModelTerms {
    /// Whether it is active, but too little stake still holds its artifact: in this epoch it does not run.
    pub(crate) fn is_suspended(&self, epoch: u64) -> bool {
        is_suspended(self.status, self.fresh_until, epoch)
    }
}

impl ModelRecord {
    /// Whether it is active, but too little stake still holds its artifact: in this epoch it does not run.
    pub fn is_suspended(&self, epoch: u64) -> bool {
        is_suspended(self.status, self.fresh_until, epoch)
    }

    /// What readiness certificates of this epoch are good for.
    pub fn readiness_need(&self, epoch: u64) -> ReadinessNeed {
        match self.status {
            ModelStatus::Pruned => ReadinessNeed::None,
            ModelStatus::Active if self.fresh_until > epoch || self.fresh_until == FOR_GOOD => ReadinessNeed::None,
            ModelStatus::Active if self.fresh_until == epoch => ReadinessNeed::Half,
            _ if self.scheduled => ReadinessNeed::None,
            _ => ReadinessNeed::TwoThirds,
        }
    }

    /// The record of a model; `None` when nobody registered it.
    pub fn read(state: &State, model_id: &B256) -> Option<Self> {
        let mut reader = Reader(state);
        let Ok(head) = Head::read(&mut reader, model_id);
        let Ok(terms) = ModelTerms::read_with(&mut reader, model_id);
        let terms = terms?;
        let field = |field: Field| state.storage(&system::MODELS, slot(model_id, field as u8));
        let line_field = |field: Field| state.storage(&system::MODELS, slot(&terms.line, field as u8));
        let commitment = |bit: u8| {
            let present = head.commitments >> bit & 1 == 1;
            present.then(|| state.storage(&system::MODELS, slot(model_id, Field::Metadata as u8 + bit)).into())
        };
        let (parent_version, delta) = lineage(&head, field(Field::Lineage), field(Field::DeltaDigest));
        Some(Self {
            status: terms.status,
            owner: terms.owner,
            gas: terms.gas,
            input_bytes: terms.input_bytes,
            output_bytes: terms.output_bytes,
            artifact_bytes: terms.artifact_bytes,
            artifact: cid(head.dag_pb, field(Field::ArtifactDigest)),
            fresh_until: terms.fresh_until,
            scheduled: head.scheduled,
            name: name_text(line_field(Field::Name)),
            registered_block: head.registered_block,
            activated_block: (terms.status == ModelStatus::Active).then_some(head.activated_block),
            version: terms.version,
            parent_version,
            delta,
            commitments: ModelCommitments {
                metadata: commitment(0),
                weights_root: commitment(1),
                arweave: commitment(2),
                verification_key: commitment(3),
            },
            metrics: ModelMetrics {
                calls: head.calls,
                last_use_block: head.last_use_block,
                disputes: head.disputes,
                open_requests: head.open_requests,
            },
            line: ModelLine::read(state, terms.line),
        })
    }
}

/// Parent version and delta of a version.
fn lineage(head: &Head, lineage: U256, digest: U256) -> (u32, Option<ModelDelta>) {
    if !head.lineage {
        return (head.version.saturating_sub(1), None);
    }
    let word = Word::new(lineage);
    let base_version = word.short(28, 4);
    let dag_pb = word.short(23, 1) != 0;
    let delta = (base_version != 0).then(|| ModelDelta { artifact: cid(dag_pb, digest), base_version });
    (word.short(24, 4) as u32, delta)
}

impl ModelLine {
    fn read(state: &State, id: B256) -> Self {
        let field = |field: Field| state.storage(&system::MODELS, slot(&id, field as u8));
        let line = Line::decode(field(Field::Line));
        let latest: B256 = field(Field::LatestActive).into();
        let offered_to = Address::from_word(field(Field::OfferedTo).into());
        Self {
            id,
            versions: line.versions,
            latest_active: (line.latest_active != 0).then_some((line.latest_active, latest)),
            chain_hash: field(Field::Chain).into(),
            permission: line.permission,
            price: field(Field::Price).saturating_to(),
            retired: line.retired,
            offered_to: (!offered_to.is_zero()).then_some(offered_to),
            stake: field(Field::Stake).saturating_to(),
        }
    }
}

fn counts(state: &State) -> Counts {
    Counts::decode(state.storage(&system::MODELS, COUNT_SLOT))
}

/// Number of registered models: lines, each counted once.
pub fn model_count(state: &State) -> u64 {
    counts(state).models
}

/// Ids of registered models in the order of registration: at most `limit` from `offset` on.
pub fn models(state: &State, offset: u64, limit: u64) -> Vec<B256> {
    let end = model_count(state).min(offset.saturating_add(limit));
    (offset..end).map(|index| state.storage(&system::MODELS, list_slot(index)).into()).collect()
}

/// Number of registrations ever, versions included.
pub fn registration_count(state: &State) -> u64 {
    counts(state).registrations
}

/// Ids of registrations, versions included, in their order: at most `limit` from number `offset` on. Only the newest
/// [`REGISTRATIONS_KEPT`] are remembered; what is asked for before them is left out.
pub fn registrations(state: &State, offset: u64, limit: u64) -> Vec<B256> {
    let total = registration_count(state);
    let end = total.min(offset.saturating_add(limit));
    let start = offset.max(total.saturating_sub(REGISTRATIONS_KEPT));
    (start..end).map(|index| state.storage(&system::MODELS, registration_slot(index)).into()).collect()
}

/// The versions of a line whose records are kept, oldest first; those that were registered over by somebody else are
/// left out. Each with its id.
pub fn model_versions(state: &State, line_id: &B256) -> Vec<(B256, ModelRecord)> {
    let line = ModelLine::read(state, *line_id);
    let first = line.versions.saturating_sub(versions::VERSIONS_KEPT) + 1;
    let mut numbers: Vec<(u32, B256)> = (first..=line.versions)
        .map(|version| (version, state.storage(&system::MODELS, versions::ring_slot(line_id, version)).into()))
        .collect();
    if let Some(latest) = line.latest_active.filter(|(version, _)| *version < first) {
        numbers.insert(0, latest);
    }
    let records = numbers.into_iter().filter_map(|(version, id)| {
        let record = ModelRecord::read(state, &id)?;
        (record.line.id == *line_id && record.version == version).then_some((id, record))
    });
    records.collect()
}

/// The commitment of a recorded inference: keccak of the output. `None` when there is no record.
pub fn inference_record(state: &State, model_id: &B256, input_hash: &B256) -> Option<B256> {
    let value = state.storage(&system::INFERENCE, inference_slot(model_id, input_hash));
    (!value.is_zero()).then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        let head = Head {
            status: Some(ModelStatus::Active),
            listed: true,
            dag_pb: true,
            commitments: 0b1010,
            lineage: true,
            scheduled: true,
            version: 7,
            registered_block: 1 << 35,
            activated_block: 3,
            calls: 1 << 40,
            last_use_block: 9,
            disputes: 70_000,
            open_requests: 65_535,
        };
        assert_eq!(Head::decode(head.encode()), head);
        assert_eq!(Head::decode(U256::ZERO), Head::default());
    }
}
