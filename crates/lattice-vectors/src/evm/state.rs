//! GeneralStateTests: one transaction on a state, under every fork that the test names, through our assembly of the
//! EVM, our overlay and our trie. State root, logs and validity must be as the vector says.

//!
//! A unit is what `ethereum/tests` and `execution-spec-tests` write: `pre`, `env`, `transaction` with lists that
//! `indexes` pick from, and `post` with cases for each fork. A case has the root as `hash`, or all accounts as `state`,
//! or both.

mod tx;

use super::{fork, guarded};
use crate::{
    json::{self, Fault},
    report::{Report, Verdict},
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, keccak256};
use lattice_execution::{
    ai::AiHost,
    ethereum::{BlobExcessGasAndPrice, BlockEnv, EthereumRules, NoModels, SpecId, TxEnv},
    evm::{self, TransactError},
};
use lattice_state::{Account, AccountDiff, State, StateDiff};
use rayon::prelude::*;
use serde_json::Value;
use tx::Built;

/// EIP-7610 refuses creation at an address that has storage but neither code nor nonce, which no chain has; revm asks
/// for code and nonce only, and skips these tests too.
const EIP7610: &str = "EIP-7610: creation where storage lies without code or nonce cannot arise (revm skips it)";
/// See [`fork::by_name`].
const EIP1283: &str = "Constantinople's gas metering of EIP-1283 is not in revm (Petersburg removed it)";

/// Runs all cases of a unit.
pub(super) fn run(report: &mut Report, case: &str, unit: &Value) {
    let Some(post) = unit["post"].as_object() else {
        return report.note("state", case, Verdict::Failed("`post` is not an object".into()));
    };
    let before = match check_fields(unit).and_then(|()| pre_state(&unit["pre"])) {
        Ok(state) => state,
        Err(fault) => return report.note("state", case, Verdict::Failed(fault)),
    };
    let mut cases: Vec<(&String, usize, &Value)> = Vec::new();
    for (fork_name, list) in post {
        // One case may stand alone, without a list.
        let list = list.as_array().map_or(std::slice::from_ref(list), Vec::as_slice);
        cases.extend(list.iter().enumerate().map(|(index, post)| (fork_name, index, post)));
    }
    if cases.is_empty() {
        return report.note("state", case, Verdict::Failed("`post` has no case".into()));
    }
    let verdicts: Vec<Verdict> = cases
        .par_iter()
        .map(|(fork_name, _, post)| match fork::by_name(fork_name) {
            Some(fork) => excuse(unit, fork_name, guarded(|| run_case(unit, fork_name, fork, &before, post))),
            None => Verdict::Skipped(format!("fork {fork_name} is not one of Frontier to Osaka")),
        })
        .collect();
    for ((fork_name, index, post), verdict) in cases.into_iter().zip(verdicts) {
        report.note("state", format!("{case} {fork_name} {index} {}", post["indexes"]), verdict);
    }
}

/// Turns a failure into a skip where the cause is known and cannot arise on a Lattice chain.
fn excuse(unit: &Value, fork_name: &str, verdict: Verdict) -> Verdict {
    let Verdict::Failed(_) = verdict else { return verdict };
    let is_orphan_storage = |account: &Value| {
        let has_storage = account["storage"].as_object().is_some_and(|storage| !storage.is_empty());
        let is_empty = |field: &str| json::number(&account[field]).is_ok_and(|number| number.is_zero());
        has_storage && is_empty("nonce") && matches!(json::text(&account["code"]), "" | "0x")
    };
    if unit["pre"].as_object().is_some_and(|pre| pre.values().any(is_orphan_storage)) {
        return Verdict::Skipped(EIP7610.into());
    }
    if fork_name == "Constantinople" {
        return Verdict::Skipped(EIP1283.into());
    }
    verdict
}

