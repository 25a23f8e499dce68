//! The table's disputes: jobs that can be disputed, and traced requests.

use super::cases::{Case, training};
use crate::{
    disputes::{self, BOND, CHALLENGER, LESSONS, REQUESTER, REWARD, TRAINER},
    traced,
};
use alloy_primitives::B256;
use lattice_execution::ai::TRAINING_CHALLENGE_BLOCKS;
use lattice_types::{
    system,
    tx::{TrainingPayload, operation::Operation},
};

pub fn trained_disputably() -> Vec<Case> {
    vec![
        Case::class("order with a bond", 0x53, REQUESTER, |lab| {
            disputes::base(lab);
            training(&TrainingPayload::Create(LESSONS[0].order()))
        })
        .value(REWARD)
        .works(),
        Case::class("order of what nobody could judge", 0x53, REQUESTER, |lab| {
            disputes::base(lab);
            let mut order = LESSONS[0].order();
            order.seed += 1;
            training(&TrainingPayload::Create(order))
        })
        .value(REWARD)
        .refused("they have to agree"),
        Case::class("checkpoint with its trace", 0x53, TRAINER, |lab| {
            let id = disputes::accepted(lab, &LESSONS[0]);
            training(&LESSONS[0].checkpoint(id, &LESSONS[0].hashes(), 0))
        }),
        Case::class("complete under a bond", 0x53, TRAINER, |lab| {
            let (lesson, hashes) = (&LESSONS[0], LESSONS[0].hashes());
            let id = disputes::accepted(lab, lesson);
            for from in [0, 2] {
                disputes::training(lab, TRAINER, 0, &lesson.checkpoint(id, &hashes, from)).unwrap();
            }
            training(&lesson.completion(id, &hashes, &lesson.result))
        })
        .value(BOND),
        Case::class("challenge a lie", 0x53, CHALLENGER, |lab| {
            let (lesson, mut hashes) = (&LESSONS[1], LESSONS[1].hashes());
            hashes[3] = B256::ZERO;
            let id = disputes::completed(lab, lesson, &hashes, &lesson.result);
            training(&lesson.challenge(id, &lesson.doubt(&hashes, &lesson.result).unwrap()))
        })
        .works(),
        Case::class("challenge the truth", 0x53, CHALLENGER, |lab| {
            let (lesson, hashes) = (&LESSONS[1], LESSONS[1].hashes());
            let id = disputes::completed(lab, lesson, &hashes, &lesson.result);
            training(&lesson.challenge(id, &lesson.open(&hashes, 1)))
        })
        .works()
        .refused("is right there"),
        Case::class("claim with the bond", 0x53, CHALLENGER, |lab| {
            let lesson = &LESSONS[0];
            let id = disputes::completed(lab, lesson, &lesson.hashes(), &lesson.result);
            lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
            training(&TrainingPayload::Claim(id))
        }),
    ]
}

pub fn traced_runs() -> Vec<Case> {
    vec![
        Case::class("ask for a traced run", 0x52, traced::REQUESTER, |lab| {
            traced::model(lab);
            traced::RUN.payload().to_vec()
        })
        .value(traced::FEE)
        .works(),
        Case::at("answer with a trace", system::INFERENCE, traced::PROVIDER, |lab| {
            let id = traced::asked(lab);
            traced::RUN.answer(id, &traced::RUN.trace).input().to_vec()
        })
        .value(traced::BOND),
        Case::at("answer with another input's trace", system::INFERENCE, traced::PROVIDER, |lab| {
            let id = traced::asked(lab);
            let mut answer = traced::RUN.answer(id, &traced::RUN.trace);
            answer.trace[0][0] = B256::ZERO;
            answer.input().to_vec()
        })
        .value(traced::BOND)
        .refused("does not begin with the hash of the input"),
        Case::at("challenge a wrong operator", system::INFERENCE, traced::CHALLENGER, |lab| {
            let told = traced::RUN.lie(3);
            let id = traced::answered(lab, &told);
            traced::challenge(id, &traced::RUN.open(&told, 3)).input().to_vec()
        })
        .works(),
        Case::at("challenge a right operator", system::INFERENCE, traced::CHALLENGER, |lab| {
            let id = traced::answered(lab, &traced::RUN.trace);
            traced::challenge(id, &traced::RUN.open(&traced::RUN.trace, 2)).input().to_vec()
        })
        .works()
        .refused("is right there"),
    ]
}
