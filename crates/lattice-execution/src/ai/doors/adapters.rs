//! MODELS: adapters and compositions (class LoRA). Their ids can be called as a model's: the base runs with them merged in.

use super::{decode, refuse_value, require_plain_call};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    gas,
    records::{
        Registry, Word,
        adapters::{self, AdapterHead},
        models::{Counts, Head, ModelStatus, is_dag_pb, name_word},
        slot,
    },
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use lattice_types::{
    system,
    tx::{Lora, LoraAdapter, LoraComposition, LoraPayload},
};

/// Signature of the log of an adapter.
pub(super) const ADAPTER_REGISTERED: &[u8] = b"AdapterRegistered(bytes32,bytes32,address,bytes,string)";
const ADAPTERS_COMPOSED: &[u8] = b"AdaptersComposed(bytes32,bytes32,address,bytes,string)";

/// Registers an adapter or a composition. Output: its id.
pub(super) fn lora(call: &mut AiCall<'_, '_>, input: &Bytes) -> Result<Bytes, Halt> {
    require_plain_call(call, "LoRA")?;
    refuse_value(call)?;
    let payload = decode::<Lora>(input, "LoRA")?;
    let id = keccak256(input);
    if AdapterHead::decode(call.read(slot(&id, adapters::HEAD))?).kind != 0 {
        return Err(Halt::Revert(format!("adapter {id} is registered already: use it")));
    }
    match &payload {
        LoraPayload::Adapter(adapter) => register(call, &id, adapter)?,
        LoraPayload::Compose(composition) => compose(call, &id, composition, input)?,
    }
    Ok(Bytes::copy_from_slice(id.as_slice()))
}

fn register(call: &mut AiCall<'_, '_>, id: &B256, adapter: &LoraAdapter) -> Result<(), Halt> {
    let base = Head::read(call, &adapter.base_model)?;
    let known = matches!(base.status, Some(ModelStatus::Pending | ModelStatus::Active));
    if !known || u64::from(base.version) != adapter.base_version {
        let (model, version) = (adapter.base_model, adapter.base_version);
        return Err(Halt::Revert(format!(
            "{model} is not a registered version {version}: name the base's id and number"
        )));
    }
    let cid = adapter.artifact.to_bytes();
    call.charge(gas::adapter(5, cid.len(), adapter.name.len()) + gas::adapter_listing())?;
    let head = AdapterHead {
        kind: AdapterHead::ADAPTER,
        dag_pb: is_dag_pb(&adapter.artifact),
        base_version: base.version,
        rank: adapter.rank,
        alpha: adapter.alpha,
        artifact_bytes: adapter.artifact_bytes,
        registered_block: call.block_number(),
        ..AdapterHead::default()
    };
    call.write(slot(id, adapters::DIGEST), U256::from_be_slice(adapter.artifact.digest()))?;
    // Validators find it among the registrations, and attest that they hold its artifact.
    Counts::note(call, id, false)?;
    finish(call, id, &head, &adapter.base_model, ADAPTER_REGISTERED, &cid, &adapter.name)
}

fn compose(call: &mut AiCall<'_, '_>, id: &B256, composition: &LoraComposition, input: &Bytes) -> Result<(), Halt> {
    let count = composition.parts.len();
    call.charge(gas::adapter(5 + count as u64, input.len(), composition.name.len()))?;
    call.charge(gas::reads(2 * count as u64))?;
    let revert = |reason: String| Err(Halt::Revert(reason));
    let mut first: Option<(AdapterHead, U256)> = None;
    let (mut weights, mut rank) = (Word::default(), 0);
    for (index, part) in composition.parts.iter().enumerate() {
        let adapter = part.adapter;
        let head = AdapterHead::decode(call.read(slot(&adapter, adapters::HEAD))?);
        if head.kind != AdapterHead::ADAPTER {
            return revert(format!("{adapter} is not a registered adapter: register it first"));
        }
        if composition.parts[..index].iter().any(|other| other.adapter == adapter) {
            return revert(format!("adapter {adapter} is listed twice: add the weights"));
        }
        let base = call.read(slot(&adapter, adapters::BASE))?;
        let (lead, lead_base) = *first.get_or_insert((head, base));
        if base != lead_base {
            return revert(format!("adapter {adapter} has another base: compose adapters of one base version"));
        }
        if composition.method == LoraComposition::LINEAR && head.rank != lead.rank {
            return revert(format!(
                "adapter {adapter} has rank {}, the first has {}: use method 0 (cat)",
                head.rank, lead.rank
            ));
        }
        weights = weights.with(4 * index, 4, part.weight);
        rank = if composition.method == LoraComposition::CAT { rank + head.rank } else { head.rank };
        if rank > LoraAdapter::RANK_MAX {
            return revert(format!("the ranks add up to more than {}: leave an adapter out", LoraAdapter::RANK_MAX));
        }
        call.write(slot(id, adapters::PARTS + index as u8), U256::from_be_bytes(adapter.0))?;
    }
    let Some((lead, base)) = first else { return revert("a composition lists at least one adapter".into()) };
    call.write(slot(id, adapters::WEIGHTS), weights.value())?;
    let head = AdapterHead {
        kind: AdapterHead::COMPOSITION,
        base_version: lead.base_version,
        registered_block: call.block_number(),
        parts: count as u8,
        method: composition.method,
        ..AdapterHead::default()
    };
    finish(call, id, &head, &base.into(), ADAPTERS_COMPOSED, input, &composition.name)
}

/// What both kinds have: head, owner, base, name, log.
fn finish(
    call: &mut AiCall<'_, '_>,
    id: &B256,
    head: &AdapterHead,
    base: &B256,
    signature: &[u8],
    data: &[u8],
    name: &str,
) -> Result<(), Halt> {
    let owner = call.caller.into_word();
    call.write(slot(id, adapters::HEAD), head.encode())?;
    call.write(slot(id, adapters::OWNER), U256::from_be_bytes(owner.0))?;
    call.write(slot(id, adapters::BASE), U256::from_be_bytes(base.0))?;
    call.write(slot(id, adapters::NAME), name_word(name))?;
    let topics = vec![keccak256(signature), *id, *base, owner];
    call.log(system::MODELS, topics, abi::encode_bytes(&[data, name.as_bytes()]));
    Ok(())
}
