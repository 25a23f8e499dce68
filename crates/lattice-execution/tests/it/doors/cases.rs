//! The table: operations in every phase, and a refusal of each kind.

use crate::{
    lab::{Lab, address, deploy_payload, inference_payload, model_id, reverse, test_proof},
    operations::{INPUT, adapter, behind, bonded_payload, checkpoint, completion, job, send},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_execution::{
    InferenceError,
    ai::{ANSWER_CHALLENGE_BLOCKS, TRAINING_CHALLENGE_BLOCKS, UNSTAKE_BLOCKS},
};
use lattice_types::{
    Cid, system,
    tx::{
        InferencePayload, LoraComposition, LoraPart, LoraPayload, ModelCommitments, ModelDelta, ModelDeployPayload,
        ModelUpdatePayload, TrainingPayload,
        operation::{
            AcceptModel, AllowAccounts, AnswerRequest, ChallengeAnswer, CollectStake, DepositCredits, OfferModel,
            Operation, PermitModel, RetireModel, SettleRequest, StakeOnModel, UnstakeFromModel, WithdrawCredits,
        },
    },
};

/// One operation. Account 0 owns the reversing model.
pub struct Case {
    pub name: &'static str,
    /// The type byte of its transaction class, if it has one.
    pub class: Option<u8>,
    pub door: Address,
    pub actor: usize,
    pub value: u128,
    /// Makes the state that the operation needs, and gives the payload of its class or the door's input.
    pub set_up: fn(&mut Lab) -> Vec<u8>,
    /// A part of the reason, for an operation that fails.
    pub refused: Option<&'static str>,
    /// Whether it does AI work.
    pub works: bool,
}

impl Case {
    pub const fn class(name: &'static str, class: u8, actor: usize, set_up: fn(&mut Lab) -> Vec<u8>) -> Self {
        let door = system::account_of(class).unwrap();
        Self { name, class: Some(class), door, actor, value: 0, set_up, refused: None, works: false }
    }

    pub const fn at(name: &'static str, door: Address, actor: usize, set_up: fn(&mut Lab) -> Vec<u8>) -> Self {
        Self { name, class: None, door, actor, value: 0, set_up, refused: None, works: false }
    }

    pub const fn value(self, value: u128) -> Self {
        Self { value, ..self }
    }

    pub const fn works(self) -> Self {
        Self { works: true, ..self }
    }

    pub const fn refused(self, reason: &'static str) -> Self {
        Self { refused: Some(reason), ..self }
    }
}

fn models(lab: &mut Lab, from: usize, value: u128, operation: &impl Operation) {
    send(lab, from, system::MODELS, value, operation.input()).unwrap();
}

fn ready(lab: &mut Lab, operation: &impl Operation) -> Vec<u8> {
    lab.ready_model();
    operation.input().to_vec()
}

/// A second model, with another function behind it.
fn second_model(lab: &mut Lab, byte: u8, model: fn(&[u8]) -> Result<Vec<u8>, InferenceError>) -> B256 {
    lab.ready_model();
    let id = B256::repeat_byte(byte);
    lab.add_model(id, model);
    let tx = lab.deploy_model_tx(0, &deploy_payload(id));
    assert!(lab.one(tx).0);
    lab.activate(id);
    id
}

fn refusing(_: &[u8]) -> Result<Vec<u8>, InferenceError> {
    Err(InferenceError::Refused("index 900 is out of range".into()))
}

fn priced(lab: &mut Lab) -> B256 {
    let model_id = lab.ready_model();
    models(lab, 0, 0, &PermitModel { model_id, mode: 2, price: 70 });
    model_id
}

fn with_credits(lab: &mut Lab) -> B256 {
    let model_id = priced(lab);
    models(lab, 2, 100, &DepositCredits { account: address(1) });
    model_id
}

fn allow_listed(lab: &mut Lab) -> B256 {
    let model_id = lab.ready_model();
    models(lab, 0, 0, &PermitModel { model_id, mode: 1, price: 0 });
    model_id
}

fn exec(id: B256, input: &[u8]) -> Vec<u8> {
    [id.as_slice(), input].concat()
}

fn graded(grade: u8) -> Vec<u8> {
    let input = Bytes::copy_from_slice(&INPUT);
    alloy_rlp::encode(InferencePayload { model_id: model_id(), grade, input, terms: None })
}

fn update(model: u8, delta: bool) -> ModelUpdatePayload {
    let commitments = ModelCommitments { weights_root: Some(B256::repeat_byte(3)), ..Default::default() };
    let version = ModelDeployPayload {
        name: if delta { "renamed".into() } else { String::new() },
        commitments: delta.then_some(commitments),
        ..deploy_payload(B256::repeat_byte(model))
    };
    let delta = delta.then(|| ModelDelta { artifact: Cid::raw(b"delta"), base_version: 1 });
    ModelUpdatePayload { model_id: model_id(), parent_version: 1, version, delta }
}

fn bonded(lab: &mut Lab) -> B256 {
    lab.ready_model();
    let input = alloy_rlp::encode(bonded_payload(model_id())).into();
    B256::from_slice(&send(lab, 1, system::INFERENCE, 300, input).unwrap())
}

fn answered(lab: &mut Lab, byte: Option<u8>) -> B256 {
    let request_id = bonded(lab);
    let output = byte.map_or_else(|| reverse(&INPUT).unwrap(), |byte| vec![byte; 8]);
    let answer = AnswerRequest { request_id, output: output.into() };
    send(lab, 2, system::INFERENCE, 1_001, answer.input()).unwrap();
    request_id
}

fn challenge(request_id: B256) -> Vec<u8> {
    ChallengeAnswer { request_id, input: INPUT.to_vec().into() }.input().to_vec()
}

/// A job in the hands of account 2, with so many of its two checkpoints made.
fn accepted(lab: &mut Lab, checkpoints: u64) -> B256 {
    let model_id = lab.ready_model();
    let create = TrainingPayload::Create(job(model_id, address(2)));
    let id = B256::from_slice(&send(lab, 1, system::TRAINING, 700, behind(0x53, &create)).unwrap());
    send(lab, 2, system::TRAINING, 0, behind(0x53, &TrainingPayload::Accept(id))).unwrap();
    for step in 1..=checkpoints {
        send(lab, 2, system::TRAINING, 0, behind(0x53, &checkpoint(id, 10 * step))).unwrap();
    }
    id
}

fn completed(lab: &mut Lab) -> B256 {
    let id = accepted(lab, 2);
    send(lab, 2, system::TRAINING, 0, behind(0x53, &completion(id, 20))).unwrap();
    id
}

pub fn training(payload: &TrainingPayload) -> Vec<u8> {
    alloy_rlp::encode(payload)
}

fn compose(lab: &mut Lab) -> Vec<u8> {
    let base = lab.ready_model();
    let parts = ["a", "b"].map(|name| {
        let payload = LoraPayload::Adapter(adapter(base, name, 4));
        let id = send(lab, 2, system::MODELS, 0, behind(0x54, &payload)).unwrap();
        LoraPart { adapter: B256::from_slice(&id), weight: 65_536 }
    });
    alloy_rlp::encode(LoraPayload::Compose(LoraComposition { method: 0, parts: parts.into(), name: "mix".into() }))
}

/// An active adapter on the reversing model, which with it gives the input back.
fn adapted(lab: &mut Lab) -> B256 {
    let payload = LoraPayload::Adapter(adapter(lab.ready_model(), "tone", 4));
    let id = B256::from_slice(&send(lab, 2, system::MODELS, 0, behind(0x54, &payload)).unwrap());
    lab.add_model(id, |input| Ok(input.to_vec()));
    lab.activate(id);
    id
}

fn lora(lab: &mut Lab) -> Vec<u8> {
    alloy_rlp::encode(LoraPayload::Adapter(adapter(lab.ready_model(), "tone", 4)))
}

fn addition() -> Vec<u8> {
    let mut input = vec![1, 3, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    input.extend(1.5f32.to_le_bytes());
    input.extend(2.0f32.to_le_bytes());
    input
}

/// A TENSOR_OP on two rows of two, by its code and that of its type.
fn tensor<const OP: u8, const TYPE: u8>(_: &mut Lab) -> Vec<u8> {
    let mut input = vec![OP, TYPE, 0, 0];
    let n = if OP == 3 { 2 } else { 1u32 };
    input.extend([2, 2, n].iter().flat_map(|dim| dim.to_le_bytes()));
    match OP {
        7 => input.extend(1e-5f32.to_le_bytes()),
        9 | 10 => input.extend([0.5f32.to_le_bytes(), 3i32.to_le_bytes()].concat()),
        _ => {}
    }
    let elements = if matches!(OP, 1..=4) { 8 } else { 4 };
    for element in 1..=elements {
        match TYPE {
            1 => input.push(element * 31),
            2 => input.extend((i32::from(element) << 27).to_le_bytes()),
            _ => input.extend((f32::from(element) - 2.5).to_le_bytes()),
        }
    }
    input
}

/// Every operation of TENSOR_OP with every type that it is defined for.
fn tensors() -> Vec<Case> {
    macro_rules! cases {
        ($($name:literal $op:literal: $($ty:literal)*;)*) => {
            vec![$($(Case::at($name, system::TENSOR_OP, 1, tensor::<$op, $ty>).works(),)*)*]
        };
    }
    cases! {
        "tensor add" 1: 1 2 3;
        "tensor mul" 2: 1 2 3;
        "tensor matmul" 3: 1 2 3;
        "tensor dot" 4: 1 2 3;
        "tensor relu" 5: 1 2 3;
        "tensor softmax" 6: 3;
        "tensor layernorm" 7: 3;
        "tensor argmax" 8: 1 2 3;
        "tensor quantise" 9: 3;
        "tensor dequantise" 10: 1 2;
    }
}

fn prove(id: B256) -> Vec<u8> {
    [id.as_slice(), keccak256(INPUT).as_slice(), &U256::from(30).to_be_bytes::<32>()].concat()
}

fn proof_request(lab: &mut Lab) -> B256 {
    let id = lab.ready_model();
    B256::from_slice(&send(lab, 1, system::ZK_PROVE, 50, prove(id).into()).unwrap())
}

fn settlement(lab: &mut Lab, right: bool) -> Vec<u8> {
    let request = proof_request(lab);
    lab.engine.proofs.enabled = true;
    let output = [9; 8];
    let proof = if right { test_proof(&output, address(2)) } else { B256::ZERO };
    let len = U256::from(20_000).to_be_bytes::<32>();
    [request.as_slice(), address(2).into_word().as_slice(), proof.as_slice(), &len, &output].concat()
}

pub fn cases() -> Vec<Case> {
    [
        deployments(),
        inferences(),
        trainings(),
        super::disputed::trained_disputably(),
        super::disputed::traced_runs(),
        adapters(),
        lines(),
        money(),
        requests(),
        tensors(),
        instructions(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn deployments() -> Vec<Case> {
    vec![
        Case::class("deploy", 0x50, 1, |_| alloy_rlp::encode(deploy_payload(B256::repeat_byte(7)))),
        Case::class("deploy with commitments", 0x50, 1, |lab| {
            lab.ready_model();
            let commitments = ModelCommitments {
                metadata: Some(B256::repeat_byte(1)),
                verification_key: Some(B256::repeat_byte(2)),
                ..Default::default()
            };
            alloy_rlp::encode(ModelDeployPayload {
                commitments: Some(commitments),
                ..deploy_payload(B256::repeat_byte(7))
            })
        }),
        Case::class("deploy again", 0x50, 1, |lab| alloy_rlp::encode(deploy_payload(lab.ready_model())))
            .refused("is registered already"),
        Case::class("deploy malformed", 0x50, 1, |_| vec![0xc1, 0x80]).refused("malformed ModelDeploy payload"),
        Case::class("deploy with value", 0x50, 1, |_| alloy_rlp::encode(deploy_payload(model_id())))
            .value(1)
            .refused("takes no value"),
        Case::class("update", 0x51, 0, |lab| {
            lab.ready_model();
            alloy_rlp::encode(update(8, false))
        }),
        Case::class("update with a delta", 0x51, 0, |lab| {
            lab.ready_model();
            alloy_rlp::encode(update(8, true))
        }),
        Case::class("update by a stranger", 0x51, 1, |lab| {
            lab.ready_model();
            alloy_rlp::encode(update(8, false))
        })
        .refused("belongs to"),
    ]
}

fn inferences() -> Vec<Case> {
    vec![
        Case::class("replay", 0x52, 1, |lab| inference_payload(lab.ready_model(), &INPUT)).works(),
        Case::class("replay with an adapter", 0x52, 1, |lab| inference_payload(adapted(lab), &INPUT)).works(),
        Case::at("execution with an adapter", system::MODEL_EXEC, 1, |lab| [adapted(lab).as_slice(), &INPUT].concat())
            .works(),
        Case::class("replay again", 0x52, 1, |lab| {
            let payload = inference_payload(lab.ready_model(), &INPUT);
            send(lab, 2, system::INFERENCE, 0, payload.clone().into()).unwrap();
            payload
        })
        .works(),
        Case::class("replay by the allowed", 0x52, 1, |lab| {
            let model_id = allow_listed(lab);
            models(lab, 0, 0, &AllowAccounts { model_id, accounts: vec![address(1)], allowed: true });
            inference_payload(model_id, &INPUT)
        })
        .works(),
        Case::class("replay for a price", 0x52, 1, |lab| inference_payload(with_credits(lab), &INPUT)).works(),
        Case::class("replay of an unknown model", 0x52, 1, |_| inference_payload(model_id(), &INPUT))
            .refused("is not registered"),
        Case::class("replay of a short input", 0x52, 1, |lab| inference_payload(lab.ready_model(), &INPUT[..7]))
            .refused("the input has 7 bytes"),
        Case::class("replay that the model refuses", 0x52, 1, |lab| {
            inference_payload(second_model(lab, 9, refusing), &INPUT)
        })
        .works()
        .refused("index 900 is out of range"),
        Case::class("replay of an unlisted caller", 0x52, 1, |lab| inference_payload(allow_listed(lab), &INPUT))
            .refused("has an allow list"),
        Case::class("replay without credits", 0x52, 1, |lab| inference_payload(priced(lab), &INPUT))
            .refused("costs 70 wei"),
        Case::class("proof grade", 0x52, 1, |lab| {
            lab.ready_model();
            graded(InferencePayload::PROOF)
        })
        .value(40),
        Case::class("proof grade without a fee", 0x52, 1, |lab| {
            lab.ready_model();
            graded(InferencePayload::PROOF)
        })
        .refused("needs a fee"),
        Case::class("bonded request", 0x52, 1, |lab| alloy_rlp::encode(bonded_payload(lab.ready_model()))).value(300),
        Case::class("bonded request for a price", 0x52, 1, |lab| alloy_rlp::encode(bonded_payload(with_credits(lab))))
            .value(300),
        Case::class("bonded request without a fee", 0x52, 1, |lab| {
            alloy_rlp::encode(bonded_payload(lab.ready_model()))
        })
        .refused("send the fee"),
        Case::class("no such grade", 0x52, 1, |lab| {
            lab.ready_model();
            graded(9)
        })
        .refused("grade 9"),
    ]
}

fn trainings() -> Vec<Case> {
    vec![
        Case::class("order", 0x53, 1, |lab| training(&TrainingPayload::Create(job(lab.ready_model(), Address::ZERO))))
            .value(700),
        Case::class("order without a reward", 0x53, 1, |lab| {
            training(&TrainingPayload::Create(job(lab.ready_model(), Address::ZERO)))
        })
        .refused("send the reward"),
        Case::class("accept", 0x53, 2, |lab| {
            let create = TrainingPayload::Create(job(lab.ready_model(), Address::ZERO));
            let id = send(lab, 1, system::TRAINING, 700, behind(0x53, &create)).unwrap();
            training(&TrainingPayload::Accept(B256::from_slice(&id)))
        }),
        Case::class("accept twice", 0x53, 3, |lab| training(&TrainingPayload::Accept(accepted(lab, 0))))
            .refused("is not open"),
        Case::class("checkpoint", 0x53, 2, |lab| training(&checkpoint(accepted(lab, 0), 10))),
        Case::class("checkpoint at a wrong step", 0x53, 2, |lab| training(&checkpoint(accepted(lab, 0), 15)))
            .refused("checkpoints rise"),
        Case::class("complete", 0x53, 2, |lab| training(&completion(accepted(lab, 2), 20))),
        Case::class("complete too early", 0x53, 2, |lab| training(&completion(accepted(lab, 1), 20)))
            .refused("complete with the state"),
        Case::class("claim", 0x53, 3, |lab| {
            let id = completed(lab);
            lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
            training(&TrainingPayload::Claim(id))
        }),
        Case::class("claim too early", 0x53, 3, |lab| training(&TrainingPayload::Claim(completed(lab))))
            .refused("claim after it"),
        Case::class("cancel an open job", 0x53, 1, |lab| {
            let create = TrainingPayload::Create(job(lab.ready_model(), Address::ZERO));
            let id = send(lab, 1, system::TRAINING, 700, behind(0x53, &create)).unwrap();
            training(&TrainingPayload::Cancel(B256::from_slice(&id)))
        }),
        Case::class("cancel an abandoned job", 0x53, 1, |lab| {
            let id = accepted(lab, 1);
            lab.skip_to(lab.header.number + 501);
            training(&TrainingPayload::Cancel(id))
        }),
        Case::class("cancel a job at work", 0x53, 1, |lab| training(&TrainingPayload::Cancel(accepted(lab, 0))))
            .refused("is being trained"),
    ]
}

fn adapters() -> Vec<Case> {
    vec![
        Case::class("adapter", 0x54, 1, lora),
        Case::class("adapter again", 0x54, 1, |lab| {
            let payload = lora(lab);
            send(lab, 2, system::MODELS, 0, [&[0x54], payload.as_slice()].concat().into()).unwrap();
            payload
        })
        .refused("is registered already"),
        Case::class("composition", 0x54, 1, compose),
    ]
}

fn lines() -> Vec<Case> {
    let at = |name, actor, set_up| Case::at(name, system::MODELS, actor, set_up);
    vec![
        at("offer", 0, |lab| ready(lab, &OfferModel { model_id: model_id(), to: address(1) })),
        at("offer by a stranger", 1, |lab| ready(lab, &OfferModel { model_id: model_id(), to: address(1) }))
            .refused("belongs to"),
        at("accept ownership", 1, |lab| {
            let model_id = lab.ready_model();
            models(lab, 0, 0, &OfferModel { model_id, to: address(1) });
            AcceptModel { model_id }.input().to_vec()
        }),
        at("accept what is not offered", 1, |lab| ready(lab, &AcceptModel { model_id: model_id() }))
            .refused("is not offered"),
        at("permit", 0, |lab| ready(lab, &PermitModel { model_id: model_id(), mode: 2, price: 7 })),
        at("permit in no mode", 0, |lab| ready(lab, &PermitModel { model_id: model_id(), mode: 3, price: 7 }))
            .refused("mode 3"),
        at("allow", 0, |lab| {
            let accounts = vec![address(1), address(2), address(3)];
            ready(lab, &AllowAccounts { model_id: model_id(), accounts, allowed: true })
        }),
        at("retire", 0, |lab| ready(lab, &RetireModel { model_id: model_id() })),
        at("no such operation", 0, |_| vec![0x7f, 0xc0]).refused("knows no operation 0x7f"),
    ]
}

fn money() -> Vec<Case> {
    let at = |name, actor, set_up| Case::at(name, system::MODELS, actor, set_up);
    vec![
        at("deposit", 1, |lab| ready(lab, &DepositCredits { account: address(2) })).value(90),
        at("withdraw", 1, |lab| {
            with_credits(lab);
            WithdrawCredits { amount: 60 }.input().to_vec()
        }),
        at("withdraw too much", 1, |lab| {
            with_credits(lab);
            WithdrawCredits { amount: 101 }.input().to_vec()
        })
        .refused("has 100 wei of credits"),
        at("stake", 1, |lab| ready(lab, &StakeOnModel { model_id: model_id() })).value(12),
        at("stake nothing", 1, |lab| ready(lab, &StakeOnModel { model_id: model_id() })).refused("no value came along"),
        at("unstake", 1, |lab| {
            let model_id = lab.ready_model();
            models(lab, 1, 12, &StakeOnModel { model_id });
            UnstakeFromModel { model_id, amount: 5 }.input().to_vec()
        }),
        at("collect", 1, |lab| {
            let model_id = lab.ready_model();
            models(lab, 1, 12, &StakeOnModel { model_id });
            models(lab, 1, 0, &UnstakeFromModel { model_id, amount: 5 });
            lab.skip_to(lab.header.number + UNSTAKE_BLOCKS + 1);
            CollectStake { model_id }.input().to_vec()
        }),
        at("collect too early", 1, |lab| {
            let model_id = lab.ready_model();
            models(lab, 1, 12, &StakeOnModel { model_id });
            models(lab, 1, 0, &UnstakeFromModel { model_id, amount: 5 });
            CollectStake { model_id }.input().to_vec()
        })
        .refused("is released at block"),
    ]
}

fn requests() -> Vec<Case> {
    let at = |name, actor, set_up| Case::at(name, system::INFERENCE, actor, set_up);
    vec![
        at("answer", 2, |lab| {
            let request_id = bonded(lab);
            AnswerRequest { request_id, output: vec![1; 8].into() }.input().to_vec()
        })
        .value(1_200),
        at("answer below the bond", 2, |lab| {
            let request_id = bonded(lab);
            AnswerRequest { request_id, output: vec![1; 8].into() }.input().to_vec()
        })
        .value(999)
        .refused("the bond is 999"),
        at("challenge a wrong answer", 3, |lab| challenge(answered(lab, Some(1)))).works(),
        at("challenge a right answer", 3, |lab| challenge(answered(lab, None))).works().refused("is right"),
        at("settle an answer", 3, |lab| {
            let request_id = answered(lab, None);
            lab.skip_to(lab.header.number + ANSWER_CHALLENGE_BLOCKS + 2);
            SettleRequest { request_id }.input().to_vec()
        }),
        at("settle an expired request", 3, |lab| {
            let request_id = bonded(lab);
            lab.skip_to(lab.header.number + 60);
            SettleRequest { request_id }.input().to_vec()
        }),
        at("settle too early", 3, |lab| {
            let request_id = bonded(lab);
            SettleRequest { request_id }.input().to_vec()
        })
        .refused("can be settled after block"),
    ]
}

fn instructions() -> Vec<Case> {
    vec![
        Case::at("tensors", system::TENSOR_OP, 1, |_| addition()).works(),
        Case::at("tensors malformed", system::TENSOR_OP, 1, |_| vec![1; 40]).refused("malformed TENSOR_OP"),
        Case::at("load", system::MODEL_LOAD, 1, |lab| lab.ready_model().to_vec()).works(),
        Case::at("load nothing", system::MODEL_LOAD, 1, |_| vec![1; 32]).refused("is not registered"),
        Case::at("exec", system::MODEL_EXEC, 1, |lab| exec(lab.ready_model(), &INPUT)).works(),
        Case::at("exec for a price", system::MODEL_EXEC, 1, |lab| exec(with_credits(lab), &INPUT)).works(),
        Case::at("exec without credits", system::MODEL_EXEC, 1, |lab| exec(priced(lab), &INPUT))
            .refused("costs 70 wei"),
        Case::at("exec of a long input", system::MODEL_EXEC, 1, |lab| exec(lab.ready_model(), &[0; 9]))
            .refused("the input has 9 bytes"),
        Case::at("exec that the model refuses", system::MODEL_EXEC, 1, |lab| {
            exec(second_model(lab, 9, refusing), &INPUT)
        })
        .works()
        .refused("index 900 is out of range"),
        Case::at("prove", system::ZK_PROVE, 1, |lab| prove(lab.ready_model())).value(50),
        Case::at("prove for nothing", system::ZK_PROVE, 1, |lab| prove(lab.ready_model())).refused("needs a fee"),
        Case::at("status of a proof", system::ZK_PROVE, 1, |lab| proof_request(lab).to_vec()),
        Case::at("verify", system::ZK_VERIFY, 2, |lab| settlement(lab, true)).works(),
        Case::at("verify a wrong proof", system::ZK_VERIFY, 2, |lab| settlement(lab, false))
            .works()
            .refused("does not prove request"),
    ]
}
