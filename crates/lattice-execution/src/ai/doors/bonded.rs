//! INFERENCE, grades 2 and 3: a provider answers under a bond. A challenge has every validator replay the run (2), or judge one
//! operator of it: the answer of a traced request (3) publishes the hashes of all values, so nobody can withhold any.

use super::{decode_operation, refuse_value, require_plain_call};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    engine, gas,
    lane::LanePrice,
    records::{
        bonded::{
            self, ANSWER_CHALLENGE_BLOCKS, CHALLENGE_INPUT_BYTES_MAX, CHALLENGE_WORK_MAX, OPEN_REQUESTS_MAX,
            RequestHead, RequestStatus, TracedAnswer,
        },
        models::{Head, ModelTerms},
        reputation, slot,
    },
};
use crate::error::ExecutionError;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_inference::RunError;
use lattice_training::dispute::{self, ActivationTrace, Bounds, DisputeError, OpenedStep};
use lattice_types::{
    system,
    tx::{
        InferencePayload,
        operation::{AnswerRequest, AnswerTraced, ChallengeAnswer, ChallengeOperator, SettleRequest},
    },
};

const REQUESTED: &[u8] = b"InferenceRequested(bytes32,bytes32,address,bytes)";
const ANSWERED: &[u8] = b"InferenceAnswered(bytes32,bytes32,address,bytes)";
const TRACED: &[u8] = b"InferenceTraced(bytes32,bytes)";
const SLASHED: &[u8] = b"AnswerSlashed(bytes32,address,address)";
const FINALISED: &[u8] = b"AnswerFinalised(bytes32,address,bytes32)";
const EXPIRED: &[u8] = b"RequestExpired(bytes32,address)";

/// Bytes of one hash of a trace in its encoding, with its share of the lists, at most.
const TRACE_HASH_BYTES: u64 = 36;

fn field(call: &mut AiCall<'_, '_>, id: &B256, field: u8) -> Result<U256, Halt> {
    call.slot(system::INFERENCE, slot(id, field))
}

fn set(call: &mut AiCall<'_, '_>, id: &B256, field: u8, value: U256) -> Result<(), Halt> {
    call.store(system::INFERENCE, slot(id, field), value)
}

/// Asks for an answer; the value is the fee. Output: the request's id.
pub(super) fn request(call: &mut AiCall<'_, '_>, payload: &InferencePayload) -> Result<Bytes, Halt> {
    let model_id = payload.model_id;
    let model = engine::active_model(call, &model_id)?;
    engine::check_input(&model_id, &model, &payload.input)?;
    let traced = match payload.grade {
        InferencePayload::TRACED => Some(require_judgeable(call, &model_id, &model)?),
        _ => require_challengeable(call, &model_id, &model).map(|()| None)?,
    };
    let Some(terms) = payload.terms else { return Err(Halt::Revert("a bonded request needs terms".into())) };
    let mut head = Head::read(call, &model.base)?;
    if head.open_requests >= OPEN_REQUESTS_MAX {
        return Err(Halt::Revert(format!(
            "model {model_id} has {OPEN_REQUESTS_MAX} open requests: wait until some are settled"
        )));
    }
    let fee = call.value_needed("the fee")?;
    call.charge(gas::operation(6, 1, 4, gas::abi_bytes(model.input_bytes)) + gas::hash(model.input_bytes))?;
    engine::pay(call, &model_id, &model)?;
    head.open_requests += 1;
    head.write(call, &model.base)?;

    let caller = call.caller;
    let index: u64 = call.slot(system::INFERENCE, bonded::count_slot())?.saturating_to();
    call.store(system::INFERENCE, bonded::count_slot(), U256::from(index) + U256::ONE)?;
    let id = bonded::request_id(&caller, index);
    let now = call.block_number();
    let request = RequestHead {
        status: Some(RequestStatus::Open),
        created_block: now,
        answer_block: now.saturating_add(terms.answer_blocks),
        challenge_block: 0,
        fee,
    };
    set(call, &id, bonded::HEAD, request.encode())?;
    set(call, &id, bonded::REQUESTER, caller.into_word().into())?;
    set(call, &id, bonded::MODEL, U256::from_be_bytes(model_id.0))?;
    set(call, &id, bonded::INPUT_HASH, U256::from_be_bytes(keccak256(&payload.input).0))?;
    set(call, &id, bonded::BOND, bonded::bond_word(terms.bond, 0))?;
    if let Some(traced) = traced {
        call.charge(gas::operation(1, 0, 0, 0))?;
        set(call, &id, bonded::TRACED, traced.encode())?;
    }
    let topics = vec![keccak256(REQUESTED), id, model_id, caller.into_word()];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[&payload.input]));
    Ok(Bytes::copy_from_slice(id.as_slice()))
}

