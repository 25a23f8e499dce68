//! TransactionTests: bytes of a transaction, and for every fork its hash, sender and intrinsic gas, or that it is
//! invalid.
//!
//! The bytes go through alloy's envelope, which knows blob transactions; for all other types our own decoder must say
//! the same. What a fork allows is checked here: Lattice itself has one fork.

use super::{fork, verdict};
use crate::{
    json::{self, Fault},
    report::{Report, Verdict},
};
use alloy_consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::{Typed2718, eip2718::Decodable2718};
use alloy_primitives::{Address, B256, U256};
use lattice_execution::ethereum::{EthereumRules, SpecId};
use lattice_types::{InvalidTx, decode_transaction};
use serde_json::Value;

/// Chain id of all vectors.
const CHAIN_ID: u64 = 1;
/// EIP-3860's MAX_INITCODE_SIZE.
const INITCODE_BYTES_MAX: usize = 49_152;
/// First byte of a blob's versioned hash (EIP-4844).
const KZG_VERSION: u8 = 1;
/// Half of secp256k1's order: the highest s that EIP-2 allows.
pub(super) const S_MAX: U256 =
    alloy_primitives::uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);
/// What alloy's decoder says of an integer that is wider than its field; the fees have 128 bits, in geth 256.
const WIDE_FEE: &str = "overflow";

/// What is right about a valid transaction.
struct Valid {
    hash: B256,
    sender: Address,
    intrinsic_gas: u64,
}

/// Runs all forks of a test.
pub(super) fn run(report: &mut Report, case: &str, test: &Value) {
    let bytes = match json::bytes(test.get("txbytes").unwrap_or(&test["rlp"])) {
        Ok(bytes) => bytes,
        Err(fault) => return report.note("transaction", case, Verdict::Failed(fault)),
    };
    let decoded = decode(&bytes);
    if let Some(cause) = disagreement(&bytes, &decoded) {
        report.note("transaction", case, Verdict::Failed(cause));
    }
    for (fork_name, expected) in test["result"].as_object().into_iter().flatten() {
        let outcome = match fork::by_name(fork_name) {
            None => Verdict::Skipped(format!("fork {fork_name} is not one of Frontier to Osaka")),
            Some(fork) => {
                let valid = decoded.as_ref().map_err(Clone::clone).and_then(|tx| judge(tx, fork));
                match verdict(compare(valid, expected)) {
                    Verdict::Failed(_) if decoded.as_ref().is_err_and(|error| error == WIDE_FEE) => {
                        Verdict::Skipped("a fee above 2^128 wei a gas, which no account can pay, is refused".into())
                    }
                    verdict => verdict,
                }
            }
        };
        report.note("transaction", format!("{case} {fork_name}"), outcome);
    }
}

fn decode(bytes: &[u8]) -> Result<TxEnvelope, String> {
    let mut rest = bytes;
    let tx = TxEnvelope::decode_2718(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(tx) } else { Err(format!("{} bytes follow", rest.len())) }
}