/// Says by name which field a unit lacks: an absent number would read as zero and fail for a reason that is none.
fn check_fields(unit: &Value) -> Result<(), Fault> {
    let fields = [
        ("env", &["currentCoinbase", "currentGasLimit", "currentNumber", "currentTimestamp"][..]),
        ("transaction", &["nonce", "gasLimit", "value", "data"]),
    ];
    for (object, names) in fields {
        for name in names {
            if unit[object].get(name).is_none_or(Value::is_null) {
                return Err(format!("`{object}.{name}` is missing"));
            }
        }
    }
    let tx = &unit["transaction"];
    if tx.get("gasPrice").or_else(|| tx.get("maxFeePerGas")).is_none_or(Value::is_null) {
        return Err("`transaction.gasPrice` and `transaction.maxFeePerGas` are missing".into());
    }
    Ok(())
}

fn pre_state(pre: &Value) -> Result<State, Fault> {
    let mut diff = StateDiff::default();
    for (key, value) in pre.as_object().ok_or("`pre` is not an object")? {
        let (address, account) = account(&mut diff, key, value)?;
        diff.accounts.insert(address, account);
    }
    Ok(State::empty().apply(&diff))
}

/// An account as vectors and genesis files write it; its code goes into `diff`.
pub(crate) fn account(diff: &mut StateDiff, key: &str, value: &Value) -> Result<(Address, AccountDiff), Fault> {
    let code = json::bytes(&value["code"])?;
    let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
    let nonce = json::small(&value["nonce"])?;
    let account = Account { nonce, balance: json::number(&value["balance"])?, code_hash };
    let storage = value["storage"].as_object().into_iter().flatten();
    let storage = storage.map(|(slot, value)| Ok((json::number(&Value::from(slot.as_str()))?, json::number(value)?)));
    let storage = storage.collect::<Result<_, Fault>>()?;
    if !code.is_empty() {
        diff.codes.insert(code_hash, code);
    }
    Ok((json::address(key)?, AccountDiff { account: Some(account), storage_cleared: false, storage }))
}

/// The chain id that the vector's `config` has; 1 without one.
fn chain_id(unit: &Value) -> Result<u64, Fault> {
    let config = &unit["config"];
    match config.get("chainid").or_else(|| config.get("chainId")).filter(|id| !id.is_null()) {
        Some(id) => json::small(id),
        None => Ok(1),
    }
}

/// The rules of a fork with the blob schedule that the vector's `config` has for it, or mainnet's.
fn rules(unit: &Value, fork_name: &str, fork: SpecId) -> Result<EthereumRules, Fault> {
    let rules = EthereumRules::new(fork, chain_id(unit)?);
    let schedules = unit["config"]["blobSchedule"].as_object();
    let own = schedules.and_then(|all| all.iter().find(|(name, _)| name.eq_ignore_ascii_case(fork_name)));
    let Some((_, schedule)) = own else {
        return Ok(match fork::blob_schedule(fork_name) {
            Some((max, fraction)) => rules.with_blob_schedule(max, fraction),
            None => rules,
        });
    };
    let field = |name: &str| {
        let value = schedule.get(name).filter(|value| !value.is_null());
        json::small(value.ok_or_else(|| format!("`config.blobSchedule.{fork_name}.{name}` is missing"))?)
    };
    match field("baseFeeUpdateFraction")? {
        0 => Err(format!("`config.blobSchedule.{fork_name}.baseFeeUpdateFraction` is 0")),
        fraction => Ok(rules.with_blob_schedule(field("max")?, fraction)),
    }
}

/// Whether the sum of EIP-4844's `fake_exponential` can be computed in 128 bits, as the machine does; it does not ask.
fn has_blob_fee(excess: u64, fraction: u64) -> bool {
    let (excess, fraction) = (u128::from(excess), u128::from(fraction));
    let (mut term, mut sum, mut place) = (fraction, 0u128, 1);
    while term > 0 {
        let next = term.checked_mul(excess).map(|product| product / (fraction * place));
        let (Some(next), Some(more)) = (next, sum.checked_add(term)) else { return false };
        (term, sum, place) = (next, more, place + 1);
    }
    true
}