/// Refuses a model whose answers nobody could challenge: the replay has to fit the AI gas of one transaction, and the input
/// its bytes. Neither depends on the lane's price, which a challenge does not pay, so what is accepted here stays
/// challengeable.
fn require_challengeable(call: &AiCall<'_, '_>, model_id: &B256, model: &ModelTerms) -> Result<(), Halt> {
    let (needed, work_max) = (engine::challenge_work(model), CHALLENGE_WORK_MAX.min(call.ctx.chain.ai_gas_limit_max()));
    if needed > work_max {
        return Err(Halt::Revert(format!(
            "a challenge would take {needed} AI gas, more than {work_max}: nobody could challenge an answer of model {model_id}"
        )));
    }
    let bytes = model.input_bytes;
    if bytes > CHALLENGE_INPUT_BYTES_MAX {
        return Err(Halt::Revert(format!(
            "a challenge would carry {bytes} bytes of input, more than {CHALLENGE_INPUT_BYTES_MAX}: nobody could challenge an answer of model {model_id}"
        )));
    }
    Ok(())
}

/// Refuses a model of which some operator could not be judged: executing it has to fit the AI gas of one transaction, its
/// operands and the hashes of all values the bytes.
fn require_judgeable(call: &mut AiCall<'_, '_>, model_id: &B256, model: &ModelTerms) -> Result<TracedAnswer, Halt> {
    let price = call.ctx.chain.lane_price();
    let graph = engine::graph(call, model_id, model, price)?;
    let bounds = Bounds::of(&graph);
    let needed = bounds.gas.saturating_add(engine::load_work(model));
    let work_max = CHALLENGE_WORK_MAX.min(call.ctx.chain.ai_gas_limit_max());
    if needed > work_max {
        return Err(Halt::Revert(format!(
            "judging one operator would take {needed} AI gas, more than {work_max}: nobody could challenge an answer of model {model_id}"
        )));
    }
    let hashes = bounds.hashes.saturating_mul(TRACE_HASH_BYTES).saturating_add(model.output_bytes);
    for (what, bytes) in [("a challenge", bounds.opening_bytes), ("an answer", hashes)] {
        if bytes > CHALLENGE_INPUT_BYTES_MAX {
            return Err(Halt::Revert(format!(
                "{what} would carry {bytes} bytes, more than {CHALLENGE_INPUT_BYTES_MAX}: nobody could challenge an answer of model {model_id}"
            )));
        }
    }
    Ok(TracedAnswer { work: bounds.gas, steps: 0 })
}

fn traced(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Option<TracedAnswer>, Halt> {
    Ok(TracedAnswer::decode(field(call, id, bonded::TRACED)?))
}

/// The request, which has to be in that state.
fn read(call: &mut AiCall<'_, '_>, id: &B256, status: RequestStatus) -> Result<RequestHead, Halt> {
    let head = RequestHead::decode(field(call, id, bonded::HEAD)?);
    match head.status {
        None => Err(Halt::Revert(format!("there is no bonded request {id}: send one first"))),
        Some(found) if found != status => {
            Err(Halt::Revert(format!("bonded request {id} is {found:?}, this needs one that is {status:?}")))
        }
        Some(_) => Ok(head),
    }
}

/// The model of a request: an open request keeps its record from being pruned.
fn model(call: &mut AiCall<'_, '_>, id: &B256) -> Result<(B256, ModelTerms), Halt> {
    let model_id: B256 = field(call, id, bonded::MODEL)?.into();
    let terms = engine::terms(call, &model_id)?;
    let terms = terms.ok_or_else(|| Halt::Revert(format!("model {model_id} of the request is not registered")))?;
    Ok((model_id, terms))
}

/// Answers a request; the value is the bond.
pub(super) fn answer(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "AnswerRequest")?;
    let AnswerRequest { request_id: id, output } = decode_operation(input, "AnswerRequest")?;
    let head = read(call, &id, RequestStatus::Open)?;
    if traced(call, &id)?.is_some() {
        return Err(Halt::Revert(format!("request {id} is traced: answer it with the hashes of all values (0x04)")));
    }
    take_answer(call, &id, head, &output)
}

