//! MODELS: the registry's door. ModelDeploy opens a line, ModelUpdate appends a version to it.

use super::{adapters, credits, decode, lines, refuse_value, require_plain_call, training, unknown_operation};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    gas,
    records::{
        Registry, Word,
        accounts::AccountRecord,
        models::{Counts, Field, Head, ModelStatus, PENDING_BLOCKS, is_dag_pb, name_word, new_head, version_slots},
        slot,
        versions::{Line, VERSIONS_KEPT, chain_hash, prune, ring_slot},
    },
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_types::{
    Cid, TxReceipt, system,
    tx::{
        ModelDeploy, ModelUpdate, ModelUpdatePayload,
        operation::{
            AcceptModel, AllowAccounts, CollectStake, DepositCredits, OfferModel, Operation, PermitModel, RetireModel,
            StakeOnModel, UnstakeFromModel, WithdrawCredits,
        },
    },
};

/// Signature of the log of a registration.
const MODEL_DEPLOYED: &[u8] = b"ModelDeployed(bytes32,address,bytes,string)";
/// Signature of the log of a new version.
const MODEL_UPDATED: &[u8] = b"ModelUpdated(bytes32,bytes32,uint256,bytes,bytes,string)";

/// MODELS: dispatches by the first byte. A bare RLP list is a ModelDeploy payload.
pub(super) fn enter(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.input.clone();
    match input.first() {
        None | Some(0xc0..) => deploy(call, &input),
        Some(&system::TX_MODEL_DEPLOY) => deploy(call, &input.slice(1..)),
        Some(&system::TX_MODEL_UPDATE) => update(call, &input.slice(1..)),
        Some(&system::TX_LORA) => adapters::lora(call, &input.slice(1..)),
        Some(&OfferModel::OP) => lines::offer(call, &input[1..]),
        Some(&AcceptModel::OP) => lines::accept(call, &input[1..]),
        Some(&PermitModel::OP) => lines::permit(call, &input[1..]),
        Some(&AllowAccounts::OP) => lines::allow(call, &input[1..]),
        Some(&RetireModel::OP) => lines::retire(call, &input[1..]),
        Some(&DepositCredits::OP) => credits::deposit(call, &input[1..]),
        Some(&WithdrawCredits::OP) => credits::withdraw(call, &input[1..]),
        Some(&StakeOnModel::OP) => credits::stake(call, &input[1..]),
        Some(&UnstakeFromModel::OP) => credits::unstake(call, &input[1..]),
        Some(&CollectStake::OP) => credits::collect(call, &input[1..]),
        Some(op) => refuse_value(call).and_then(|()| Err(unknown_operation("MODELS", *op))),
    }
}

/// Registers a model as pending and opens its line. Output: its id.
fn deploy(call: &mut AiCall<'_, '_>, input: &Bytes) -> Result<Bytes, Halt> {
    require_plain_call(call, "ModelDeploy")?;
    refuse_value(call)?;
    let payload = decode::<ModelDeploy>(input, "ModelDeploy")?;
    let id = payload.model_id;
    let old = available(call, &id)?;
    let commitments = new_head(&payload, 1, 0).commitments.count_ones();
    let cid = payload.artifact.to_bytes();
    call.charge(gas::register(u64::from(commitments), cid.len(), payload.name.len()))?;
    replace(call, &id, &old)?;

    let owner = call.caller;
    let head = Head { listed: true, ..new_head(&payload, 1, call.block_number()) };
    for (slot, value) in version_slots(&payload, &head) {
        call.write(slot, value)?;
    }
    Line { owner, versions: 1, ..Line::default() }.write(call, &id)?;
    call.write(slot(&id, Field::Chain as u8), chain_hash(U256::ZERO, input))?;
    call.write(slot(&id, Field::Name as u8), name_word(&payload.name))?;
    call.write(ring_slot(&id, 1), U256::from_be_bytes(id.0))?;
    Counts::note(call, &id, !old.listed)?;
    AccountRecord::change(call, &owner, |account| account.models_owned = account.models_owned.saturating_add(1))?;

    let topics = vec![keccak256(MODEL_DEPLOYED), id, owner.into_word()];
    call.log(system::MODELS, topics, abi::encode_bytes(&[&cid, payload.name.as_bytes()]));
    Ok(Bytes::copy_from_slice(id.as_slice()))
}

