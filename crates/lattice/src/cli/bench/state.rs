//! `lattice bench state`: what a state of so many accounts takes, and how that grows.
//!
//! For each number of accounts a store is filled and then opened by a process of its own, as a node that starts opens it:
//! memory that filling has freed would hide what the tries take. There it measures
//! - bytes on disk, the time to open the store with its tries, their first root, the memory of both;
//! - a block of transfers between random accounts: executed, all roots, its layer, its batch in the store;
//! - a version of the state that changes accounts spread over all, and its root, without execution or store.

use super::process;
use crate::{
    cli::{Output, dev::temporary_dir, progress},
    failure::Failure,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use lattice_execution::{BlockContext, BlockExecutor, Occurrence, Outcome, Payee, ethereum::NoModels};
use lattice_state::{Account, AccountDiff, Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, DiskKv, Engine, FjallKv, Kv};
use lattice_types::{ChainSpec, TxEnvelope, spec::GenesisAccount, tx::TxSigner};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Blocks, and versions, of which the median is told.
const ROUNDS: u64 = 15;
/// Senders of a block's transfers, taken in turn.
const SENDERS: u64 = 50;
/// Wei of each account.
const BALANCE: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// Arguments of `lattice bench state`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers of accounts
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 300_000, 1_000_000],
        value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    accounts: Vec<u64>,
    /// Transfers in a block
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=2_857))]
    transfers: u64,
    /// Accounts that a version changes
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    updates: u64,
    /// Measure the store in this directory, which holds the number of accounts given
    #[arg(long, value_name = "DIR", hide = true)]
    opened: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    states: Vec<Measured>,
    /// The machine's load average over the last minute, at the end.
    load_average: Option<f64>,
}

/// What one number of accounts takes.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    accounts: u64,
    disk_bytes: u64,
    /// Of the tries, their roots and the engine's caches; none where the system does not tell.
    memory_bytes: Option<u64>,
    open_ms: f64,
    /// All hashes of the tries.
    root_ms: f64,
    block: Times,
    version: Times,
}

/// Times of something that was done `n` times.
#[derive(Debug, Serialize, Deserialize)]
struct Times {
    /// Transfers of the block, or accounts that the version changes.
    changes: u64,
    n: u64,
    /// Median.
    wall_ms: f64,
    wall_ms_min: f64,
    wall_ms_max: f64,
    /// Mean, all threads; none where the system does not tell.
    cpu_ms: Option<f64>,
}

/// `lattice bench state`.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    if let Some(dir) = &args.opened {
        let measured = measure(dir, args.accounts[0], args).map_err(failed)?;
        return output.print(&measured, || line(&measured));
    }
    let mut states = Vec::new();
    for &accounts in &args.accounts {
        progress(&format!("{accounts} accounts"));
        let dir = temporary_dir()?;
        fill(dir.path(), accounts).map_err(failed)?;
        states.push(in_process_of_its_own(dir.path(), accounts, args)?);
    }
    let report = Report { states, load_average: process::load_average() };
    output.print(&report, || report.states.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn line(measured: &Measured) -> String {
    let Measured { accounts, disk_bytes, open_ms, block, version, .. } = measured;
    let memory = measured.memory_bytes.map_or_else(|| "unknown".into(), |bytes| format!("{} MB", bytes / 1_000_000));
    let times = |times: &Times| {
        let cpu = times.cpu_ms.map_or_else(String::new, |cpu| format!(", {cpu:.1} ms CPU"));
        format!("{:.1} ms (n = {}{cpu})", times.wall_ms, times.n)
    };
    format!(
        "{accounts} accounts: {memory} of memory, {:.1} MB on disk, opened in {open_ms:.0} ms\n  \
         block of {} transfers: {}\n  version of {} changes with its root: {}",
        *disk_bytes as f64 / 1e6,
        block.changes,
        times(block),
        version.changes,
        times(version),
    )
}

fn in_process_of_its_own(dir: &Path, accounts: u64, args: &Args) -> Result<Measured, Failure> {
    let binary = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(binary);
    command.args(["bench", "state", "--json", "--opened"]).arg(dir);
    for (name, value) in [("--accounts", accounts), ("--transfers", args.transfers), ("--updates", args.updates)] {
        command.args([name, &value.to_string()]);
    }
    let ran = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(failed)?;
    serde_json::from_slice(&ran.stdout)
        .map_err(|_| Failure::new(format!("the measuring process failed: {}", ran.status)))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the state cannot be measured: {error}"))
}

/// Any error of the rooms below.
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Writes the store of a new chain with so many accounts beside its own.
fn fill(dir: &Path, accounts: u64) -> Fallible<()> {
    let kv: Arc<dyn Kv> = Engine::Fjall.open(dir)?;
    let mut spec = ChainSpec::dev();
    let account = |address| GenesisAccount { address, balance: BALANCE };
    spec.alloc.extend((0..accounts).map(|index| account(address(index))));
    spec.alloc.extend((0..SENDERS).map(|index| account(signer(index).address())));
    let (_, _, diff) = lattice_execution::genesis(&spec);
    let mut batch = Batch::new();
    Layers::init(kv.clone(), block_hash(0), &diff, Retention::default(), &mut batch)?;
    kv.write(batch)?;
    Ok(kv.sync()?)
}

fn measure(dir: &Path, accounts: u64, args: &Args) -> Fallible<Measured> {
    let before = process::resident_bytes();
    let start = Instant::now();
    let kv = Arc::new(FjallKv::open(dir)?);
    let disk_bytes = kv.disk_bytes()?;
    let mut layers = Layers::open(kv.clone(), Retention::default())?;
    let state = layers.state(&layers.base())?.ok_or("the base has no state")?;
    let open_ms = ms(start.elapsed());
    let start = Instant::now();
    state.root();
    let root_ms = ms(start.elapsed());
    let memory_bytes = process::resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));

    let transfers = blocks_of_transfers(accounts, args.transfers);
    let mut head = (state.clone(), lattice_execution::genesis(&ChainSpec::dev()).0.header);
    let block = times(args.transfers, |round| {
        let number = round + 1;
        let (next, diff, header) = execute(&head.0, &head.1, number, &transfers[round as usize])?;
        let mut batch = Batch::new();
        layers.insert(block_hash(number), block_hash(round), &diff, next.clone(), &mut batch)?;
        kv.write(batch)?;
        head = (next, header);
        Ok(())
    })?;

    let updates = args.updates.min(accounts);
    let diffs: Vec<StateDiff> = (0..ROUNDS).map(|round| spread(accounts, updates, round)).collect();
    let mut version = state;
    let version = times(updates, |round| {
        version = version.apply(&diffs[round as usize]);
        version.root();
        Ok(())
    })?;
    Ok(Measured { accounts, disk_bytes, memory_bytes, open_ms, root_ms, block, version })
}