fn block_env(env: &Value, rules: &EthereumRules) -> Result<BlockEnv, Fault> {
    let excess = match env.get("currentExcessBlobGas") {
        Some(excess) => json::small(excess)?,
        None => 0,
    };
    if !has_blob_fee(excess, rules.blob_fee_fraction) {
        return Err(format!("`env.currentExcessBlobGas` is {excess}: its blob fee does not fit 128 bits"));
    }
    let blob = BlobExcessGasAndPrice::new(excess, rules.blob_fee_fraction);
    Ok(BlockEnv {
        number: json::number(&env["currentNumber"])?,
        beneficiary: json::address(json::text(&env["currentCoinbase"]))?,
        timestamp: json::number(&env["currentTimestamp"])?,
        gas_limit: json::number(&env["currentGasLimit"])?.saturating_to(),
        basefee: json::small(&env["currentBaseFee"])?,
        difficulty: json::number(&env["currentDifficulty"])?,
        prevrandao: (rules.fork >= SpecId::MERGE)
            .then(|| json::number(&env["currentRandom"]).map(B256::from))
            .transpose()?,
        blob_excess_gas_and_price: (rules.fork >= SpecId::CANCUN).then_some(blob),
        slot_num: 0,
    })
}

/// Transactions of a unit that [`in_sequence`] runs at most.
const SEQUENCE_MAX: usize = 12;

/// The transactions of a unit's cases one after the other: once on one overlay, once on a state version each. Both must
/// lead to the same root, whatever the vectors expect.
pub(super) fn in_sequence(report: &mut Report, case: &str, unit: &Value) {
    for (fork_name, cases) in unit["post"].as_object().into_iter().flatten() {
        let Some(fork) = fork::by_name(fork_name) else { continue };
        let cases = cases.as_array().map(Vec::as_slice).unwrap_or_default();
        let outcome = guarded(|| sequence(unit, fork_name, fork, cases));
        report.note("sequence", format!("{case} {fork_name}"), outcome);
    }
}

fn sequence(unit: &Value, fork_name: &str, fork: SpecId, cases: &[Value]) -> Result<Verdict, Fault> {
    let rules = rules(unit, fork_name, fork)?;
    let block = block_env(&unit["env"], &rules)?;
    let block_hashes = |number: u64| Some(keccak256(number.to_string()));
    let machine = |state: &State| {
        let overlay = rules.overlay(state.clone(), &block_hashes);
        rules.machine(block.clone(), overlay, AiHost::new(&NoModels))
    };
    let transact = |machine: &mut evm::LatticeEvm<'_>, mut tx: TxEnv| {
        let overlay = &mut machine.ctx.journaled_state.database;
        tx.nonce = overlay.account(tx.caller).unwrap_or_default().nonce;
        match evm::transact(machine, tx, rules.tx_gas_limit_max(), u64::MAX) {
            Ok((_, changes)) => machine.ctx.journaled_state.database.commit(changes),
            Err(TransactError::Invalid(_)) => {}
            Err(TransactError::Stopped(error)) => return Err(error.to_string()),
        }
        Ok(())
    };
    let mut state = pre_state(&unit["pre"])?;
    let mut joined = machine(&state);
    for post in cases.iter().take(SEQUENCE_MAX) {
        let Built::Tx(tx) = tx::build(&unit["transaction"], post, rules.chain_id)? else { continue };
        transact(&mut joined, (*tx).clone())?;
        let mut single = machine(&state);
        transact(&mut single, *tx)?;
        let (base, diff) = single.into_overlay().into_diff();
        state = base.apply(&diff);
    }
    let (base, diff) = joined.into_overlay().into_diff();
    Ok(super::compare("on one overlay the root is", base.apply(&diff).root(), state.root()))
}

