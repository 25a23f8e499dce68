//! Lanes share a block, groups share a lane, and full lanes give up their cheapest.
#![allow(clippy::unwrap_used)]

use super::{lane::LIMITS, *};
use alloy_consensus::{Signed, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Signature, keccak256};
use lattice_types::{
    Cid, TxEnvelope, limits,
    tx::{
        AiKind, Inference, InferencePayload, ModelDeploy, ModelDeployPayload, Training, TrainingCheckpoint,
        TrainingPayload, TxAi,
    },
};
use proptest::prelude::*;

fn sender(number: u64) -> Address {
    Address::from_word(B256::from(alloy_primitives::U256::from(number + 1)))
}

fn model(number: u8) -> B256 {
    B256::repeat_byte(number)
}

fn ai<K: AiKind>(nonce: u64, tip: u128, gas: u64, payload: &K::Payload) -> TxEnvelope
where
    TxEnvelope: From<Signed<TxAi<K>>>,
{
    let tx = TxAi::<K> {
        nonce,
        max_fee_per_gas: 1 << 60,
        max_priority_fee_per_gas: tip,
        gas_limit: gas,
        ai_gas_limit: gas / 2,
        payload: TxAi::<K>::encode_payload(payload),
        ..TxAi::default()
    };
    Signed::new_unhashed(tx, Signature::test_signature()).into()
}

fn inference(of: u8, nonce: u64, tip: u128, gas: u64) -> TxEnvelope {
    let payload = InferencePayload { model_id: model(of), grade: 0, input: Bytes::from(vec![of; 40]), terms: None };
    ai::<Inference>(nonce, tip, gas, &payload)
}

fn deploy(of: u8, nonce: u64, tip: u128, gas: u64) -> TxEnvelope {
    let payload = ModelDeployPayload {
        model_id: model(of),
        artifact: Cid::raw(&[of]),
        artifact_bytes: 1,
        gas: 1,
        input_bytes: 1,
        output_bytes: 1,
        name: "m".into(),
        commitments: None,
    };
    ai::<ModelDeploy>(nonce, tip, gas, &payload)
}

fn standard(nonce: u64, tip: u128, gas: u64) -> TxEnvelope {
    let tx = TxEip1559 {
        nonce,
        max_fee_per_gas: 1 << 60,
        max_priority_fee_per_gas: tip,
        gas_limit: gas,
        ..TxEip1559::default()
    };
    Signed::new_unhashed(tx, Signature::test_signature()).into()
}

/// The transaction as if that sender had signed it: it has a hash of its own.
fn by(from: u64, tx: TxEnvelope) -> RecoveredTx {
    fn rehash<T>(signed: Signed<T>, from: u64) -> Signed<T>
    where
        T: alloy_consensus::transaction::RlpEcdsaEncodableTx,
    {
        let (tx, signature, hash) = signed.into_parts();
        Signed::new_unchecked(tx, signature, keccak256([hash.as_slice(), &from.to_be_bytes()].concat()))
    }
    let tx = match tx {
        TxEnvelope::Eip1559(signed) => rehash(signed, from).into(),
        TxEnvelope::ModelDeploy(signed) => rehash(signed, from).into(),
        TxEnvelope::Inference(signed) => rehash(signed, from).into(),
        other => other,
    };
    RecoveredTx::new_unchecked(tx, sender(from))
}

fn pool(txs: impl IntoIterator<Item = (u64, TxEnvelope)>) -> Pool {
    let mut pool = Pool::new();
    for (from, tx) in txs {
        pool.put(by(from, tx), 0).unwrap();
    }
    pool
}

/// What a block takes, in order.
fn block(pool: &Pool, spec: &ChainSpec, slot: u64) -> Vec<Arc<RecoveredTx>> {
    let state = State::empty();
    let mut ready = pool.ready(&state, Draw { spec, base_fee: 0, slot });
    let (mut gas, mut bytes, mut ai_gas) = (0, 0, lattice_types::AiGasSum::default());
    let mut taken = Vec::new();
    while let Some(tx) = ready.pop() {
        let sum = ai_gas.with(tx.inner(), spec);
        let length = tx.inner().encode_2718_len();
        if gas + tx.gas_limit() > spec.gas_limit || bytes + length > limits::BLOCK_TX_BYTES_MAX || !sum.fits(spec) {
            continue;
        }
        (gas, bytes, ai_gas) = (gas + tx.gas_limit(), bytes + length, sum);
        ready.accept(tx);
        taken.push(tx.clone());
    }
    taken
}

fn models_of(block: &[Arc<RecoveredTx>]) -> Vec<u8> {
    block.iter().map(|tx| lane::Place::of(tx.inner()).group[0]).collect()
}