/// Runs something [`ROUNDS`] times; it is told which.
fn times(changes: u64, mut act: impl FnMut(u64) -> Fallible<()>) -> Fallible<Times> {
    let cpu = || process::cpu_time(std::process::id());
    let before = cpu();
    let mut wall = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        act(round)?;
        wall.push(ms(start.elapsed()));
    }
    let cpu = cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
    wall.sort_by(f64::total_cmp);
    Ok(Times {
        changes,
        n: ROUNDS,
        wall_ms: wall[wall.len() / 2],
        wall_ms_min: wall[0],
        wall_ms_max: wall[wall.len() - 1],
        // The system counts in ticks of 10 ms: only the sum is of use.
        cpu_ms: cpu.map(|cpu| ((cpu.as_secs_f64() * 1e4) / ROUNDS as f64).round() / 10.0),
    })
}

/// Executes a block of transfers on a state.
fn execute(
    state: &State,
    parent: &alloy_consensus::Header,
    number: u64,
    transfers: &[(Address, TxEnvelope)],
) -> Fallible<(State, StateDiff, alloy_consensus::Header)> {
    let spec = ChainSpec::dev();
    let payee = Payee { validator: 0, address: spec.validators[0].reward };
    let ctx = BlockContext {
        spec: &spec,
        parent,
        parent_hash: parent.hash_slow(),
        selected_parent: block_hash(number - 1),
        slot: number,
        prev_randao: block_hash(number),
        dag_blocks: 1,
        block_hashes: &|_| None,
        certificates: &[],
        slashings: &[],
        readiness: &[],
        blue_producers: &[payee],
        carriers: &[(B256::ZERO, 0)],
        inference: &NoModels,
    };
    let mut executor = BlockExecutor::begin(ctx, state)?;
    for (index, (sender, tx)) in transfers.iter().enumerate() {
        let occurrence = Occurrence { tx, sender: *sender, carrier: B256::ZERO, index: index as u32, payee };
        match executor.execute(occurrence)? {
            Outcome::Included { success: true, .. } => {}
            other => return Err(format!("transfer {index} of block {number} was not executed: {other:?}").into()),
        }
    }
    let executed = executor.finish()?;
    Ok((executed.state, executed.diff, executed.evm.header))
}

/// Signed transfers to random accounts, with their senders, for each round.
fn blocks_of_transfers(accounts: u64, count: u64) -> Vec<Vec<(Address, TxEnvelope)>> {
    let signers: Vec<TxSigner> = (0..SENDERS).map(signer).collect();
    let transfer = |number: u64| -> (Address, TxEnvelope) {
        let signer = &signers[(number % SENDERS) as usize];
        let random = keccak256([b"receiver".as_slice(), &number.to_be_bytes()].concat());
        let receiver = U256::from_be_bytes(random.0) % U256::from(accounts);
        let tx = TxEip1559 {
            chain_id: ChainSpec::dev().chain_id,
            nonce: number / SENDERS,
            gas_limit: 21_000,
            max_fee_per_gas: 1_000_000_000_000,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(address(receiver.to())),
            value: U256::ONE,
            ..TxEip1559::default()
        };
        (signer.address(), signer.sign(tx).into())
    };
    (0..ROUNDS).map(|round| (round * count..(round + 1) * count).map(transfer).collect()).collect()
}

/// A diff that changes `count` accounts spread over all.
fn spread(accounts: u64, count: u64, round: u64) -> StateDiff {
    let step = accounts / count;
    let changed = (0..count).map(|index| {
        let account = Account { nonce: round + 1, balance: BALANCE, ..Account::EMPTY };
        let change = AccountDiff { account: Some(account), ..AccountDiff::default() };
        (address(index * step + round % step), change)
    });
    StateDiff { accounts: changed.collect::<BTreeMap<_, _>>(), ..StateDiff::default() }
}

fn address(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn signer(index: u64) -> TxSigner {
    let secret = keccak256(format!("lattice bench state {index}"));
    TxSigner::new(secret).expect("a hash is a key but for odds of 2^-128")
}

fn block_hash(number: u64) -> B256 {
    keccak256([b"block".as_slice(), &number.to_be_bytes()].concat())
}

/// Milliseconds with one decimal.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}
