//! One table, every door: each AI operation goes through the AI transaction of its class, a plain transaction, a call
//! from ordinary code, a call from a container and, where there is one, the container's instruction. Output, logs, AI
//! gas, the operation's own gas, AI state and balances must be the same.
//!
//! A contract would be another caller than the account that signs, so the account gets the code by delegation
//! (EIP-7702): behind every door the caller is the same.

mod cases;
mod disputed;

use crate::lab::{GWEI, Lab, address, signer, simulate_reason};
use alloy_consensus::TxEip1559;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, keccak256};
use cases::{Case, cases};
use lattice_execution::{
    AiLane, ExecutionError, LanePrice, Outcome,
    asm::assemble,
    ethereum::{EthereumRules, SpecId},
    inference_root, model_root, training_root,
};
use lattice_state::{AccountDiff, StateDiff};
use lattice_types::{
    TxEnvelope, ai_gas, system,
    tx::{Inference, Lora, ModelDeploy, ModelUpdate, Training},
};

/// What every transaction here declares: enough for each case at every price.
const AI_GAS: u64 = 4_000_000;
const GAS_LIMIT: u64 = 8_000_000;
/// Who pays for the outer transaction of a contract's call; no case's actor.
const OUTSIDER: usize = 6;

/// What an operation left behind.
#[derive(Debug, PartialEq)]
struct Effect {
    success: bool,
    output: Bytes,
    logs: Vec<Log>,
    ai_gas: u64,
    /// What the operation itself cost, entry included: without the transaction's or the call's own price.
    gas: u64,
    artifacts: usize,
    roots: [B256; 3],
    balances: [U256; 4],
    work: u64,
}

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AiTransaction,
    Plain,
    /// A bare RLP list where the door takes one, or the type byte in front of it where not.
    OtherForm,
    LegacyCall,
    ContainerCall,
    Instruction,
}

impl Lab {
    /// Puts code at an account by delegation, without a block.
    fn delegate(&mut self, account: Address, code: Bytes) {
        let contract = Address::from_word(keccak256(&code));
        self.put_code(contract, code);
        let delegation = [&[0xef, 0x01, 0x00], contract.as_slice()].concat();
        self.put_code(account, delegation.into());
    }

    fn put_code(&mut self, address: Address, code: Bytes) {
        let mut account = self.state.account(&address).unwrap_or_default();
        account.code_hash = keccak256(&code);
        account.nonce = account.nonce.max(1);
        let mut diff = StateDiff::default();
        diff.codes.insert(account.code_hash, code);
        diff.accounts.insert(address, AccountDiff { account: Some(account), ..AccountDiff::default() });
        self.state = self.state.apply(&diff);
    }

    /// Makes the next block charge this lane price: the last one stood at it with the target's work.
    pub fn set_lane_price(&mut self, price: LanePrice) {
        let account = self.state.account(&system::FEE_VAULT);
        let storage = [(1, price.nanos()), (2, self.spec.ai_gas_target())].map(|(slot, value)| {
            let words: [U256; 2] = [U256::from(slot), U256::from(value)];
            words.into()
        });
        let mut diff = StateDiff::default();
        diff.accounts
            .insert(system::FEE_VAULT, AccountDiff { account, storage: storage.into(), storage_cleared: false });
        self.state = self.state.apply(&diff);
        assert_eq!(AiLane::read(&self.state, &self.spec).price_next, price);
    }
}

/// Runs the body between two reads of GAS; returns the gas before, the flag, the gas after, and the return data.
fn metered(container: bool, skip: usize, body: &str) -> Bytes {
    let prefix = if container { ".container\n" } else { "" };
    assemble(&format!(
        "{prefix}PUSH {skip}\nCALLDATASIZE\nSUB\nPUSH {skip}\nPUSH 0\nCALLDATACOPY\nGAS\n{body}\nGAS\nPUSH 64\nMSTORE\n\
         PUSH 32\nMSTORE\nPUSH 0\nMSTORE\nRETURNDATASIZE\nPUSH 0\nPUSH 96\nRETURNDATACOPY\n\
         PUSH 96\nRETURNDATASIZE\nADD\nPUSH 0\nRETURN"
    ))
    .unwrap()
}

/// Length of the call data without the first 32 bytes.
const REST: &str = "PUSH 32\nCALLDATASIZE\nSUB";
/// CALL of the address in the first word with the rest, all value and all gas.
const CALL_BODY: &str =
    "PUSH 0\nPUSH 0\nPUSH 32\nCALLDATASIZE\nSUB\nPUSH 0\nCALLVALUE\nPUSH 0\nCALLDATALOAD\nGAS\nCALL";