/// Appends a version to a line, as pending. Output: the version's id and its number.
fn update(call: &mut AiCall<'_, '_>, input: &Bytes) -> Result<Bytes, Halt> {
    require_plain_call(call, "ModelUpdate")?;
    refuse_value(call)?;
    let payload = decode::<ModelUpdate>(input, "ModelUpdate")?;
    let (line_id, id) = (payload.model_id, payload.version.model_id);
    let mut line = owned_line(call, &line_id)?;
    check_lineage(&line, &payload)?;
    let old = available(call, &id)?;
    let cid = payload.version.artifact.to_bytes();
    let delta = payload.delta.map(|delta| delta.artifact.to_bytes());
    let commitments = new_head(&payload.version, 0, 0).commitments.count_ones();
    let name = payload.version.name.as_str();
    let lineage = payload.delta.is_some() || payload.parent_version != u64::from(line.versions);
    call.charge(gas::update(u64::from(commitments), lineage, delta.map_or(0, |cid| cid.len()), name.len()))?;
    replace(call, &id, &old)?;

    line.versions = line.versions.checked_add(1).ok_or_else(|| Halt::Revert("the line is full".into()))?;
    let number = line.versions;
    let head = Head { listed: old.listed, lineage, ..new_head(&payload.version, number, call.block_number()) };
    for (slot, value) in version_slots(&payload.version, &head) {
        call.write(slot, value)?;
    }
    call.write(slot(&id, Field::LineId as u8), U256::from_be_bytes(line_id.0))?;
    if lineage {
        write_lineage(call, &id, &payload)?;
    }
    if !name.is_empty() {
        call.write(slot(&line_id, Field::Name as u8), name_word(name))?;
    }
    line.write(call, &line_id)?;
    let chain_slot = slot(&line_id, Field::Chain as u8);
    let chain = chain_hash(call.read(chain_slot)?, input);
    call.write(chain_slot, chain)?;
    let fallen: B256 = call.read(ring_slot(&line_id, number))?.into();
    call.write(ring_slot(&line_id, number), U256::from_be_bytes(id.0))?;
    if number > VERSIONS_KEPT {
        prune(call, &line_id, &line, &fallen)?;
    }
    Counts::note(call, &id, false)?;

    let number = U256::from(number).to_be_bytes::<32>();
    let topics = vec![keccak256(MODEL_UPDATED), line_id, id, number.into()];
    let delta = delta.as_ref().map_or(&[][..], |cid| cid.as_slice());
    call.log(system::MODELS, topics, abi::encode_bytes(&[&cid, delta, name.as_bytes()]));
    Ok([id.0, number].concat().into())
}