/// Runs one case and compares.
fn run_case(unit: &Value, fork_name: &str, fork: SpecId, before: &State, post: &Value) -> Result<Verdict, Fault> {
    let rules = rules(unit, fork_name, fork)?;
    let block_hashes = |number: u64| Some(keccak256(number.to_string()));
    let overlay = rules.overlay(before.clone(), &block_hashes);
    let mut machine = rules.machine(block_env(&unit["env"], &rules)?, overlay, AiHost::new(&NoModels));
    let mut logs = Vec::new();
    let expected =
        post.get("expectException").filter(|exception| !matches!(json::text(exception), "") || exception.is_array());
    let built = match expected {
        Some(_) => tx::unreadable(post, fork).map_or_else(
            || tx::build(&unit["transaction"], post, rules.chain_id),
            |reason| Ok(Built::Inexpressible(reason)),
        ),
        None => tx::build(&unit["transaction"], post, rules.chain_id),
    };
    let refused = match built? {
        Built::Inexpressible(reason) => Some(reason),
        Built::Tx(tx) => match evm::transact(&mut machine, *tx, rules.tx_gas_limit_max(), u64::MAX) {
            Ok((result, changes)) => {
                machine.ctx.journaled_state.database.commit(changes);
                if result.is_success() {
                    logs = result.into_logs();
                }
                None
            }
            Err(TransactError::Invalid(invalid)) => Some(invalid.to_string()),
            Err(TransactError::Stopped(error)) => return Err(error.to_string()),
        },
    };
    match (&refused, expected) {
        (Some(reason), None) => return Ok(Verdict::Failed(format!("refused: {reason}"))),
        (None, Some(exception)) => return Ok(Verdict::Failed(format!("ran, expected {exception}"))),
        _ => {}
    }
    let (base, diff) = machine.into_overlay().into_diff();
    let after = base.apply(&diff);
    if let Some(difference) = difference(&after, post)? {
        return Ok(Verdict::Failed(difference));
    }
    match post.get("logs").filter(|logs| !logs.is_null()) {
        Some(expected) => Ok(super::compare("logs hash", keccak256(alloy_rlp::encode(&logs)), json::hash(expected)?)),
        None => Ok(Verdict::Passed),
    }
}

/// Where the state after a case is not the one expected: the root, and the first account that differs if the case has
/// accounts.
fn difference(after: &State, post: &Value) -> Result<Option<String>, Fault> {
    let root = after.root();
    let accounts = post.get("state").filter(|state| state.is_object());
    let hash = post.get("hash").filter(|hash| !hash.is_null()).map(json::hash).transpose()?;
    let of_accounts = accounts.map(pre_state).transpose()?;
    let Some(expected) = hash.or_else(|| of_accounts.as_ref().map(State::root)) else {
        return Err("the case has neither `hash` nor `state`".into());
    };
    if root == expected {
        return Ok(None);
    }
    let mut text = format!("state root {root}, expected {expected}");
    for (key, account) in accounts.and_then(Value::as_object).into_iter().flatten() {
        if let Some(difference) = account_difference(after, key, account)? {
            text += &format!("; account {key}: {difference}");
            break;
        }
    }
    Ok(Some(text))
}

fn account_difference(after: &State, key: &str, expected: &Value) -> Result<Option<String>, Fault> {
    let mut diff = StateDiff::default();
    let (address, AccountDiff { account, storage, .. }) = account(&mut diff, key, expected)?;
    let (got, expected) = (after.account(&address).unwrap_or_default(), account.unwrap_or_default());
    let fields = [
        ("nonce", got.nonce.to_string(), expected.nonce.to_string()),
        ("balance", got.balance.to_string(), expected.balance.to_string()),
        ("code hash", got.code_hash.to_string(), expected.code_hash.to_string()),
    ];
    let slots = storage.iter().map(|(slot, value)| {
        (format!("slot {slot:#x}"), format!("{:#x}", after.storage(&address, *slot)), format!("{value:#x}"))
    });
    let fields = fields.into_iter().map(|(what, got, expected)| (what.to_owned(), got, expected)).chain(slots);
    Ok(fields
        .into_iter()
        .find(|(_, got, expected)| got != expected)
        .map(|(what, got, expected)| format!("{what} {got}, expected {expected}")))
}