/// What of it is not the operation: eight cheap pushes and a SUB, the call of a warm account, the second GAS.
const CALL_PRICE: u64 = 4 * 2 + 3 + 2 + 3 + 2 + 3 + 2 + 100 + 2;
/// CALL's price for value, less the stipend, which the operation spends.
const VALUE_PRICE: u64 = 9_000 - 2_300;

/// The instruction of a door, its operands, and what of the body is not the operation.
fn instruction(door: Address) -> Option<(String, usize, u64)> {
    // Every body reads its input from memory where the call data lies, from 0 on.
    let nowhere = "PUSH 0\nPUSH 0";
    Some(match door {
        system::TENSOR_OP => (format!("{nowhere}\nCALLDATASIZE\nPUSH 0\nTENSOR_OP"), 0, 4 * 2 + 100 + 2),
        system::MODEL_LOAD => (format!("{nowhere}\nPUSH 0\nMLOAD\nMODEL_LOAD"), 0, 3 * 2 + 3 + 100 + 2),
        system::MODEL_EXEC => {
            let body = format!("{nowhere}\n{REST}\nPUSH 0\nPUSH 0\nCALLDATALOAD\nMODEL_EXEC");
            (body, 32, 2 * 2 + 8 + 2 * 2 + 3 + 100 + 2)
        }
        system::ZK_PROVE => (format!("{nowhere}\nCALLDATASIZE\nPUSH 0\nCALLVALUE\nZK_PROVE"), 0, 5 * 2 + 100 + 2),
        system::ZK_VERIFY => (format!("{nowhere}\nCALLDATASIZE\nPUSH 0\nZK_VERIFY"), 0, 4 * 2 + 100 + 2),
        _ => return None,
    })
}

fn ai_transaction(lab: &mut Lab, case: &Case, payload: &[u8]) -> TxEnvelope {
    let (actor, payload) = (case.actor, payload.to_vec());
    match case.class {
        Some(0x50) => lab.ai_tx_with_value::<ModelDeploy>(actor, payload, GAS_LIMIT, AI_GAS, case.value),
        Some(0x51) => lab.ai_tx_with_value::<ModelUpdate>(actor, payload, GAS_LIMIT, AI_GAS, case.value),
        Some(0x52) => lab.ai_tx_with_value::<Inference>(actor, payload, GAS_LIMIT, AI_GAS, case.value),
        Some(0x53) => lab.ai_tx_with_value::<Training>(actor, payload, GAS_LIMIT, AI_GAS, case.value),
        Some(0x54) => lab.ai_tx_with_value::<Lora>(actor, payload, GAS_LIMIT, AI_GAS, case.value),
        _ => unreachable!("{} has no class", case.name),
    }
}

fn plain(lab: &Lab, from: usize, to: Address, value: u128, input: Bytes) -> TxEnvelope {
    let tx = TxEip1559 {
        chain_id: lab.spec.chain_id,
        nonce: lab.state.account(&address(from)).unwrap_or_default().nonce,
        gas_limit: GAS_LIMIT,
        max_fee_per_gas: 100 * GWEI,
        to: TxKind::Call(to),
        value: U256::from(value),
        access_list: AccessList(vec![ai_gas::declaration(AI_GAS)]),
        input,
        ..TxEip1559::default()
    };
    signer(from).sign(tx).into()
}

/// What a transaction costs before anything runs, without the floor of EIP-7623.
fn initial_gas(tx: &TxEnvelope, input: &[u8]) -> u64 {
    use alloy_consensus::Transaction;
    let declared = tx.access_list().map_or(0, |list| list.len()) as u64;
    EthereumRules::new(SpecId::OSAKA, 1).initial_gas(input, false, declared, declared, 0)[0]
}

/// The case through one way, on a lab of its own; `None` when there is no such way.
fn go(case: &Case, way: Way, price: LanePrice) -> Option<Effect> {
    let mut lab = Lab::new();
    let payload = (case.set_up)(&mut lab);
    lab.set_lane_price(price);
    // The class's byte in front of the payload is what a door without a default needs.
    let behind = |class: u8| Bytes::from([&[class], payload.as_slice()].concat());
    let is_default = matches!(case.class, Some(0x50 | 0x52));
    let input = match case.class {
        Some(class) if is_default == (way == Way::OtherForm) => behind(class),
        _ => payload.clone().into(),
    };
    let value_price = if case.value > 0 { VALUE_PRICE } else { 0 };
    let actor = address(case.actor);
    let (tx, initial, price_of_call) = match way {
        Way::AiTransaction => {
            case.class?;
            let tx = ai_transaction(&mut lab, case, &payload);
            let initial = initial_gas(&tx, &input);
            (tx, initial, None)
        }
        Way::Plain | Way::OtherForm => {
            if way == Way::OtherForm && !is_default {
                return None;
            }
            let tx = plain(&lab, case.actor, case.door, case.value, input.clone());
            let initial = initial_gas(&tx, &input);
            (tx, initial, None)
        }
        Way::LegacyCall | Way::ContainerCall => {
            lab.delegate(actor, metered(way == Way::ContainerCall, 32, CALL_BODY));
            let input = [case.door.into_word().as_slice(), &input].concat();
            (plain(&lab, OUTSIDER, actor, case.value, input.into()), 0, Some(CALL_PRICE + value_price))
        }
        Way::Instruction => {
            let (body, skip, cost) = instruction(case.door)?;
            if case.door == system::MODEL_LOAD && input.len() != 32 {
                return None;
            }
            lab.delegate(actor, metered(true, skip, &body));
            (plain(&lab, OUTSIDER, actor, case.value, input), 0, Some(cost + value_price))
        }
    };
    Some(effect(&mut lab, tx, initial, price_of_call))
}