/// The head that stands where `id` is to be registered; reverts when it may not be replaced.
fn available(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Head, Halt> {
    let head = Head::read(call, id)?;
    if !head.is_replaceable(call.block_number()) {
        let until = match head.status {
            Some(ModelStatus::Pending) => {
                format!(
                    ", or register it anew from block {} on if it is still pending",
                    head.registered_block + PENDING_BLOCKS
                )
            }
            _ => String::new(),
        };
        return Err(Halt::Revert(format!("model {id} is registered already: use it, or change the graph{until}")));
    }
    if head.version == 1 && Line::read(call, id)?.versions > 1 {
        return Err(Halt::Revert(format!(
            "model {id} is the first version of a line: its id names that line for good"
        )));
    }
    Ok(head)
}

/// Clears what an abandoned registration left; charged only when there is one.
fn replace(call: &mut AiCall<'_, '_>, id: &B256, old: &Head) -> Result<(), Halt> {
    if old.status.is_none() {
        return Ok(());
    }
    call.charge(gas::REPLACE)?;
    old.clear(call, id)?;
    if old.version != 1 {
        return Ok(());
    }
    let line = Line::read(call, id)?;
    if line.owner.is_zero() {
        return Ok(());
    }
    AccountRecord::change(call, &line.owner, |account| account.models_owned = account.models_owned.saturating_sub(1))?;
    for field in [Field::Line, Field::Chain, Field::Name, Field::Price, Field::OfferedTo] {
        call.write(slot(id, field as u8), U256::ZERO)?;
    }
    call.write(ring_slot(id, 1), U256::ZERO)
}

/// The line that the caller owns and may still change.
pub(super) fn owned_line(call: &mut AiCall<'_, '_>, line_id: &B256) -> Result<Line, Halt> {
    let line = open_line(call, line_id)?;
    if line.owner != call.caller {
        let (owner, caller) = (line.owner, call.caller);
        return Err(Halt::Revert(format!(
            "model {line_id} belongs to {owner}, not to {caller}: its owner has to do this"
        )));
    }
    Ok(line)
}

/// A line that is not retired.
pub(super) fn open_line(call: &mut AiCall<'_, '_>, line_id: &B256) -> Result<Line, Halt> {
    let line = Line::read(call, line_id)?;
    if line.owner.is_zero() {
        return Err(Halt::Revert(format!("model {line_id} names no line: use the id of the model's first version")));
    }
    if line.retired {
        return Err(Halt::Revert(format!("model {line_id} is retired: deploy a new one")));
    }
    Ok(line)
}

/// Parent and delta base have to be versions whose records are kept.
fn check_lineage(line: &Line, payload: &ModelUpdatePayload) -> Result<(), Halt> {
    let named =
        [("parent_version", Some(payload.parent_version)), ("base_version", payload.delta.map(|d| d.base_version))];
    for (what, version) in named {
        let kept = version.is_none_or(|version| u32::try_from(version).is_ok_and(|version| line.keeps(version)));
        if !kept {
            let version = version.unwrap_or_default();
            return Err(Halt::Revert(format!(
                "{what} is {version}, the model has {} versions: name one of the newest {VERSIONS_KEPT}",
                line.versions
            )));
        }
    }
    Ok(())
}

fn write_lineage(call: &mut AiCall<'_, '_>, id: &B256, payload: &ModelUpdatePayload) -> Result<(), Halt> {
    let mut word = Word::default().with(24, 4, payload.parent_version);
    if let Some(delta) = &payload.delta {
        word = word.with(23, 1, u64::from(is_dag_pb(&delta.artifact))).with(28, 4, delta.base_version);
        call.write(slot(id, Field::DeltaDigest as u8), U256::from_be_slice(delta.artifact.digest()))?;
    }
    call.write(slot(id, Field::Lineage as u8), word.value())
}

/// The artifacts that successful transactions newly reference: those of the logs, which a revert would have undone.
pub(crate) fn new_artifacts(receipts: &[TxReceipt]) -> Vec<Cid> {
    // Signature, and which of the data's byte strings are CIDs.
    let sources: [(Address, &[u8], &[usize]); 6] = [
        (system::MODELS, MODEL_DEPLOYED, &[0]),
        (system::MODELS, MODEL_UPDATED, &[0, 1]),
        (system::MODELS, adapters::ADAPTER_REGISTERED, &[0]),
        (system::TRAINING, training::JOB_CREATED, &[0]),
        (system::TRAINING, training::JOB_CHECKPOINTED, &[0]),
        (system::TRAINING, training::JOB_COMPLETED, &[0]),
    ];
    let sources = sources.map(|(account, signature, items)| (account, keccak256(signature), items));
    let mut artifacts = Vec::new();
    // Only the precompiles can log in the name of these accounts.
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        let source = sources
            .iter()
            .find(|(account, signature, _)| log.address == *account && log.topics().first() == Some(signature));
        let Some((_, _, items)) = source else { continue };
        for item in *items {
            let cid = abi::decode_bytes(&log.data.data, *item).and_then(|bytes| Cid::from_bytes(bytes).ok());
            if let Some(cid) = cid.filter(|cid| !artifacts.contains(cid)) {
                artifacts.push(cid);
            }
        }
    }
    artifacts
}
