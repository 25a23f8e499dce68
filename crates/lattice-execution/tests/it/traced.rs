//! Traced requests: whoever lies about any value of a run loses the bond to whoever opens the operator, and nobody else does.

use crate::{
    lab::{Lab, address, deploy_payload},
    operations::{refused, send},
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use lattice_execution::{
    ModelRecord,
    ai::{ANSWER_CHALLENGE_BLOCKS, AccountRecord, BondedRecord, RequestStatus},
};
use lattice_inference::Graph;
use lattice_training::dispute::{self, ActivationTrace, OpenedStep};
use lattice_types::{
    system,
    tx::{
        InferencePayload, RequestTerms,
        operation::{AnswerRequest, AnswerTraced, ChallengeAnswer, ChallengeOperator, Operation, SettleRequest},
    },
};
use std::sync::{Arc, LazyLock};

const GRAPH: &[u8] = include_bytes!("../../../lattice-training/tests/fixtures/train/mlp.graph");
pub const FEE: u128 = 300;
pub const BOND: u128 = 1_000;
/// Who asks, who answers, who doubts.
pub const REQUESTER: usize = 1;
pub const PROVIDER: usize = 2;
pub const CHALLENGER: usize = 3;

/// A run and all of its values.
pub struct Run {
    pub graph: Graph,
    pub id: B256,
    pub input: Vec<u8>,
    pub trace: ActivationTrace,
    pub output: Vec<u8>,
}

pub static RUN: LazyLock<Run> = LazyLock::new(|| {
    let graph = Graph::decode(GRAPH).unwrap();
    let input: Vec<u8> = (0..graph.input_bytes() / 4).flat_map(|i| ((i * 37 % 17) as f32).to_le_bytes()).collect();
    let (trace, output) = ActivationTrace::of(&graph, &input).unwrap();
    Run { id: graph.model_id(), graph, input, trace, output }
});

impl Run {
    pub fn payload(&self) -> Bytes {
        let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
        let (grade, input) = (InferencePayload::TRACED, self.input.clone().into());
        alloy_rlp::encode(InferencePayload { model_id: self.id, grade, input, terms }).into()
    }

    /// An answer that tells this trace, whose last hash its output has.
    pub fn answer(&self, request_id: B256, trace: &ActivationTrace) -> AnswerTraced {
        let mut output = self.output.clone();
        if trace.steps.last() != Some(&vec![keccak256(&output)]) {
            output[0] ^= 1;
        }
        let mut trace = trace.steps.clone();
        *trace.last_mut().unwrap() = vec![keccak256(&output)];
        AnswerTraced { request_id, output: output.into(), trace }
    }

    /// The trace with a lie at a step.
    pub fn lie(&self, at: usize) -> ActivationTrace {
        let mut trace = self.trace.clone();
        trace.steps[at][0] = keccak256([at as u8]);
        trace
    }

    pub fn open(&self, trace: &ActivationTrace, step: usize) -> OpenedStep {
        OpenedStep::of(&self.graph, trace, &self.input, step).unwrap()
    }
}

/// Registers and activates the model, with an artifact of that many bytes.
fn model_of(lab: &mut Lab, artifact_bytes: u64) {
    let run = &*RUN;
    if ModelRecord::read(&lab.state, &run.id).is_none() {
        lab.engine.graphs.insert(run.id, Arc::new(run.graph.clone()));
        let mut payload = deploy_payload(run.id);
        payload.artifact_bytes = artifact_bytes;
        payload.input_bytes = run.input.len() as u64;
        payload.output_bytes = run.output.len() as u64;
        let tx = lab.deploy_model_tx(0, &payload);
        assert!(lab.one(tx).0);
        lab.activate(run.id);
    }
}

pub fn model(lab: &mut Lab) {
    model_of(lab, GRAPH.len() as u64);
}

pub fn asked(lab: &mut Lab) -> B256 {
    model(lab);
    B256::from_slice(&send(lab, REQUESTER, system::INFERENCE, FEE, RUN.payload()).unwrap())
}

fn inference(lab: &mut Lab, from: usize, value: u128, operation: &impl Operation) -> Result<Bytes, String> {
    send(lab, from, system::INFERENCE, value, operation.input())
}

pub fn answered(lab: &mut Lab, trace: &ActivationTrace) -> B256 {
    let id = asked(lab);
    inference(lab, PROVIDER, BOND, &RUN.answer(id, trace)).unwrap();
    id
}

pub fn challenge(request_id: B256, opened: &OpenedStep) -> ChallengeOperator {
    ChallengeOperator { request_id, opening: opened.encode().into() }
}

fn status(lab: &Lab, id: &B256) -> RequestStatus {
    BondedRecord::read(&lab.state, id).unwrap().status
}

#[test]
fn an_honest_answer_stands_whatever_operator_is_challenged() {
    let (mut lab, run) = (Lab::new(), &*RUN);
    let id = answered(&mut lab, &run.trace);
    let record = BondedRecord::read(&lab.state, &id).unwrap();
    assert_eq!(record.traced.unwrap().steps, dispute::steps(&run.graph) as u64);
    for step in 1..dispute::steps(&run.graph) {
        let opened = run.open(&run.trace, step);
        refused(inference(&mut lab, CHALLENGER, 0, &challenge(id, &opened)), "is right there");
        let mut other = opened;
        other.operands[0].bytes[0] ^= 1;
        refused(inference(&mut lab, CHALLENGER, 0, &challenge(id, &other)), "the bytes of an operand are not those");
    }
    // What only a lie would lead to is under another root.
    let opened = run.open(&run.lie(2), 2);
    refused(inference(&mut lab, CHALLENGER, 0, &challenge(id, &opened)), "is not under the root");
    let garbage = ChallengeOperator { request_id: id, opening: vec![7; 9].into() };
    refused(inference(&mut lab, CHALLENGER, 0, &garbage), "truncated");
    refused(inference(&mut lab, CHALLENGER, 5, &garbage), "takes no value");
    let whole = ChallengeAnswer { request_id: id, input: run.input.clone().into() };
    refused(inference(&mut lab, CHALLENGER, 0, &whole), "challenge one operator");
    lab.skip_to(lab.header.number + ANSWER_CHALLENGE_BLOCKS + 1);
    let opened = run.open(&run.trace, 1);
    refused(inference(&mut lab, CHALLENGER, 0, &challenge(id, &opened)), "could be challenged until");
    let before = lab.balance(address(PROVIDER));
    inference(&mut lab, CHALLENGER, 0, &SettleRequest { request_id: id }).unwrap();
    assert_eq!(lab.balance(address(PROVIDER)) - before, U256::from(FEE - FEE / 20 + BOND));
    assert_eq!(lab.balance(system::INFERENCE), U256::ZERO);
}

#[test]
fn a_lie_about_any_value_costs_the_bond() {
    let run = &*RUN;
    for at in 1..dispute::steps(&run.graph) {
        let mut lab = Lab::new();
        let id = asked(&mut lab);
        let answer = run.answer(id, &run.lie(at));
        inference(&mut lab, PROVIDER, BOND, &answer).unwrap();
        let told = ActivationTrace { steps: answer.trace };
        let opened = dispute::doubt(&run.graph, &told, &run.input).unwrap().unwrap();
        let requester = lab.balance(address(REQUESTER));
        inference(&mut lab, CHALLENGER, 0, &challenge(id, &opened)).unwrap();
        let (half, burned) = (BOND / 2, BOND / 20);
        assert_eq!(lab.balance(address(REQUESTER)) - requester, U256::from(FEE + BOND - half - burned), "step {at}");
        assert_eq!((status(&lab, &id), lab.balance(system::INFERENCE)), (RequestStatus::Slashed, U256::ZERO));
        assert_eq!(AccountRecord::read(&lab.state, &address(PROVIDER)).reputation, -1);
        let metrics = ModelRecord::read(&lab.state, &run.id).unwrap().metrics;
        assert_eq!((metrics.open_requests, metrics.disputes), (0, 1));
        refused(inference(&mut lab, CHALLENGER, 0, &challenge(id, &opened)), "is Slashed");
    }
}

#[test]
fn values_cannot_be_withheld() {
    let (mut lab, run) = (Lab::new(), &*RUN);
    let id = asked(&mut lab);
    let good = run.answer(id, &run.trace);
    let plain = AnswerRequest { request_id: id, output: run.output.clone().into() };
    refused(inference(&mut lab, PROVIDER, BOND, &plain), "answer it with the hashes of all values");
    let mut say = |change: &dyn Fn(&mut AnswerTraced), reason: &str| {
        let mut answer = good.clone();
        change(&mut answer);
        refused(inference(&mut lab, PROVIDER, BOND, &answer), reason);
    };
    say(&|answer| answer.trace.clear(), "does not begin with the hash of the input");
    say(&|answer| answer.trace[0][0] = B256::ZERO, "does not begin with the hash of the input");
    say(&|answer| answer.trace[0].push(B256::ZERO), "does not begin with the hash of the input");
    say(&|answer| answer.trace.last_mut().unwrap()[0] = B256::ZERO, "and end with that of the output");
    say(&|answer| answer.output = vec![1; 3].into(), "and end with that of the output");
    refused(inference(&mut lab, PROVIDER, BOND - 1, &good), "the request asks for 1000");
    // A trace without the steps of the model speaks for itself.
    let mut short = good.clone();
    short.trace.remove(1);
    inference(&mut lab, PROVIDER, BOND, &short).unwrap();
    let nothing = ChallengeOperator { request_id: id, opening: Bytes::new() };
    inference(&mut lab, CHALLENGER, 0, &nothing).unwrap();
    assert_eq!(status(&lab, &id), RequestStatus::Slashed);

    // Requests of the other grade take neither.
    let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
    let (grade, input) = (InferencePayload::BONDED, run.input.clone().into());
    let bonded = InferencePayload { model_id: run.id, grade, input, terms };
    let id = send(&mut lab, REQUESTER, system::INFERENCE, FEE, alloy_rlp::encode(bonded).into()).unwrap();
    let id = B256::from_slice(&id);
    refused(inference(&mut lab, PROVIDER, BOND, &AnswerTraced { request_id: id, ..good }), "answer it without hashes");
    let plain = AnswerRequest { request_id: id, output: run.output.clone().into() };
    inference(&mut lab, PROVIDER, BOND, &plain).unwrap();
    let opened = challenge(id, &run.open(&run.trace, 1));
    refused(inference(&mut lab, CHALLENGER, 0, &opened), "challenge its answer with the input");
}

#[test]
fn models_of_which_an_operator_could_not_be_judged_are_refused() {
    let mut lab = Lab::new();
    model_of(&mut lab, 100 << 20);
    let tx = lab.ai_tx_with_value::<lattice_types::tx::Inference>(
        REQUESTER,
        RUN.payload().to_vec(),
        25_000_000,
        20_000_000,
        FEE,
    );
    let (success, _, output, _) = lab.one(tx);
    let reason = crate::lab::simulate_reason(&output);
    assert!(!success && reason.contains("nobody could challenge an answer"), "{reason}");
    let (grade, input) = (InferencePayload::TRACED, RUN.input.clone().into());
    let free = InferencePayload { model_id: RUN.id, grade, input, terms: None };
    refused(
        send(&mut lab, REQUESTER, system::INFERENCE, FEE, alloy_rlp::encode(free).into()),
        "grade 3 (traced) needs terms",
    );
}
