//! GeneralStateTests: one transaction on a state, under every fork that the test names, through our assembly of the
//! EVM, our overlay and our trie. State root, logs and validity must be as the vector says.

use super::{fork, verdict};
use crate::{
    json::{self, Fault},
    report::{Report, Verdict},
};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, TxKind, keccak256};
use lattice_execution::{
    ai::AiHost,
    ethereum::{
        self, AccessList, AccessListItem, BlobExcessGasAndPrice, BlockEnv, EthereumRules, NoModels, SpecId, TxEnv,
    },
    evm::{self, TransactError},
};
use lattice_state::{Account, AccountDiff, State, StateDiff};
use lattice_types::tx::TxSigner;
use rayon::prelude::*;
use serde_json::Value;

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
    let before = match pre_state(&unit["pre"]) {
        Ok(state) => state,
        Err(fault) => return report.note("state", case, Verdict::Failed(fault)),
    };
    let cases: Vec<(&String, usize, &Value)> = post
        .iter()
        .flat_map(|(name, cases)| cases.as_array().into_iter().flatten().enumerate().map(move |(i, c)| (name, i, c)))
        .collect();
    let verdicts: Vec<Verdict> = cases
        .par_iter()
        .map(|(fork_name, _, post)| match fork::by_name(fork_name) {
            Some(fork) => excuse(unit, fork_name, verdict(run_case(unit, fork_name, fork, &before, post))),
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

/// The rules of a fork with the blob schedule that the vector's `config` has for it.
fn rules(unit: &Value, fork_name: &str, fork: SpecId) -> Result<EthereumRules, Fault> {
    let config = &unit["config"];
    let chain_id = match config.get("chainid").or_else(|| config.get("chainId")) {
        Some(id) => json::small(id)?,
        None => 1,
    };
    let rules = EthereumRules::new(fork, chain_id);
    let schedule = &config["blobSchedule"][fork_name];
    match (schedule.get("max"), schedule.get("baseFeeUpdateFraction")) {
        (Some(max), Some(fraction)) => Ok(rules.with_blob_schedule(json::small(max)?, json::small(fraction)?)),
        _ => Ok(rules),
    }
}

fn block_env(env: &Value, rules: &EthereumRules) -> Result<BlockEnv, Fault> {
    let excess = match env.get("currentExcessBlobGas") {
        Some(excess) => json::small(excess)?,
        None => 0,
    };
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

/// A transaction, or why no transaction type can express it: a block that carries it does not decode.
enum Built {
    Tx(Box<TxEnv>),
    Inexpressible(String),
}

/// Unwraps a field's value, or ends with [`Built::Inexpressible`].
macro_rules! fits {
    ($value:expr, $field:expr, $bits:expr) => {
        match json::wide($value)?.and_then(|number| number.try_into().ok()) {
            Some(number) => number,
            None => return Ok(Built::Inexpressible(format!("{} does not fit {} bits", $field, $bits))),
        }
    };
}

fn transaction(tx: &Value, post: &Value) -> Result<Built, Fault> {
    let pick = |field: &str, index: &str| {
        let place = post["indexes"][index].as_u64().unwrap_or(0) as usize;
        tx[field].get(place).ok_or_else(|| format!("transaction.{field} has no entry {place}"))
    };
    let access_list = tx.get("accessLists").map(|_| pick("accessLists", "data")).transpose()?;
    let access_list = access_list.or_else(|| tx.get("accessList")).filter(|list| list.is_array());
    let is_dynamic = tx.get("maxFeePerGas").is_some_and(|fee| !fee.is_null());
    let blob_hashes = tx.get("blobVersionedHashes").filter(|list| list.is_array());
    let authorizations = tx.get("authorizationList").filter(|list| list.is_array());
    let gas_price: u128 = fits!(if is_dynamic { &tx["maxFeePerGas"] } else { &tx["gasPrice"] }, "gas price", 128);
    let to = json::text(&tx["to"]);
    let tx_type = if authorizations.is_some() {
        4
    } else if blob_hashes.is_some() || tx.get("maxFeePerBlobGas").is_some() {
        3
    } else if is_dynamic {
        2
    } else {
        u8::from(access_list.is_some())
    };
    let signed = match authorizations.map(authorization_list).transpose()? {
        Some(Err(reason)) => return Ok(Built::Inexpressible(reason)),
        Some(Ok(list)) => list,
        None => Vec::new(),
    };
    let chain_id: u64 = match tx.get("chainId").filter(|id| !id.is_null()) {
        Some(id) => fits!(id, "chain id", 64),
        None => 1,
    };
    Ok(Built::Tx(Box::new(TxEnv {
        tx_type,
        caller: sender(tx)?,
        gas_limit: fits!(pick("gasLimit", "gas")?, "gas limit", 64),
        gas_price,
        kind: if to.is_empty() { TxKind::Create } else { TxKind::Call(json::address(to)?) },
        value: fits!(pick("value", "value")?, "value", 256),
        data: json::bytes(pick("data", "data")?)?,
        nonce: fits!(&tx["nonce"], "nonce", 64),
        chain_id: Some(chain_id),
        access_list: access_list.map(access_list_of).transpose()?.unwrap_or_default(),
        gas_priority_fee: if is_dynamic { Some(fits!(&tx["maxPriorityFeePerGas"], "priority fee", 128)) } else { None },
        blob_hashes: blob_hashes.map(hashes).transpose()?.unwrap_or_default(),
        max_fee_per_blob_gas: fits!(&tx["maxFeePerBlobGas"], "blob fee", 128),
        authorization_list: ethereum::authorizations(&signed),
    })))
}

fn sender(tx: &Value) -> Result<Address, Fault> {
    if let Some(sender) = tx["sender"].as_str() {
        return json::address(sender);
    }
    let key = B256::from(json::number(&tx["secretKey"])?);
    Ok(TxSigner::new(key).ok_or("neither `sender` nor a usable `secretKey`")?.address())
}

fn hashes(list: &Value) -> Result<Vec<B256>, Fault> {
    list.as_array().into_iter().flatten().map(|hash| json::number(hash).map(B256::from)).collect()
}

fn access_list_of(list: &Value) -> Result<AccessList, Fault> {
    let item = |item: &Value| {
        let storage_keys = hashes(&item["storageKeys"])?;
        Ok(AccessListItem { address: json::address(json::text(&item["address"]))?, storage_keys })
    };
    list.as_array().into_iter().flatten().map(item).collect::<Result<_, Fault>>().map(AccessList)
}

/// An EIP-7702 list; the inner error says which field no encoding can hold.
fn authorization_list(list: &Value) -> Result<Result<Vec<SignedAuthorization>, String>, Fault> {
    let mut signed = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let parity = item.get("yParity").or_else(|| item.get("v")).unwrap_or(&Value::Null);
        let fields = [&item["chainId"], &item["r"], &item["s"]].map(json::wide);
        let [Some(chain_id), Some(r), Some(s)] = fields.into_iter().collect::<Result<Vec<_>, _>>()?[..] else {
            return Ok(Err("an authorization's field does not fit 256 bits".into()));
        };
        let (nonce, parity) = (json::wide(&item["nonce"])?, json::wide(parity)?);
        let nonce = nonce.and_then(|nonce| u64::try_from(nonce).ok());
        let (Some(nonce), Some(parity)) = (nonce, parity.and_then(|parity| u8::try_from(parity).ok())) else {
            return Ok(Err("an authorization's nonce or parity is too large".into()));
        };
        let address = json::address(json::text(&item["address"]))?;
        let authorization = Authorization { chain_id, address, nonce };
        signed.push(SignedAuthorization::new_unchecked(authorization, parity, r, s));
    }
    Ok(Ok(signed))
}

/// Transactions of a unit that [`in_sequence`] runs at most.
const SEQUENCE_MAX: usize = 12;

/// The transactions of a unit's cases one after the other: once on one overlay, once on a state version each. Both must
/// lead to the same root, whatever the vectors expect.
pub(super) fn in_sequence(report: &mut Report, case: &str, unit: &Value) {
    for (fork_name, cases) in unit["post"].as_object().into_iter().flatten() {
        let Some(fork) = fork::by_name(fork_name) else { continue };
        let outcome = sequence(unit, fork_name, fork, cases.as_array().map(Vec::as_slice).unwrap_or_default());
        report.note("sequence", format!("{case} {fork_name}"), verdict(outcome));
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
        let Built::Tx(tx) = transaction(&unit["transaction"], post)? else { continue };
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
    let refused = match transaction(&unit["transaction"], post)? {
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
    let expected = post.get("expectException").filter(|exception| !exception.is_null());
    match (&refused, expected) {
        (Some(reason), None) => return Ok(Verdict::Failed(format!("refused: {reason}"))),
        (None, Some(exception)) => return Ok(Verdict::Failed(format!("ran, expected {exception}"))),
        _ => {}
    }
    let (base, diff) = machine.into_overlay().into_diff();
    let root = base.apply(&diff).root();
    let expected = json::hash(&post["hash"])?;
    if root != expected {
        return Ok(Verdict::Failed(format!("state root {root}, expected {expected}")));
    }
    Ok(super::compare("logs hash", keccak256(alloy_rlp::encode(&logs)), json::hash(&post["logs"])?))
}