/// Answers a traced request: as [`answer`], and keeps the root over the hashes of all values, which the log has.
pub(super) fn answer_traced(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "AnswerTraced")?;
    let AnswerTraced { request_id: id, output, trace } = decode_operation(input, "AnswerTraced")?;
    let head = read(call, &id, RequestStatus::Open)?;
    let Some(traced) = traced(call, &id)? else {
        return Err(Halt::Revert(format!("request {id} is no traced one: answer it without hashes (0x01)")));
    };
    let hashes: u64 = trace.iter().map(|step| step.len() as u64).sum();
    let steps = trace.len() as u64;
    let bytes = TRACE_HASH_BYTES.saturating_mul(hashes.saturating_add(steps));
    call.charge(gas::operation(1, 1, 2, gas::abi_bytes(bytes)) + gas::hash(32 * hashes) + gas::merkle_root(steps))?;
    call.charge(gas::hash(output.len() as u64))?;
    let input_hash: B256 = field(call, &id, bonded::INPUT_HASH)?.into();
    if trace.len() < 2 || trace.first() != Some(&vec![input_hash]) || trace.last() != Some(&vec![keccak256(&output)]) {
        return Err(Halt::Revert(format!(
            "the trace does not begin with the hash of the input, {input_hash}, and end with that of the output"
        )));
    }
    set(call, &id, bonded::TRACED, TracedAnswer { steps, ..traced }.encode())?;
    let published = alloy_rlp::encode(&trace);
    let root = ActivationTrace { steps: trace }.root();
    set(call, &id, bonded::TRACE_ROOT, U256::from_be_bytes(root.0))?;
    call.log(system::INFERENCE, vec![keccak256(TRACED), id], abi::encode_bytes(&[&published]));
    take_answer(call, &id, head, &output)
}

fn take_answer(call: &mut AiCall<'_, '_>, id: &B256, mut head: RequestHead, output: &Bytes) -> Result<Bytes, Halt> {
    let now = call.block_number();
    if now > head.answer_block {
        return Err(Halt::Revert(format!(
            "request {id} could be answered until block {}: settle it",
            head.answer_block
        )));
    }
    let (model_id, terms) = model(call, id)?;
    if output.len() as u64 != terms.output_bytes {
        let (got, wanted) = (output.len(), terms.output_bytes);
        return Err(Halt::Revert(format!(
            "the output has {got} bytes, model {model_id} gives {wanted}: send all output tensors"
        )));
    }
    let bond = call.value_needed("the bond")?;
    let (asked, _) = bonded::bonds(field(call, id, bonded::BOND)?);
    if bond < asked {
        return Err(Halt::Revert(format!("the bond is {bond} wei, the request asks for {asked}: send at least that")));
    }
    call.charge(gas::operation(2, 2, 4, gas::abi_bytes(terms.output_bytes)) + gas::hash(terms.output_bytes))?;
    let provider = call.caller;
    head.status = Some(RequestStatus::Answered);
    head.challenge_block = now.saturating_add(ANSWER_CHALLENGE_BLOCKS);
    set(call, id, bonded::HEAD, head.encode())?;
    set(call, id, bonded::BOND, bonded::bond_word(asked, bond))?;
    set(call, id, bonded::PROVIDER, provider.into_word().into())?;
    set(call, id, bonded::OUTPUT_HASH, U256::from_be_bytes(keccak256(output).0))?;
    let topics = vec![keccak256(ANSWERED), *id, model_id, provider.into_word()];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[output]));
    Ok(Bytes::new())
}