/// Where Lattice's decoder and the harness's do not agree.
fn disagreement(bytes: &[u8], decoded: &Result<TxEnvelope, String>) -> Option<String> {
    match (decode_transaction(bytes), decoded) {
        (Ok(ours), Ok(theirs)) if ours.hash() == theirs.tx_hash() => None,
        (Ok(ours), _) => Some(format!("decode_transaction reads transaction {}", ours.hash())),
        (Err(InvalidTx::Blob | InvalidTx::TooLarge { .. }), _) | (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(format!("decode_transaction refuses it: {error}")),
    }
}

/// Whether a fork allows a transaction.
fn judge(tx: &TxEnvelope, fork: SpecId) -> Result<Valid, String> {
    let since = match tx.ty() {
        0 => SpecId::FRONTIER,
        1 => SpecId::BERLIN,
        2 => SpecId::LONDON,
        3 => SpecId::CANCUN,
        _ => SpecId::PRAGUE,
    };
    let rules = EthereumRules::new(fork, CHAIN_ID);
    let refuse = |is_wrong: bool, reason: &str| if is_wrong { Err(reason.to_owned()) } else { Ok(()) };
    refuse(fork < since, "the type is not of this fork")?;
    match tx.chain_id() {
        Some(id) => {
            refuse(id != CHAIN_ID, "wrong chain id")?;
            refuse(tx.ty() == 0 && fork < SpecId::SPURIOUS_DRAGON, "replay protection before EIP-155")?;
        }
        None => refuse(tx.ty() != 0, "no chain id")?,
    }
    let signature = tx.signature();
    refuse(fork >= SpecId::HOMESTEAD && signature.s() > S_MAX, "s in the upper half (EIP-2)")?;
    refuse(tx.nonce() == u64::MAX, "the nonce has no next (EIP-2681)")?;
    let initcode_max = if fork >= SpecId::SHANGHAI { INITCODE_BYTES_MAX } else { usize::MAX };
    refuse(tx.is_create() && tx.input().len() > initcode_max, "initcode is too long (EIP-3860)")?;
    let priority = tx.max_priority_fee_per_gas().unwrap_or(0);
    refuse(priority > tx.max_fee_per_gas(), "the priority fee exceeds the fee")?;
    let cost = U256::from(tx.gas_limit()).checked_mul(U256::from(tx.max_fee_per_gas()));
    refuse(cost.is_none(), "gas limit times price overflows")?;
    refuse(tx.gas_limit() > rules.tx_gas_limit_max(), "the gas limit is above EIP-7825's cap")?;
    if let Some(hashes) = tx.blob_versioned_hashes() {
        refuse(hashes.is_empty(), "no blobs")?;
        refuse(hashes.len() as u64 > rules.blobs_per_tx_max, "too many blobs")?;
        refuse(hashes.iter().any(|hash| hash[0] != KZG_VERSION), "a blob hash of an unknown version")?;
    }
    refuse(tx.authorization_list().is_some_and(<[_]>::is_empty), "no authorizations (EIP-7702)")?;
    let list = tx.access_list();
    let (accounts, slots) = list.map_or((0, 0), |list| (list.len(), list.storage_keys_count()));
    let authorizations = tx.authorization_list().map_or(0, <[_]>::len) as u64;
    let [intrinsic_gas, floor] =
        rules.initial_gas(tx.input(), tx.is_create(), accounts as u64, slots as u64, authorizations);
    refuse(tx.gas_limit() < intrinsic_gas.max(floor), "the gas limit is below the intrinsic gas")?;
    // Frontier takes the upper half of s too.
    let sender = if fork >= SpecId::HOMESTEAD { tx.recover_signer() } else { tx.recover_signer_unchecked() };
    let sender = sender.map_err(|error| error.to_string())?;
    Ok(Valid { hash: *tx.tx_hash(), sender, intrinsic_gas })
}

fn compare(got: Result<Valid, String>, expected: &Value) -> Result<Verdict, Fault> {
    let exception = expected.get("exception").filter(|exception| !exception.is_null());
    let is_valid = exception.is_none() && expected.get("hash").is_some();
    Ok(match (got, is_valid) {
        (Err(_), false) => Verdict::Passed,
        (Err(reason), true) => Verdict::Failed(format!("refused: {reason}")),
        (Ok(_), false) => Verdict::Failed(format!("accepted, expected {expected}")),
        (Ok(valid), true) => {
            let (hash, sender) = (json::hash(&expected["hash"])?, json::address(json::text(&expected["sender"]))?);
            let gas = expected.get("intrinsicGas").map(json::small).transpose()?;
            if valid.hash != hash {
                Verdict::Failed(format!("hash {}, expected {hash}", valid.hash))
            } else if valid.sender != sender {
                Verdict::Failed(format!("sender {}, expected {sender}", valid.sender))
            } else if gas.is_some_and(|gas| gas != valid.intrinsic_gas) {
                Verdict::Failed(format!("intrinsic gas {}, expected {}", valid.intrinsic_gas, expected["intrinsicGas"]))
            } else {
                Verdict::Passed
            }
        }
    })
}