#[test]
fn inferences_of_one_model_stand_together() {
    // Six senders ask for two models in turn, with tips that would mix them.
    let pool = pool((0..6).map(|i| (i, inference(1 + (i % 2) as u8, 0, 100 - u128::from(i), 50_000))));
    assert_eq!(models_of(&block(&pool, &ChainSpec::dev(), 1)), [1, 1, 1, 2, 2, 2]);
}

#[test]
fn a_job_s_steps_go_in_order_whatever_they_pay() {
    let checkpoint = |step, tip| {
        let payload = TrainingPayload::Checkpoint(TrainingCheckpoint {
            job_id: model(1),
            step,
            state_hash: model(2),
            artifact: Cid::raw(b"checkpoint"),
            trace: None,
        });
        ai::<Training>(0, tip, 100_000, &payload)
    };
    let complete = ai::<Training>(0, 1_000, 100_000, &TrainingPayload::Claim(model(1)));
    let pool = pool([(0, checkpoint(30, 500)), (1, complete), (2, checkpoint(10, 1)), (3, checkpoint(20, 5))]);
    let order: Vec<_> = block(&pool, &ChainSpec::dev(), 1).iter().map(|tx| tx.signer()).collect();
    assert_eq!(order, [2, 3, 0, 1].map(sender));
}

#[test]
fn a_group_does_not_hold_up_a_tip_twice_as_high() {
    let low = (0..3).map(|i| (i, inference(1, 0, 10, 50_000)));
    // Sender 9 asks for model 1 at a high tip first, so group 1 begins; then its tips are too low beside 50.
    let others = [(9, inference(1, 0, 100, 50_000)), (10, inference(2, 0, 50, 50_000))];
    let pool = pool(low.chain(others));
    assert_eq!(models_of(&block(&pool, &ChainSpec::dev(), 1)), [1, 2, 1, 1, 1]);
}

#[test]
fn a_group_ends_its_turn_when_others_wait() {
    let turn = ready::GROUP_TURN;
    let many = (0..2 * turn).map(|i| (i, inference(1, 0, 100, 30_000)));
    let pool = pool(many.chain([(1_000, inference(2, 0, 1, 30_000))]));
    let order = models_of(&block(&pool, &ChainSpec::dev(), 1));
    assert_eq!(order.iter().position(|model| *model == 2), Some(turn as usize));
    assert_eq!(order.len() as u64, 2 * turn + 1);
}

#[test]
fn parallel_slots_draw_other_senders_first_when_there_are_other_producers() {
    let spec = ChainSpec::dev();
    let txs = || (0..40).map(|i| (i, standard(0, 1_000 - u128::from(i), 21_000)));
    let alone = block(&pool(txs()), &spec, 3);
    assert!(alone.is_sorted_by_key(|tx| std::cmp::Reverse(tx.max_priority_fee_per_gas())), "one producer: tips only");
    let validator = spec.validators[0].clone();
    let two = ChainSpec { validators: vec![validator.clone(), validator], ..spec };
    for slot in 0..4 {
        let order = block(&pool(txs()), &two, slot);
        assert_eq!(order.len(), 40, "nobody is left out of a block with room");
        let preferred = |tx: &Arc<RecoveredTx>| u64::from(keccak256(tx.signer())[31] % 4) == slot;
        assert!(order.is_sorted_by_key(|tx| !preferred(tx)), "slot {slot}");
        assert!(preferred(&order[0]));
    }
}

#[test]
fn a_full_lane_gives_up_its_cheapest_last_transaction() {
    let max = LIMITS[Lane::Inference as usize].transactions_max as u64;
    // Sender 0 has two: the first pays least of all, but only the last one of a sender may go.
    let first = [(0, inference(1, 0, 1, 50_000)), (0, inference(1, 1, 7, 50_000))];
    let mut pool = pool(first.into_iter().chain((1..max - 1).map(|i| (i, inference(1, 0, 10, 50_000)))));
    let newcomer = |tip| by(max, inference(2, 0, tip, 50_000));
    let refused = pool.put(newcomer(7), 0).unwrap_err();
    assert_eq!(refused, AdmissionError::Underpriced { lane: "inference", min: 7 });
    assert!(refused.to_string().starts_with("transaction underpriced"), "geth's words");
    pool.put(newcomer(8), 0).unwrap();
    assert_eq!(pool.index.lanes(), [0, 0, 0, max as usize]);
    assert_eq!(pool.index.pending_nonce(&sender(0)), Some(1), "its second went");
    // One behind a gap goes before any that is executable, whatever it pays.
    pool.evict_last(sender(5));
    pool.put(by(max + 1, inference(2, 4, 1_000, 50_000)), 0).unwrap();
    pool.put(by(max + 2, inference(2, 0, 2, 50_000)), 0).unwrap();
    assert_eq!(pool.index.pending_nonce(&sender(max + 1)), None);
    // Other lanes have room of their own.
    pool.put(by(0, standard(1, 0, 21_000)), 0).unwrap();
}