/// Replays an answered request, at the price 1 of AI work. A wrong answer loses its bond: half to the challenger, a
/// twentieth burned, the rest with the fee to the requester; and its provider loses its stake on the line. A right one
/// reverts the challenge, whose gas is spent.
pub(super) fn challenge(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "ChallengeAnswer")?;
    refuse_value(call)?;
    let ChallengeAnswer { request_id: id, input } = decode_operation(input, "ChallengeAnswer")?;
    let head = challengeable(call, &id)?;
    if traced(call, &id)?.is_some() {
        return Err(Halt::Revert(format!("request {id} is traced: challenge one operator of its answer (0x05)")));
    }
    let (model_id, terms) = model(call, &id)?;
    engine::refuse_suspended(call, &model_id, &terms)?;
    charge_verdict(call)?;
    call.charge(gas::hash(terms.input_bytes.saturating_add(terms.output_bytes)))?;
    let input_hash: B256 = field(call, &id, bonded::INPUT_HASH)?.into();
    if keccak256(&input) != input_hash {
        return Err(Halt::Revert(format!("the input is not the one of request {id}: take it from the request's log")));
    }
    let output_hash: B256 = field(call, &id, bonded::OUTPUT_HASH)?.into();
    // An input that the model refuses has no right answer at all.
    let right = match engine::replay(call, &model_id, &terms, &input, LanePrice::ONE) {
        Ok(output) => keccak256(&output) == output_hash,
        Err(Halt::Revert(_)) => false,
        Err(stop) => return Err(stop),
    };
    if right {
        return Err(Halt::Revert(format!("the answer to request {id} is right: the replay gave the same output")));
    }
    slash(call, &id, head, &terms)
}

/// Judges one operator of a traced answer, at the price 1 of AI work, with the consequences of [`challenge`].
pub(super) fn challenge_operator(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "ChallengeOperator")?;
    refuse_value(call)?;
    let ChallengeOperator { request_id: id, opening } = decode_operation(input, "ChallengeOperator")?;
    let head = challengeable(call, &id)?;
    let Some(traced) = traced(call, &id)? else {
        return Err(Halt::Revert(format!("request {id} is no traced one: challenge its answer with the input (0x02)")));
    };
    let (model_id, terms) = model(call, &id)?;
    engine::refuse_suspended(call, &model_id, &terms)?;
    charge_verdict(call)?;
    call.charge(gas::opening(opening.len() as u64))?;
    let graph = engine::graph(call, &model_id, &terms, LanePrice::ONE)?;
    call.charge_ai_at(LanePrice::ONE, traced.work)?;
    let root: B256 = field(call, &id, bonded::TRACE_ROOT)?.into();
    // A trace of another length is no run of this model, whatever is opened.
    if traced.steps == dispute::steps(&graph) as u64 {
        match OpenedStep::decode(&opening).and_then(|opened| dispute::judge(&graph, &root, &opened)) {
            Ok(true) => {
                return Err(Halt::Revert(format!(
                    "the answer to request {id} is right there: the operator gave the same values"
                )));
            }
            Err(DisputeError::Run(error @ RunError::FloatMode(_))) => {
                return Err(Halt::Stop(ExecutionError::Fault(error.to_string())));
            }
            Err(error @ DisputeError::Opening(_)) => return Err(Halt::Revert(error.to_string())),
            // An input that the model refuses has no right answer at all.
            Ok(false) | Err(DisputeError::Run(_)) => {}
        }
    }
    slash(call, &id, head, &terms)
}

/// The answered request, while its answer can be challenged.
fn challengeable(call: &mut AiCall<'_, '_>, id: &B256) -> Result<RequestHead, Halt> {
    let head = read(call, id, RequestStatus::Answered)?;
    if call.block_number() > head.challenge_block {
        return Err(Halt::Revert(format!("answer {id} could be challenged until block {}", head.challenge_block)));
    }
    // A composition as young as its request cannot be replayed yet, and that is no fault of the answer.
    if call.block_number() <= head.created_block {
        return Err(Halt::Revert(format!("answer {id} can be challenged after the block of its request")));
    }
    Ok(head)
}

