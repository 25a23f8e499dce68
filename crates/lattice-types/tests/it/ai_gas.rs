//! Declarations of AI gas, and what blocks may add up to.

use crate::{ai, signer};
use alloy_consensus::TxEip1559;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{B256, Bytes, U256};
use lattice_types::{
    AiGasSum, ChainSpec, InvalidAiGas, InvalidTx, TxEnvelope, ai_gas,
    spec::DEV_CHAIN_ID,
    system,
    tx::{Inference, InferencePayload, TxAi, check_form},
};

fn ordinary(gas_limit: u64, list: Vec<AccessListItem>) -> TxEnvelope {
    let tx = TxEip1559 { chain_id: DEV_CHAIN_ID, gas_limit, access_list: AccessList(list), ..Default::default() };
    signer(0).sign(tx).into()
}

fn keys(keys: &[U256]) -> AccessListItem {
    AccessListItem { address: system::AI_GAS, storage_keys: keys.iter().map(|key| B256::from(*key)).collect() }
}

fn refusal(tx: &TxEnvelope) -> InvalidAiGas {
    match check_form(tx, &ChainSpec::dev()) {
        Err(InvalidTx::AiGas(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn inference(change: impl FnOnce(&mut TxAi<Inference>)) -> TxEnvelope {
    let payload = InferencePayload { model_id: B256::ZERO, grade: 0, input: Bytes::new(), terms: None };
    let TxEnvelope::Inference(tx) = ai::<Inference>(TxAi::<Inference>::encode_payload(&payload)) else { panic!() };
    let mut tx = tx.into_parts().0;
    change(&mut tx);
    signer(1).sign(tx).into()
}

#[test]
fn an_access_list_declares_by_one_key() {
    let other = AccessListItem { address: system::MODELS, storage_keys: vec![B256::repeat_byte(7); 3] };
    for bound in [0, 1, 2_000_000] {
        let tx = ordinary(3_000_000, vec![other.clone(), ai_gas::declaration(bound)]);
        assert_eq!(tx.ai_gas_limit(), Some(bound));
        assert!(!tx.is_ai());
        check_form(&tx, &ChainSpec::dev()).unwrap();
    }
    assert_eq!(ordinary(3_000_000, vec![other]).ai_gas_limit(), None);
}

#[test]
fn malformed_declarations_are_refused_with_their_rule() {
    let big = U256::from(u64::MAX) + U256::from(1);
    let cases = [
        (vec![keys(&[])], InvalidAiGas::Keys(0)),
        (vec![keys(&[U256::from(1), U256::from(2)])], InvalidAiGas::Keys(2)),
        (vec![keys(&[U256::from(1)]), keys(&[U256::from(1)])], InvalidAiGas::Twice),
        (vec![keys(&[big])], InvalidAiGas::Number(big)),
        (
            vec![ai_gas::declaration(3_000_001)],
            InvalidAiGas::AboveGasLimit { declared: 3_000_001, gas_limit: 3_000_000 },
        ),
    ];
    for (list, expected) in cases {
        assert_eq!(refusal(&ordinary(3_000_000, list)), expected);
    }
    let over = ordinary(40_000_000, vec![ai_gas::declaration(30_000_001)]);
    assert_eq!(refusal(&over), InvalidAiGas::AboveLane { declared: 30_000_001, max: 30_000_000 });
}

#[test]
fn ai_transactions_declare_by_their_field_only() {
    check_form(&inference(|_| {}), &ChainSpec::dev()).unwrap();
    let both = inference(|tx| tx.access_list = AccessList(vec![ai_gas::declaration(1)]));
    assert_eq!(refusal(&both), InvalidAiGas::InAiTransaction);
    let over = inference(|tx| tx.ai_gas_limit = tx.gas_limit + 1);
    assert_eq!(refusal(&over), InvalidAiGas::AboveGasLimit { declared: 5_000_001, gas_limit: 5_000_000 });
}

#[test]
fn a_sum_counts_bounds_and_the_pool_at_most() {
    let spec = ChainSpec::dev();
    let sum = |txs: &[TxEnvelope]| txs.iter().fold(AiGasSum::default(), |sum, tx| sum.with(tx, &spec));
    let plain = |gas| ordinary(gas, vec![]);
    assert_eq!(sum(&[plain(21_000), plain(20_000)]).total(), 0, "a transfer has no gas for a model");
    assert_eq!(sum(&[plain(21_100), plain(10_000_000)]).total(), 100 + 500_000);
    assert_eq!(sum(&vec![plain(10_000_000); 50]).total(), 3_000_000, "never more than the pool");
    let whole = ordinary(31_000_000, vec![ai_gas::declaration(30_000_000)]);
    assert!(sum(std::slice::from_ref(&whole)).fits(&spec), "one transaction may take the whole lane");
    assert!(sum(&[whole.clone(), plain(21_000)]).fits(&spec), "and transfers beside it");
    assert!(!sum(&[whole, plain(21_001)]).fits(&spec));
    let zero = ordinary(10_000_000, vec![ai_gas::declaration(0)]);
    assert_eq!(sum(&[zero]).total(), 0, "who declares nothing to do draws nothing");
}
