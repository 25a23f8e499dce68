//! Disputes of a training: whoever lies about a step loses the bond to whoever shows it, whatever else he does; whoever
//! does not lie cannot be convicted.

use crate::{
    lab::{Lab, address, deploy_payload},
    operations::{behind, refused, send},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_execution::{
    ModelRecord,
    ai::{AccountRecord, JobStatus, TRAINING_CHALLENGE_BLOCKS, TrainingRecord, WEI_PER_POINT},
};
use lattice_inference::Graph;
use lattice_training::train::{Dataset, Loss, Opening, Optimiser, Plan, State, Target, Trace, Trainer};
use lattice_types::{
    Cid, system,
    tx::{
        DisputeTerms, TrainingChallenge, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload,
        operation::{Operation, StakeOnModel},
    },
};
use std::sync::{Arc, LazyLock};

const GRAPH: &[u8] = include_bytes!("../../../lattice-training/tests/fixtures/train/mlp.graph");
const DIGITS: &[u8] = include_bytes!("../../../lattice-training/tests/fixtures/train/digits.bin");
const STEPS: u64 = 4;
const INTERVAL: u64 = 2;
pub const REWARD: u128 = 7_000;
pub const BOND: u128 = 1_000;
/// Who orders, who trains, who doubts.
pub const REQUESTER: usize = 1;
pub const TRAINER: usize = 2;
pub const CHALLENGER: usize = 3;

/// A job, all of its states, and what came out.
pub struct Lesson {
    pub trainer: Trainer,
    pub plan: Plan,
    pub data: Dataset,
    pub states: Vec<State>,
    pub result: Vec<u8>,
}

impl Lesson {
    fn new(optimiser: Optimiser, target: Target) -> Self {
        let graph = Graph::decode(GRAPH).unwrap();
        let rows: Vec<&[u8]> = DIGITS.chunks_exact(65).take(40).collect();
        let pixels: Vec<f32> = rows.iter().flat_map(|row| &row[..64]).map(|&pixel| f32::from(pixel)).collect();
        let classes: Vec<f32> = rows.iter().map(|row| f32::from(row[64])).collect();
        let data = Dataset::new(&pixels, 64, &classes, 1).unwrap();
        let plan = Plan {
            base: graph.model_id(),
            dataset: data.root(),
            seed: 7,
            steps: STEPS,
            interval: INTERVAL,
            batch: 3,
            loss: Loss::CrossEntropy,
            optimiser,
            target,
        };
        let trainer = Trainer::new(plan.clone(), &graph).unwrap();
        let mut states = Vec::new();
        let each = |state: &State| {
            states.push(state.clone());
            Ok(())
        };
        let last = trainer.train(trainer.start(), &data, each).unwrap();
        let result = trainer.result_bytes(&last).unwrap();
        Self { trainer, plan, data, states, result }
    }

    /// The hashes of an honest trace.
    pub fn hashes(&self) -> Vec<B256> {
        self.states.iter().map(State::hash).collect()
    }

    pub fn order(&self) -> TrainingJob {
        let plan = self.plan.encode();
        TrainingJob {
            base_model: self.plan.base,
            base_version: 1,
            dataset_root: self.plan.dataset,
            job: Cid::artifact(&plan),
            seed: self.plan.seed,
            steps: self.plan.steps,
            checkpoint_interval: self.plan.interval,
            deadline_blocks: 500,
            trainer: Address::ZERO,
            dispute: Some(DisputeTerms { plan: plan.into(), bond: BOND }),
        }
    }

    pub fn checkpoint(&self, job_id: B256, hashes: &[B256], from: u64) -> TrainingPayload {
        let trace = hashes[from as usize..=(from + INTERVAL) as usize].to_vec();
        let state_hash = *trace.last().unwrap();
        let artifact = Cid::raw(&from.to_be_bytes());
        let step = from + INTERVAL;
        TrainingPayload::Checkpoint(TrainingCheckpoint { job_id, step, state_hash, artifact, trace: Some(trace) })
    }

    pub fn completion(&self, job_id: B256, hashes: &[B256], result: &[u8]) -> TrainingPayload {
        let state_hash = hashes[STEPS as usize];
        TrainingPayload::Complete(TrainingCompletion { job_id, state_hash, artifact: Cid::artifact(result) })
    }

    pub fn challenge(&self, job_id: B256, (from, opening): &(u64, Opening)) -> TrainingPayload {
        TrainingPayload::Challenge(TrainingChallenge {
            job_id,
            plan: self.plan.encode().into(),
            from: *from,
            opening: opening.encode().into(),
        })
    }

    /// What anybody who replays the training finds wrong in what a trainer told.
    pub fn doubt(&self, hashes: &[B256], result: &[u8]) -> Option<(u64, Opening)> {
        let part = |from: u64| Trace { hashes: hashes[from as usize..=(from + INTERVAL) as usize].to_vec() };
        let parts: Vec<Trace> = (0..STEPS).step_by(INTERVAL as usize).map(part).collect();
        self.trainer.doubt(&self.data, &parts, &|bytes| bytes == result).unwrap()
    }

    /// An opening of an honest step.
    pub fn open(&self, hashes: &[B256], step: u64) -> (u64, Opening) {
        let (from, at) = (step / INTERVAL * INTERVAL, step % INTERVAL);
        let trace = Trace { hashes: hashes[from as usize..=(from + INTERVAL) as usize].to_vec() };
        let opening = Opening::Step {
            before: self.states[step as usize].encode(),
            before_proof: trace.proof(at).unwrap(),
            after: trace.hashes[at as usize + 1],
            after_proof: trace.proof(at + 1).unwrap(),
            batch: self.trainer.open_batch(&self.data, step),
        };
        (from, opening)
    }
}

/// All weights, and an adapter.
pub static LESSONS: LazyLock<[Lesson; 2]> = LazyLock::new(|| {
    let sgd = Optimiser::Sgd { rate: 0.1, momentum: 0.9, decay: 1e-4 };
    let adam = Optimiser::Adam { rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 };
    [Lesson::new(sgd, Target::Whole), Lesson::new(adam, Target::Lora { rank: 2, scale: 1.0, modules: Vec::new() })]
});

pub fn training(lab: &mut Lab, from: usize, value: u128, payload: &TrainingPayload) -> Result<Bytes, String> {
    send(lab, from, system::TRAINING, value, behind(0x53, payload))
}

/// Registers and activates the base.
pub fn base(lab: &mut Lab) -> B256 {
    let graph = Graph::decode(GRAPH).unwrap();
    let id = graph.model_id();
    if ModelRecord::read(&lab.state, &id).is_none() {
        let graph_bytes = (graph.input_bytes() as u64, graph.output_bytes() as u64);
        lab.engine.graphs.insert(id, Arc::new(graph));
        let mut payload = deploy_payload(id);
        payload.artifact_bytes = GRAPH.len() as u64;
        payload.input_bytes = graph_bytes.0;
        payload.output_bytes = graph_bytes.1;
        let tx = lab.deploy_model_tx(0, &payload);
        assert!(lab.one(tx).0);
        lab.activate(id);
    }
    id
}

pub fn ordered(lab: &mut Lab, lesson: &Lesson) -> B256 {
    base(lab);
    let id = training(lab, REQUESTER, REWARD, &TrainingPayload::Create(lesson.order())).unwrap();
    B256::from_slice(&id)
}

pub fn accepted(lab: &mut Lab, lesson: &Lesson) -> B256 {
    let id = ordered(lab, lesson);
    training(lab, TRAINER, 0, &TrainingPayload::Accept(id)).unwrap();
    id
}

pub fn completed(lab: &mut Lab, lesson: &Lesson, hashes: &[B256], result: &[u8]) -> B256 {
    let id = accepted(lab, lesson);
    for from in (0..STEPS).step_by(INTERVAL as usize) {
        training(lab, TRAINER, 0, &lesson.checkpoint(id, hashes, from)).unwrap();
    }
    training(lab, TRAINER, BOND, &lesson.completion(id, hashes, result)).unwrap();
    id
}

fn held(lab: &Lab, lesson: &Lesson) -> u64 {
    ModelRecord::read(&lab.state, &lesson.plan.base).unwrap().metrics.open_requests
}

#[test]
fn an_honest_trainer_is_paid_whatever_is_challenged() {
    for lesson in LESSONS.iter() {
        let mut lab = Lab::new();
        let hashes = lesson.hashes();
        let id = completed(&mut lab, lesson, &hashes, &lesson.result);
        assert_eq!(lesson.doubt(&hashes, &lesson.result), None);
        assert_eq!((held(&lab, lesson), lab.balance(system::TRAINING)), (1, U256::from(REWARD + BOND)));
        let trace = Trace { hashes: hashes[..=INTERVAL as usize].to_vec() };
        let start = Opening::Start { hash: hashes[0], proof: trace.proof(0).unwrap() };
        let result = Opening::Result { state: lesson.states[STEPS as usize].encode() };
        let mut doubts = vec![(0, start), (0, result.clone())];
        doubts.extend((0..STEPS).map(|step| lesson.open(&hashes, step)));
        for doubt in doubts {
            refused(training(&mut lab, CHALLENGER, 0, &lesson.challenge(id, &doubt)), "is right there");
        }
        // Openings that prove nothing.
        let (_, step) = lesson.open(&hashes, 1);
        let doubted = |from: u64, opening: &Opening| lesson.challenge(id, &(from, opening.clone()));
        refused(training(&mut lab, CHALLENGER, 0, &doubted(2, &step)), "is not in the trace");
        refused(training(&mut lab, CHALLENGER, 0, &doubted(1, &step)), "no trace of job");
        let Opening::Step { before, before_proof, after, after_proof, .. } = step else { unreachable!() };
        let batch = lesson.trainer.open_batch(&lesson.data, 2);
        let wrong = Opening::Step { before, before_proof, after, after_proof, batch };
        refused(training(&mut lab, CHALLENGER, 0, &doubted(0, &wrong)), "place 0 is record");
        let early = Opening::Result { state: lesson.states[1].encode() };
        refused(training(&mut lab, CHALLENGER, 0, &doubted(0, &early)), "is not the last one");
        let mut garbage =
            TrainingChallenge { job_id: id, plan: lesson.plan.encode().into(), from: 0, opening: vec![9].into() };
        let send = |lab: &mut Lab, challenge: &TrainingChallenge, value| {
            training(lab, CHALLENGER, value, &TrainingPayload::Challenge(challenge.clone()))
        };
        refused(send(&mut lab, &garbage, 0), "kind 9 is not known");
        refused(send(&mut lab, &garbage, 5), "takes no value");
        garbage.plan = Bytes::from_static(b"other");
        refused(send(&mut lab, &garbage, 0), "take it from the order");
        garbage.job_id = B256::ZERO;
        refused(send(&mut lab, &garbage, 0), "there is no training job");

        lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
        refused(training(&mut lab, CHALLENGER, 0, &doubted(0, &result)), "could be challenged until");
        let before = lab.balance(address(TRAINER));
        training(&mut lab, CHALLENGER, 0, &TrainingPayload::Claim(id)).unwrap();
        assert_eq!(lab.balance(address(TRAINER)) - before, U256::from(REWARD - REWARD / 20 + BOND));
        assert_eq!((held(&lab, lesson), lab.balance(system::TRAINING)), (0, U256::ZERO));
        refused(training(&mut lab, CHALLENGER, 0, &doubted(0, &result)), "only a completed one");
    }
}

#[test]
fn a_lie_at_any_place_costs_the_bond() {
    for lesson in LESSONS.iter() {
        let honest = lesson.hashes();
        let mut lies: Vec<(Vec<B256>, Vec<u8>)> = (0..=STEPS as usize)
            .map(|at| {
                let mut hashes = honest.clone();
                hashes[at] = keccak256([at as u8]);
                (hashes, lesson.result.clone())
            })
            .collect();
        lies.push((honest.clone(), b"another result".to_vec()));
        for (hashes, result) in lies {
            let mut lab = Lab::new();
            base(&mut lab);
            let stake = StakeOnModel { model_id: lesson.plan.base }.input();
            send(&mut lab, TRAINER, system::MODELS, 900, stake).unwrap();
            let id = completed(&mut lab, lesson, &hashes, &result);
            let doubt = lesson.doubt(&hashes, &result).unwrap();
            let parties = [REQUESTER, CHALLENGER].map(|who| lab.balance(address(who)));
            let tx = lab.tx(
                CHALLENGER,
                alloy_primitives::TxKind::Call(system::TRAINING),
                0,
                behind(0x53, &lesson.challenge(id, &doubt)),
                2_000_000,
                0,
            );
            let (success, gas, output, executed) = lab.one(tx);
            assert!(success, "{}", crate::lab::simulate_reason(&output));
            let fee = U256::from(gas) * U256::from(executed.evm.header.base_fee_per_gas.unwrap());
            let got = |who: usize, before: U256| lab.balance(address(who)) - before;
            let (half, burned) = (BOND / 2, BOND / 20);
            assert_eq!(got(REQUESTER, parties[0]), U256::from(REWARD + BOND - half - burned));
            assert_eq!(got(CHALLENGER, parties[1] - fee), U256::from(half));
            assert_eq!((held(&lab, lesson), lab.balance(system::TRAINING)), (0, U256::ZERO));
            assert_eq!(TrainingRecord::read(&lab.state, &id).unwrap().status, JobStatus::Slashed);
            let points = |wei: u128| i64::try_from(wei / WEI_PER_POINT).unwrap();
            assert_eq!(AccountRecord::read(&lab.state, &address(TRAINER)).reputation, -points(BOND).max(1));
            assert_eq!(ModelRecord::read(&lab.state, &lesson.plan.base).unwrap().line.stake, 0, "burned");
            // Once.
            refused(training(&mut lab, CHALLENGER, 0, &lesson.challenge(id, &doubt)), "only a completed one");
            lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
            refused(training(&mut lab, TRAINER, 0, &TrainingPayload::Claim(id)), "is not waiting");
        }
    }
}

#[test]
fn a_trace_cannot_be_withheld() {
    let lesson = &LESSONS[0];
    let mut lab = Lab::new();
    let (id, hashes) = (accepted(&mut lab, lesson), lesson.hashes());
    let with = |from: u64, change: &dyn Fn(&mut TrainingCheckpoint)| {
        let TrainingPayload::Checkpoint(mut checkpoint) = lesson.checkpoint(id, &hashes, from) else { unreachable!() };
        change(&mut checkpoint);
        TrainingPayload::Checkpoint(checkpoint)
    };
    let mut say = |from: u64, change: &dyn Fn(&mut TrainingCheckpoint), reason: &str| {
        refused(training(&mut lab, TRAINER, 0, &with(from, change)), reason);
    };
    let shorter = |checkpoint: &mut TrainingCheckpoint| checkpoint.trace.as_mut().unwrap().truncate(2);
    say(0, &|checkpoint| checkpoint.trace = None, "send the hash of every state from step 0 on");
    say(0, &shorter, "the trace has 2 hashes, steps 0 to 2 have 3");
    say(0, &|checkpoint| checkpoint.trace = Some(vec![]), "the trace has 0 hashes, allowed are 2 to 2049");
    say(0, &|checkpoint| checkpoint.state_hash = B256::ZERO, "does not end with the state hash");
    training(&mut lab, TRAINER, 0, &lesson.checkpoint(id, &hashes, 0)).unwrap();
    let other = |checkpoint: &mut TrainingCheckpoint| checkpoint.trace.as_mut().unwrap()[0] = B256::ZERO;
    refused(training(&mut lab, TRAINER, 0, &with(2, &other)), "does not begin with the last checkpoint's state hash");
    training(&mut lab, TRAINER, 0, &lesson.checkpoint(id, &hashes, 2)).unwrap();
    let complete = lesson.completion(id, &hashes, &lesson.result);
    refused(training(&mut lab, TRAINER, 0, &complete), "send the bond as value");
    refused(training(&mut lab, TRAINER, BOND - 1, &complete), "the bond is 999 wei, the job asks for 1000");
    let chunks = Cid::parse("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi").unwrap();
    let TrainingPayload::Complete(mut spread) = complete.clone() else { unreachable!() };
    spread.artifact = chunks;
    refused(training(&mut lab, TRAINER, BOND, &TrainingPayload::Complete(spread)), "the raw CID of its manifest");
    training(&mut lab, TRAINER, BOND, &complete).unwrap();
}

#[test]
fn what_could_not_be_judged_is_not_taken_as_disputable() {
    let lesson = &LESSONS[0];
    let mut lab = Lab::new();
    let model = base(&mut lab);
    let order = |plan: Plan, change: &dyn Fn(&mut TrainingJob)| {
        let bytes = plan.encode();
        let mut job = TrainingJob {
            dataset_root: plan.dataset,
            job: Cid::artifact(&bytes),
            steps: plan.steps,
            checkpoint_interval: plan.interval,
            dispute: Some(DisputeTerms { plan: bytes.into(), bond: BOND }),
            ..lesson.order()
        };
        change(&mut job);
        TrainingPayload::Create(job)
    };
    let mut say = |plan: Plan, change: &dyn Fn(&mut TrainingJob), reason: &str| {
        refused(training(&mut lab, REQUESTER, REWARD, &order(plan, change)), reason);
    };
    let plan = || lesson.plan.clone();
    say(plan(), &|job| job.seed = 8, "they have to agree");
    say(plan(), &|job| job.job = Cid::raw(b"other"), "is not the content of the artifact");
    say(plan(), &|job| job.dispute.as_mut().unwrap().bond = 0, "the bond is 0");
    say(Plan { steps: 4096, interval: 4096, ..plan() }, &|_| {}, "a disputable job has at most 2048");
    let long = Target::Lora { rank: 1, scale: 1.0, modules: vec!["layers.0".into(); 500] };
    say(Plan { target: long, ..plan() }, &|_| {}, "at most 4096 can be disputed");
    let unknown = Target::Lora { rank: 1, scale: 1.0, modules: vec!["layers.9".into()] };
    say(Plan { target: unknown, ..plan() }, &|_| {}, "no module 'layers.9'");
    say(Plan { batch: 65_536, ..plan() }, &|_| {}, "order a smaller batch, rank or base");
    say(Plan { batch: 100, ..plan() }, &|_| {}, "a challenge would carry");
    let nonsense = |job: &mut TrainingJob| {
        job.job = Cid::artifact(b"no plan");
        job.dispute = Some(DisputeTerms { plan: b"no plan".to_vec().into(), bond: BOND });
    };
    say(plan(), &nonsense, "must begin with \"LATJ\"");
    assert_eq!(lab.balance(system::TRAINING), U256::ZERO);

    // A job without terms trusts its trainer: no trace, no bond, no challenge.
    let TrainingPayload::Create(mut trusting) = order(plan(), &|_| {}) else { unreachable!() };
    trusting.dispute = None;
    let id = training(&mut lab, REQUESTER, REWARD, &TrainingPayload::Create(trusting)).unwrap();
    let (id, hashes) = (B256::from_slice(&id), lesson.hashes());
    training(&mut lab, TRAINER, 0, &TrainingPayload::Accept(id)).unwrap();
    refused(training(&mut lab, TRAINER, 0, &lesson.checkpoint(id, &hashes, 0)), "leave the trace out");
    let TrainingPayload::Checkpoint(mut last) = lesson.checkpoint(id, &hashes, 2) else { unreachable!() };
    last.trace = None;
    training(&mut lab, TRAINER, 0, &TrainingPayload::Checkpoint(last)).unwrap();
    let complete = lesson.completion(id, &hashes, &lesson.result);
    refused(training(&mut lab, TRAINER, BOND, &complete), "takes no value");
    training(&mut lab, TRAINER, 0, &complete).unwrap();
    let doubt = lesson.open(&hashes, 0);
    refused(training(&mut lab, CHALLENGER, 0, &lesson.challenge(id, &doubt)), "cannot be disputed");
    assert_eq!(ModelRecord::read(&lab.state, &model).unwrap().metrics.open_requests, 0);
}

#[test]
fn a_judgement_costs_the_same_at_any_lane_price_and_runs_nothing_unpaid() {
    let lesson = &LESSONS[0];
    let mut lab = Lab::new();
    let mut hashes = lesson.hashes();
    hashes[3] = B256::ZERO;
    let id = completed(&mut lab, lesson, &hashes, &lesson.result);
    let payload = lesson.challenge(id, &lesson.doubt(&hashes, &lesson.result).unwrap());
    let work = TrainingRecord::read(&lab.state, &id).unwrap().dispute.unwrap().work;
    let needed = work + lattice_execution::ai::load_gas(GRAPH.len() as u64);
    let attempt = |lab: &mut Lab, ai_gas: u64| {
        let tx = lab.ai_tx::<lattice_types::tx::Training>(CHALLENGER, alloy_rlp::encode(&payload), 3_000_000, ai_gas);
        lab.one(tx).0
    };
    assert!(!attempt(&mut lab, needed - 1), "out of AI gas");
    lab.set_lane_price(lattice_execution::ai::LanePrice::from_nanos(9_000_000_000));
    assert!(attempt(&mut lab, needed));
}
