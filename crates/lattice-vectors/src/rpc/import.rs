//! Importing a linear chain: every block under Ethereum's header rules, through our executor. Seals of proof of work and
//! the difficulty formula are not checked: test chains are made without mining.

use super::genesis::{self, BlockRules, Schedule};
use alloy_consensus::{Block, Eip658Value, Header, Receipt, proofs, transaction::SignerRecoverable};
use alloy_eips::{eip2718::Typed2718, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_primitives::{Address, B256, Bytes, Log, U256, address};
use alloy_rlp::{BufMut, Decodable, Encodable};
use lattice_chain::LinearBlock;
use lattice_execution::{
    ai::AiHost,
    ethereum::{self, BlobExcessGasAndPrice, BlockEnv, NoModels, SpecId},
    evm::{self, LatticeEvm, TransactError},
};
use lattice_state::State;
use lattice_types::{EvmBlock, TxEnvelope, TxReceipt};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Contracts of EIP-7002 and EIP-7251, with the types of their requests (EIP-7685).
const REQUEST_CONTRACTS: [(u8, Address); 2] = [
    (1, address!("0x00000961Ef480Eb55e80D19ad83579A64c007002")),
    (2, address!("0x0000BBdDc7CE488642fb579F8B00f3a590007251")),
];
/// EIP-7685's type of deposits (EIP-6110).
const DEPOSIT_REQUEST: u8 = 0;
/// Wei in an ether and in a gwei.
const ETHER: u64 = 1_000_000_000_000_000_000;
const GWEI: u64 = 1_000_000_000;

/// An imported chain, its genesis first.
pub(super) struct Chain {
    pub(super) chain_id: u64,
    pub(super) blocks: Vec<LinearBlock>,
    /// See [`EthereumFacts`](lattice_chain::EthereumFacts).
    pub(super) receipt_roots: BTreeMap<B256, B256>,
    pub(super) blob_gas: BTreeMap<u64, (u128, u64)>,
}

/// Imports a chain file on a genesis.
///
/// # Errors
/// Says which block breaks which rule.
pub(super) fn import(genesis: &Value, mut bytes: &[u8]) -> Result<Chain, String> {
    let schedule = Schedule::new(genesis)?;
    let (header, state) = genesis::block(genesis, &schedule)?;
    let mut hashes = vec![header.hash_slow()];
    let mut chain = Chain {
        chain_id: schedule.chain_id,
        blocks: vec![LinearBlock { block: evm_block(header), transactions: Vec::new(), state }],
        receipt_roots: BTreeMap::new(),
        blob_gas: BTreeMap::new(),
    };
    while !bytes.is_empty() {
        let place = chain.blocks.len();
        let block = Block::<TxEnvelope>::decode(&mut bytes).map_err(|error| format!("block {place}: {error}"))?;
        if block.header.number == 0 {
            continue;
        }
        let at = |error: String| format!("block {place}: {error}");
        let parent = chain.blocks.last().ok_or("a chain has its genesis")?;
        let rules = schedule.at(block.header.number, block.header.timestamp, block.header.difficulty.is_zero());
        check_header(&block, &parent.block.header, &hashes, &rules).map_err(at)?;
        let import = Import { rules, block: &block, hashes: &hashes, deposits: schedule.deposit_contract };
        let (linear, roots) = import.run(parent.state.clone()).map_err(at)?;
        if let (Some(params), Some(excess)) = (rules.blobs, block.header.excess_blob_gas) {
            let gas = (params.calc_blob_fee(excess), params.max_blob_gas_per_block());
            chain.blob_gas.insert(block.header.number, gas);
        }
        chain.receipt_roots.extend(roots);
        hashes.push(block.header.hash_slow());
        chain.blocks.push(linear);
    }
    let head = chain.blocks.last().map(|block| block.block.header.clone()).unwrap_or_default();
    if let Some(params) = schedule.at(head.number + 1, head.timestamp + 1, head.difficulty.is_zero()).blobs {
        let excess = head.next_block_excess_blob_gas(params).unwrap_or(0);
        chain.blob_gas.insert(head.number + 1, (params.calc_blob_fee(excess), params.max_blob_gas_per_block()));
    }
    Ok(chain)
}

/// A block without DAG: `View::of_linear_chain` fills in the rest.
fn evm_block(header: Header) -> EvmBlock {
    EvmBlock {
        header,
        dag_hash: B256::ZERO,
        executed: Vec::new(),
        transactions: Vec::new(),
        receipts: Vec::new(),
        withdrawals: Vec::new().into(),
        skipped: Vec::new(),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, header: T) -> Result<(), String> {
    if got == header { Ok(()) } else { Err(format!("{what} {got:?}, the header has {header:?}")) }
}

/// The rules that need no execution.
fn check_header(block: &Block<TxEnvelope>, parent: &Header, hashes: &[B256], rules: &BlockRules) -> Result<(), String> {
    let Block { header, body } = block;
    same("parent", hashes.last().copied().unwrap_or_default(), header.parent_hash)?;
    same("number", parent.number + 1, header.number)?;
    same("later than its parent", header.timestamp > parent.timestamp, true)?;
    same("base fee", genesis::base_fee(parent, rules), header.base_fee_per_gas)?;
    let is_first_of_london = rules.is(SpecId::LONDON) && parent.base_fee_per_gas.is_none();
    let gas_limit = if is_first_of_london { parent.gas_limit * 2 } else { parent.gas_limit };
    same("gas limit near its parent's", header.gas_limit.abs_diff(gas_limit) < gas_limit / 1_024, true)?;
    same("ommers", proofs::calculate_ommers_root(&body.ommers), header.ommers_hash)?;
    let root = proofs::calculate_transaction_root(&body.transactions);
    same("transactions root", root, header.transactions_root)?;
    let withdrawals = body.withdrawals.as_ref().map(|list| proofs::calculate_withdrawals_root(list));
    same("withdrawals root", withdrawals, header.withdrawals_root)?;
    same("withdrawals", rules.is(SpecId::SHANGHAI), header.withdrawals_root.is_some())?;
    let used: u64 = body.transactions.iter().filter_map(alloy_consensus::Transaction::blob_gas_used).sum();
    same("blob gas used", rules.blobs.map(|_| used), header.blob_gas_used)?;
    let excess = rules.blobs.map(|params| parent.next_block_excess_blob_gas(params).unwrap_or(0));
    same("excess blob gas", excess, header.excess_blob_gas)?;
    same("blob gas within its limit", rules.blobs.is_none_or(|blobs| used <= blobs.max_blob_gas_per_block()), true)
}

/// One block in execution.
struct Import<'a> {
    rules: BlockRules,
    block: &'a Block<TxEnvelope>,
    hashes: &'a [B256],
    deposits: Option<Address>,
}

impl Import<'_> {
    /// Runs it; gives the block, and the state roots of its receipts before Byzantium.
    fn run(&self, mut state: State) -> Result<(LinearBlock, BTreeMap<B256, B256>), String> {
        let header = &self.block.header;
        if let Some(root) = header.parent_beacon_block_root {
            state = self.step(state, |machine| self.call(machine, BEACON_ROOTS_ADDRESS, root))?.1;
        }
        if self.rules.is(SpecId::PRAGUE) {
            state = self.step(state, |machine| self.call(machine, HISTORY_STORAGE_ADDRESS, header.parent_hash))?.1;
        }
        let mut linear = LinearBlock { block: evm_block(header.clone()), transactions: Vec::new(), state };
        let mut roots = BTreeMap::new();
        let mut encoded = Vec::new();
        let mut gas_used = 0;
        for (index, tx) in self.block.body.transactions.iter().enumerate() {
            let sender = tx.recover_signer().map_err(|error| format!("transaction {index}: {error}"))?;
            let ran = self.step(linear.state.clone(), |machine| transact(machine, tx, sender, &self.rules));
            let ((success, gas, logs), after) = ran.map_err(|error| format!("transaction {index}: {error}"))?;
            gas_used += gas;
            linear.state = after;
            let root = (!self.rules.is(SpecId::BYZANTIUM)).then(|| linear.state.root());
            roots.extend(root.map(|root| (*tx.hash(), root)));
            let receipt = TxReceipt { tx_type: tx.ty(), success, cumulative_gas_used: gas_used, logs };
            encoded.push(encode(&receipt, root));
            linear.transactions.push((tx.clone(), sender));
            linear.block.receipts.push(receipt);
        }
        let receipts = &linear.block.receipts;
        same("requests hash", self.requests_hash(&mut linear.state, receipts)?, header.requests_hash)?;
        linear.state = self
            .step(linear.state.clone(), |machine| {
                self.pay(machine);
                Ok(())
            })?
            .1;
        same("gas used", gas_used, header.gas_used)?;
        let root = proofs::ordered_trie_root_with_encoder(&encoded, |receipt: &Vec<u8>, out| out.put_slice(receipt));
        same("receipts root", root, header.receipts_root)?;
        let mut bloom = alloy_primitives::Bloom::ZERO;
        receipts.iter().for_each(|receipt| bloom |= receipt.bloom());
        same("bloom", bloom, header.logs_bloom)?;
        same("state root", linear.state.root(), header.state_root)?;
        linear.block.withdrawals = self.block.body.withdrawals.clone().unwrap_or_default();
        Ok((linear, roots))
    }

    /// Runs a part of the block on a state; gives the state after it.
    fn step<T>(
        &self,
        state: State,
        part: impl FnOnce(&mut LatticeEvm<'_>) -> Result<T, String>,
    ) -> Result<(T, State), String> {
        let hash = |number: u64| self.hashes.get(usize::try_from(number).ok()?).copied();
        let overlay = self.rules.evm.overlay(state, &hash);
        let mut machine = self.rules.evm.machine(self.env(), overlay, AiHost::new(&NoModels));
        let done = part(&mut machine)?;
        let (base, diff) = machine.into_overlay().into_diff();
        Ok((done, base.apply(&diff)))
    }

    fn env(&self) -> BlockEnv {
        let header = &self.block.header;
        let fraction = self.rules.evm.blob_fee_fraction;
        BlockEnv {
            prevrandao: self.rules.is(SpecId::MERGE).then_some(header.mix_hash),
            blob_excess_gas_and_price: header.excess_blob_gas.map(|gas| BlobExcessGasAndPrice::new(gas, fraction)),
            ..evm::block_env(header)
        }
    }

    fn call(&self, machine: &mut LatticeEvm<'_>, contract: Address, data: B256) -> Result<(), String> {
        evm::system_call(machine, contract, data).map_err(|error| error.to_string())
    }

    /// Rewards of proof of work with those for uncles, and withdrawals.
    fn pay(&self, machine: &mut LatticeEvm<'_>) {
        let Block { header, body } = self.block;
        let overlay = &mut machine.ctx.journaled_state.database;
        if !self.rules.is(SpecId::MERGE) {
            let ether = if self.rules.is(SpecId::PETERSBURG) {
                2
            } else if self.rules.is(SpecId::BYZANTIUM) {
                3
            } else {
                5
            };
            let reward = U256::from(ETHER) * U256::from(ether);
            let for_uncles = reward / U256::from(32) * U256::from(body.ommers.len());
            overlay.credit(header.beneficiary, reward + for_uncles);
            for uncle in &body.ommers {
                let eighths = (uncle.number + 8).saturating_sub(header.number);
                overlay.credit(uncle.beneficiary, reward * U256::from(eighths) / U256::from(8));
            }
        }
        for withdrawal in body.withdrawals.iter().flat_map(|list| list.iter()) {
            overlay.credit(withdrawal.address, U256::from(withdrawal.amount) * U256::from(GWEI));
        }
    }

    /// EIP-7685; `None` before Prague.
    fn requests_hash(&self, state: &mut State, receipts: &[TxReceipt]) -> Result<Option<B256>, String> {
        if !self.rules.is(SpecId::PRAGUE) {
            return Ok(None);
        }
        let mut requests = vec![(DEPOSIT_REQUEST, self.deposits(receipts)?)];
        for (kind, contract) in REQUEST_CONTRACTS {
            let (output, after) = self.step(state.clone(), |machine| {
                let result = ethereum::system_call_output(machine, contract, Bytes::new());
                let result = result.map_err(|error| error.to_string())?;
                Ok(result.output().cloned().unwrap_or_default())
            })?;
            *state = after;
            requests.push((kind, output.to_vec()));
        }
        let mut sum = Sha256::new();
        for (kind, data) in requests.into_iter().filter(|(_, data)| !data.is_empty()) {
            sum.update(Sha256::new().chain_update([kind]).chain_update(data).finalize());
        }
        Ok(Some(B256::from_slice(&sum.finalize())))
    }

    /// EIP-6110: the five fields of each deposit event, joined.
    fn deposits(&self, receipts: &[TxReceipt]) -> Result<Vec<u8>, String> {
        let mut joined = Vec::new();
        let Some(contract) = self.deposits else { return Ok(joined) };
        let logs = receipts.iter().flat_map(|receipt| &receipt.logs).filter(|log| log.address == contract);
        for log in logs {
            let data = &log.data.data;
            let word = |at: usize| -> Option<usize> {
                U256::from_be_slice(data.get(at..at.checked_add(32)?)?).try_into().ok()
            };
            for field in 0..5 {
                let bytes = word(field * 32).and_then(|at| data.get(at + 32..(at + 32).checked_add(word(at)?)?));
                joined.extend_from_slice(bytes.ok_or("a deposit event is malformed (EIP-6110)")?);
            }
        }
        Ok(joined)
    }
}

/// Success, gas used and logs of a transaction.
fn transact(
    machine: &mut LatticeEvm<'_>,
    tx: &TxEnvelope,
    sender: Address,
    rules: &BlockRules,
) -> Result<(bool, u64, Vec<Log>), String> {
    match evm::transact(machine, ethereum::tx_env(tx, sender), rules.evm.tx_gas_limit_max(), u64::MAX) {
        Ok((result, changes)) => {
            machine.ctx.journaled_state.database.commit(changes);
            let (success, gas) = (result.is_success(), result.tx_gas_used());
            Ok((success, gas, if success { result.into_logs() } else { Vec::new() }))
        }
        Err(TransactError::Invalid(invalid)) => Err(invalid.to_string()),
        Err(TransactError::Stopped(error)) => Err(error.to_string()),
    }
}

/// EIP-2718 bytes of a receipt; with a state root before Byzantium.
fn encode(receipt: &TxReceipt, root: Option<B256>) -> Vec<u8> {
    let mut out = Vec::new();
    if receipt.tx_type != 0 {
        out.put_u8(receipt.tx_type);
    }
    let status = root.map_or(Eip658Value::Eip658(receipt.success), Eip658Value::PostState);
    let cumulative_gas_used = receipt.cumulative_gas_used;
    alloy_consensus::TxReceipt::into_with_bloom(Receipt { status, cumulative_gas_used, logs: receipt.logs.clone() })
        .encode(&mut out);
    out
}