/// What the consequences of a lost challenge cost, before anything is judged.
fn charge_verdict(call: &mut AiCall<'_, '_>) -> Result<(), Halt> {
    call.charge(gas::operation(2, 3, 4, 0) + 2 * gas::PAY_OUT)?;
    call.charge(gas::operation(0, 3, 3, 32) + 2 * gas::BURN + gas::reads(6))
}

fn slash(call: &mut AiCall<'_, '_>, id: &B256, mut head: RequestHead, terms: &ModelTerms) -> Result<Bytes, Halt> {
    let provider = Address::from_word(field(call, id, bonded::PROVIDER)?.into());
    let requester = Address::from_word(field(call, id, bonded::REQUESTER)?.into());
    let (_, bond) = bonded::bonds(field(call, id, bonded::BOND)?);
    head.status = Some(RequestStatus::Slashed);
    set(call, id, bonded::HEAD, head.encode())?;
    let mut record = Head::read(call, &terms.base)?;
    record.open_requests = record.open_requests.saturating_sub(1);
    record.disputes += 1;
    record.write(call, &terms.base)?;
    let challenger = call.caller;
    reputation::lose_for_wrong_work(call, &provider, bond)?;
    reputation::slash_stake(call, &terms.line, &provider)?;
    let rest = reputation::reward_challenge(call, system::INFERENCE, challenger, bond)?;
    call.pay_out(system::INFERENCE, requester, U256::from(head.fee) + U256::from(rest))?;
    let topics = vec![keccak256(SLASHED), *id, provider.into_word(), challenger.into_word()];
    call.log(system::INFERENCE, topics, Vec::new());
    Ok(Bytes::new())
}

/// Ends a request whose time is over: pays the provider, or refunds the requester.
pub(super) fn settle(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "SettleRequest")?;
    refuse_value(call)?;
    let SettleRequest { request_id: id } = decode_operation(input, "SettleRequest")?;
    let mut head = RequestHead::decode(field(call, &id, bonded::HEAD)?);
    let answered = head.status == Some(RequestStatus::Answered);
    if !answered {
        read(call, &id, RequestStatus::Open)?;
    }
    let over = if answered { head.challenge_block } else { head.answer_block };
    if call.block_number() <= over {
        return Err(Halt::Revert(format!("request {id} can be settled after block {over}")));
    }
    if answered {
        // Nobody could challenge the answer now.
        let (model_id, terms) = model(call, &id)?;
        engine::refuse_suspended(call, &model_id, &terms)?;
    }
    call.charge(gas::operation(1, 2, 4, 0) + gas::PAY_OUT + gas::BURN)?;
    let called: B256 = field(call, &id, bonded::MODEL)?.into();
    let model_id = engine::base_of(call, &called)?;
    let mut record = Head::read(call, &model_id)?;
    record.open_requests = record.open_requests.saturating_sub(1);
    head.status = Some(if answered { RequestStatus::Final } else { RequestStatus::Expired });
    set(call, &id, bonded::HEAD, head.encode())?;
    if answered {
        record.calls += 1;
        record.last_use_block = call.block_number();
        record.write(call, &model_id)?;
        let provider = Address::from_word(field(call, &id, bonded::PROVIDER)?.into());
        let (_, bond) = bonded::bonds(field(call, &id, bonded::BOND)?);
        reputation::pay_work(call, system::INFERENCE, provider, head.fee, bond)?;
        let output_hash = field(call, &id, bonded::OUTPUT_HASH)?.into();
        let topics = vec![keccak256(FINALISED), id, provider.into_word(), output_hash];
        call.log(system::INFERENCE, topics, Vec::new());
    } else {
        record.write(call, &model_id)?;
        let requester = Address::from_word(field(call, &id, bonded::REQUESTER)?.into());
        call.pay_out(system::INFERENCE, requester, U256::from(head.fee))?;
        call.log(system::INFERENCE, vec![keccak256(EXPIRED), id, requester.into_word()], Vec::new());
    }
    Ok(Bytes::new())
}