#[test]
fn a_sender_has_its_own_bound_in_each_lane() {
    let max = LIMITS[Lane::Models as usize].sender_transactions_max;
    let mut pool = pool((0..max as u64).map(|nonce| (0, deploy(1, nonce, 5, 400_000))));
    let refused = pool.put(by(0, deploy(1, max as u64, 5, 400_000)), 0).unwrap_err();
    assert_eq!(refused, AdmissionError::SenderFull { lane: "models", max });
    pool.put(by(0, standard(max as u64, 5, 21_000)), 0).unwrap();
    // An update supersedes at the same nonce only, and pays for it.
    assert_eq!(pool.put(by(0, deploy(1, 3, 5, 400_000)), 0), Err(AdmissionError::ReplacementUnderpriced));
    assert_eq!(pool.index.lanes(), [1, max, 0, 0]);
}

/// One sender's run of transactions of one kind.
#[derive(Debug, Clone)]
struct Run {
    kind: usize,
    count: u64,
    tip: u128,
    gas: u64,
}

fn run() -> impl Strategy<Value = Run> {
    (0..4usize, 1..40u64, 0..1_000u128, 21_000..2_000_000u64).prop_map(|(kind, count, tip, gas)| Run {
        kind,
        count,
        tip,
        gas,
    })
}

fn transactions(runs: &[Run]) -> Vec<(u64, TxEnvelope)> {
    let make = |run: &Run, nonce| match run.kind {
        0 => standard(nonce, run.tip, run.gas),
        1 => deploy(1, nonce, run.tip, run.gas),
        2 => inference(1, nonce, run.tip, run.gas),
        _ => inference(2, nonce, run.tip, run.gas),
    };
    let all = runs.iter().enumerate();
    all.flat_map(|(from, run)| (0..run.count).map(move |nonce| (from as u64, make(run, nonce)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_lane_starves_another(runs in prop::collection::vec(run(), 1..30), slot: u64) {
        let spec = ChainSpec::dev();
        let txs = transactions(&runs);
        let pool = pool(txs.clone());
        let taken = block(&pool, &spec, slot);
        // Nonces stay in order and nothing is taken twice.
        let mut next = BTreeMap::<Address, u64>::new();
        for tx in &taken {
            let nonce = next.entry(tx.signer()).or_default();
            prop_assert_eq!(tx.nonce(), *nonce);
            *nonce += 1;
        }
        // A lane that has work left has its fair share, but for one transaction's worth.
        let draw = Draw { spec: &spec, base_fee: 0, slot };
        let share = |tx: &RecoveredTx| draw.share(tx);
        let all: Vec<RecoveredTx> = txs.into_iter().map(|(from, tx)| by(from, tx)).collect();
        let most = all.iter().map(share).max().unwrap_or(0);
        for lane in Lane::ALL {
            let of = |tx: &RecoveredTx| Lane::of(tx.inner()) == lane;
            let waiting = all.iter().filter(|tx| of(tx)).count();
            let served: Vec<_> = taken.iter().filter(|tx| of(tx)).collect();
            let got: u128 = served.iter().map(|tx| share(tx)).sum();
            prop_assert!(served.len() == waiting || got + most >= (1u128 << 32) / 4, "{lane:?} got {got}");
        }
    }

    #[test]
    fn counts_agree_with_the_content(
        acts in prop::collection::vec((0..6u64, 0..5u64, 0..4usize, 1..500u128, 0..8u8), 1..120)
    ) {
        let mut pool = Pool::new();
        for (from, nonce, kind, tip, act) in acts {
            if act == 0 {
                pool.evict_last(sender(from));
                continue;
            }
            let run = Run { kind, count: 1, tip, gas: 50_000 };
            let tx = match run.kind {
                0 => standard(nonce, tip, run.gas),
                1 => deploy(1, nonce, tip, run.gas),
                kind => inference(kind as u8, nonce, tip, run.gas),
            };
            let _maybe_underpriced = pool.put(by(from, tx), 0);
        }
        let mut lanes = [(0, 0, 0); 4];
        for queue in pool.senders.values() {
            prop_assert!(!queue.is_empty());
            for waiting in (0..5).filter_map(|nonce| queue.get(nonce)) {
                let lane = &mut lanes[waiting.place.lane as usize];
                (lane.0, lane.1) = (lane.0 + 1, lane.1 + waiting.bytes);
                lane.2 += usize::from(queue.last() == Some(waiting.tx.nonce()));
            }
            let run = (0..5).take_while(|nonce| queue.get(*nonce).is_some()).count();
            prop_assert_eq!(queue.next(), run as u64);
        }
        prop_assert_eq!(Lane::ALL.map(|lane| pool.held.of(lane)), lanes);
        prop_assert_eq!(pool.index.lanes(), lanes.map(|lane| lane.0));
    }
}
