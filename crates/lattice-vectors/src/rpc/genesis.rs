//! Genesis files as geth writes them: forks by number and time, blob schedules (EIP-7840), balances.

use crate::json::{self, Fault};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header};
use alloy_eips::{eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams};
use alloy_primitives::{Address, B64, B256};
use lattice_execution::ethereum::{EthereumRules, SpecId};
use lattice_state::{State, StateDiff};
use serde_json::Value;

/// Base fee of the first block of London (EIP-1559).
const BASE_FEE_INITIAL: u64 = 1_000_000_000;
/// Forks by block number, oldest first.
const BY_NUMBER: &[(&str, SpecId)] = &[
    ("homesteadBlock", SpecId::HOMESTEAD),
    ("eip150Block", SpecId::TANGERINE),
    ("eip158Block", SpecId::SPURIOUS_DRAGON),
    ("byzantiumBlock", SpecId::BYZANTIUM),
    ("constantinopleBlock", SpecId::PETERSBURG),
    ("istanbulBlock", SpecId::ISTANBUL),
    ("berlinBlock", SpecId::BERLIN),
    ("londonBlock", SpecId::LONDON),
];
/// Forks by time, with the key of their blob schedule, oldest first.
const BY_TIME: &[(&str, &str, SpecId)] = &[
    ("shanghaiTime", "shanghai", SpecId::SHANGHAI),
    ("cancunTime", "cancun", SpecId::CANCUN),
    ("pragueTime", "prague", SpecId::PRAGUE),
    ("osakaTime", "osaka", SpecId::OSAKA),
    ("bpo1Time", "bpo1", SpecId::OSAKA),
    ("bpo2Time", "bpo2", SpecId::OSAKA),
    ("bpo3Time", "bpo3", SpecId::OSAKA),
    ("bpo4Time", "bpo4", SpecId::OSAKA),
    ("bpo5Time", "bpo5", SpecId::OSAKA),
];

/// The `config` of a genesis.
pub(super) struct Schedule {
    pub(super) chain_id: u64,
    pub(super) deposit_contract: Option<Address>,
    by_number: Vec<(u64, SpecId)>,
    by_time: Vec<(u64, SpecId, Option<BlobParams>)>,
}

/// What holds for one block.
#[derive(Clone, Copy)]
pub(super) struct BlockRules {
    pub(super) evm: EthereumRules,
    /// From Cancun on.
    pub(super) blobs: Option<BlobParams>,
}

impl BlockRules {
    pub(super) fn is(&self, fork: SpecId) -> bool {
        self.evm.fork >= fork
    }
}

impl Schedule {
    pub(super) fn new(genesis: &Value) -> Result<Self, Fault> {
        let config = &genesis["config"];
        let at = |key: &str| config.get(key).filter(|at| !at.is_null()).map(json::small).transpose();
        let mut by_number = Vec::new();
        for &(key, fork) in BY_NUMBER {
            by_number.extend(at(key)?.map(|number| (number, fork)));
        }
        let mut by_time = Vec::new();
        for &(key, name, fork) in BY_TIME {
            let Some(time) = at(key)? else { continue };
            by_time.push((time, fork, blob_params(&config["blobSchedule"][name], fork)?));
        }
        let contract = json::address(json::text(&config["depositContractAddress"])).ok();
        Ok(Self {
            chain_id: json::small(&config["chainId"])?,
            deposit_contract: contract.filter(|address| !address.is_zero()),
            by_number,
            by_time,
        })
    }

    /// The rules of a block; `is_pos` when its difficulty is zero (EIP-3675).
    pub(super) fn at(&self, number: u64, time: u64, is_pos: bool) -> BlockRules {
        let mut fork = SpecId::FRONTIER;
        let mut blobs = None;
        for &(_, next) in self.by_number.iter().filter(|(since, _)| *since <= number) {
            fork = fork.max(next);
        }
        if is_pos {
            fork = fork.max(SpecId::MERGE);
            for &(_, next, params) in self.by_time.iter().filter(|(since, ..)| *since <= time) {
                fork = fork.max(next);
                blobs = params.or(blobs);
            }
        }
        let mut evm = EthereumRules::new(fork, self.chain_id);
        if let Some(params) = blobs {
            evm = evm.with_blob_schedule(params.max_blob_count, params.update_fraction as u64);
        }
        BlockRules { evm, blobs }
    }
}

fn blob_params(schedule: &Value, fork: SpecId) -> Result<Option<BlobParams>, Fault> {
    let default = match fork {
        SpecId::CANCUN => BlobParams::cancun(),
        SpecId::PRAGUE => BlobParams::prague(),
        SpecId::OSAKA => BlobParams::osaka(),
        _ => return Ok(None),
    };
    if schedule.is_null() {
        return Ok(Some(default));
    }
    Ok(Some(BlobParams {
        target_blob_count: json::small(&schedule["target"])?,
        max_blob_count: json::small(&schedule["max"])?,
        update_fraction: json::small(&schedule["baseFeeUpdateFraction"])?.into(),
        ..default
    }))
}

/// Header and state of block 0.
pub(super) fn block(genesis: &Value, schedule: &Schedule) -> Result<(Header, State), Fault> {
    let mut diff = StateDiff::default();
    for (key, value) in genesis["alloc"].as_object().into_iter().flatten() {
        let (address, account) = crate::evm::account(&mut diff, key, value)?;
        diff.accounts.insert(address, account);
    }
    let state = State::empty().apply(&diff);
    let number = json::small(&genesis["number"])?;
    let timestamp = json::small(&genesis["timestamp"])?;
    let difficulty = json::number(&genesis["difficulty"])?;
    let rules = schedule.at(number, timestamp, difficulty.is_zero());
    let optional = |key: &str| genesis.get(key).filter(|value| !value.is_null()).map(json::small).transpose();
    let since = |fork: SpecId| rules.is(fork);
    let header = Header {
        parent_hash: B256::ZERO,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: json::address(json::text(&genesis["coinbase"])).unwrap_or_default(),
        state_root: state.root(),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty,
        number,
        gas_limit: json::small(&genesis["gasLimit"])?,
        timestamp,
        extra_data: json::bytes(&genesis["extraData"])?,
        mix_hash: json::number(&genesis["mixHash"])?.into(),
        nonce: B64::from(json::small(&genesis["nonce"])?),
        base_fee_per_gas: match optional("baseFeePerGas")? {
            Some(fee) => Some(fee),
            None => since(SpecId::LONDON).then_some(BASE_FEE_INITIAL),
        },
        withdrawals_root: since(SpecId::SHANGHAI).then_some(EMPTY_ROOT_HASH),
        blob_gas_used: since(SpecId::CANCUN).then_some(optional("blobGasUsed")?.unwrap_or(0)),
        excess_blob_gas: since(SpecId::CANCUN).then_some(optional("excessBlobGas")?.unwrap_or(0)),
        parent_beacon_block_root: since(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: since(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    Ok((header, state))
}

/// The base fee that a block must have after `parent`; `None` before London.
pub(super) fn base_fee(parent: &Header, rules: &BlockRules) -> Option<u64> {
    rules
        .is(SpecId::LONDON)
        .then(|| parent.next_block_base_fee(alloy_eips::eip1559::BaseFeeParams::ethereum()).unwrap_or(BASE_FEE_INITIAL))
}