fn effect(lab: &mut Lab, tx: TxEnvelope, initial: u64, price_of_call: Option<u64>) -> Effect {
    let result: Result<_, ExecutionError> =
        lab.execute(&crate::lab::Block { txs: std::slice::from_ref(&tx), ..Default::default() });
    let (outcomes, executed) = result.unwrap();
    let Outcome::Included { success, gas_used, ai_gas_used, output } = &outcomes[0] else { panic!("{outcomes:?}") };
    let (success, output, gas) = match price_of_call {
        None => (*success, output.clone(), gas_used - initial),
        Some(price) => {
            assert!(success, "the contract itself ends well: {output}");
            let word = |index: usize| U256::from_be_slice(&output[32 * index..][..32]).to::<u64>();
            (word(1) == 1, output.slice(96..), word(0) - word(2) - price)
        }
    };
    let accounts = [system::MODELS, system::TRAINING, system::INFERENCE, system::ZK_PROVE];
    Effect {
        success,
        output,
        logs: executed.evm.receipts[0].logs.clone(),
        ai_gas: *ai_gas_used,
        gas,
        artifacts: executed.new_artifacts.len(),
        roots: [model_root(&lab.state), training_root(&lab.state), inference_root(&lab.state)],
        balances: accounts.map(|account| lab.balance(account)),
        work: AiLane::read(&lab.state, &lab.spec).work,
    }
}

const WAYS: [Way; 5] = [Way::AiTransaction, Way::OtherForm, Way::LegacyCall, Way::ContainerCall, Way::Instruction];

#[test]
fn every_operation_does_the_same_for_the_same_gas_through_every_door() {
    for price in [LanePrice::ONE, LanePrice::from_nanos(2_333_333_333)] {
        for case in cases() {
            let name = case.name;
            let plain = go(&case, Way::Plain, price).unwrap();
            match case.refused {
                None => assert!(plain.success, "{name}: {}", simulate_reason(&plain.output)),
                Some(reason) => {
                    let found = simulate_reason(&plain.output);
                    assert!(!plain.success && found.contains(reason), "{name}: {found:?} should say {reason:?}");
                }
            }
            assert_eq!(plain.ai_gas > 0, case.works, "{name}: AI gas {}", plain.ai_gas);
            let mut ways = 1;
            for way in WAYS {
                let Some(other) = go(&case, way, price) else { continue };
                assert_eq!(other, plain, "{name} through {way:?} at {price:?}");
                ways += 1;
            }
            assert!(ways >= if case.class.is_some() { 4 } else { 3 }, "{name}: {ways} ways");
        }
    }
}

#[test]
fn every_class_and_operation_is_in_the_table() {
    let cases = cases();
    for class in 0x50..=0x54 {
        assert!(cases.iter().any(|case| case.class == Some(class) && case.refused.is_none()), "{class:#x}");
        assert!(cases.iter().any(|case| case.class == Some(class) && case.refused.is_some()), "{class:#x} refused");
    }
    for door in [system::TENSOR_OP, system::MODEL_LOAD, system::MODEL_EXEC, system::ZK_PROVE, system::ZK_VERIFY] {
        assert!(cases.iter().any(|case| case.door == door && case.refused.is_none()), "{door}");
        assert!(cases.iter().any(|case| case.door == door && case.refused.is_some()), "{door} refused");
    }
    for (door, operations) in [(system::MODELS, 1..=10), (system::INFERENCE, 1..=5)] {
        for op in operations {
            let mut lab = Lab::new();
            let has = |case: &&Case| case.class.is_none() && case.door == door && case.refused.is_none();
            let found = cases.iter().filter(has).any(|case| {
                lab = Lab::new();
                (case.set_up)(&mut lab)[0] == op
            });
            assert!(found, "operation {op:#x} of {door}");
        }
    }
}
