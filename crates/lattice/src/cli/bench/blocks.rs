//! `lattice bench blocks`: how many blocks a second a node takes in that it has not made, up to the disk.
//!
//! A network of equal validators with the rules of [`ChainSpec::network`] (slots of 250 ms, a lottery, votes at every
//! checkpoint) is played through first: each producer sees the blocks of others some slots late, so that the DAG has merges.
//! Then a node with an empty store on the disk takes in the same blocks, with certificates made of the votes, in the order in
//! which they came, as fast as it can. Blocks carry no transactions. Measured is all that a node does for a block of a peer:
//! decoding and the checks before the chain, by the node's own pool of threads, the DAG, the committee with votes and
//! certificates, execution and comparison of all commitments, one batch written to the store, the new view.

use super::process;
use crate::{
    cli::{Output, dev::temporary_dir, progress},
    failure::Failure,
    node::checks::{CheckPool, Checks, Keys},
};
use alloy_primitives::Address;
use lattice_chain::{Chain, ChainError, Input, ModelStore, Unchecked};
use lattice_storage::{ArtifactStore, FjallKv, Kv, MemoryKv};
use lattice_types::{
    ChainSpec, CheckedVote, DagBlock, SignedVote, Validator,
    bls::{Domain, SecretKey, vrf_content},
};
use serde::Serialize;
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// Arguments of `lattice bench blocks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Blocks
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    n: u32,
    /// Validators with equal stakes; all vote, and win slots by lot
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200))]
    validators: u32,
    /// Chains that produce, each for its share of the validators
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    views: u32,
    /// Hand in every vote by itself too, as gossip brings them to a node that follows the newest blocks; one that catches up
    /// has their certificates in the blocks
    #[arg(long)]
    votes: bool,
    /// Slots until a block reaches the other chains
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=12))]
    delay: u64,
    /// Times that the blocks are taken in, each by a new node; the median is told
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    blocks: usize,
    votes: usize,
    certificates: usize,
    /// Blocks that chain blocks merge, without their selected parents.
    merged: usize,
    evm_blocks: u64,
    validators: u32,
    /// Runs.
    n: usize,
    /// Median.
    blocks_per_s: f64,
    blocks_per_s_min: f64,
    blocks_per_s_max: f64,
    /// Median of the time that all threads took of the processors; none where the system does not tell.
    cpu_us_per_block: Option<f64>,
    /// Threads of the pool that checks.
    check_threads: usize,
    /// Median of what the chain's thread took of them.
    chain_us_per_block: f64,
    /// Median of what all others took: the checks before the chain, and the engine's own threads.
    check_us_per_block: Option<f64>,
    /// The machine's load average over the last minute, at the end.
    load_average: Option<f64>,
}

/// Any error of the rooms below.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What reaches the measured node, in order.
enum Message {
    Block(Arc<DagBlock>),
    Vote(Box<SignedVote>),
}

/// The network as it was played: messages with the slot in which they come.
struct Play {
    spec: ChainSpec,
    messages: Vec<(u64, Message)>,
    head: alloy_primitives::B256,
    evm_blocks: u64,
}

/// One run of the measured node.
struct Run {
    wall: Duration,
    cpu: Option<Duration>,
    chain: Duration,
    check_threads: usize,
}

/// `lattice bench blocks`.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::new(format!("the blocks cannot be measured: {error}"))
    };
    progress(&format!("playing a network of {} validators for {} blocks", args.validators, args.n));
    let play = play(args).map_err(failed)?;
    let mut runs = Vec::new();
    for at in 1..=args.repeat {
        progress(&format!("run {at} of {}", args.repeat));
        let dir = temporary_dir()?;
        runs.push(take_in(&play, dir.path()).map_err(failed)?);
    }
    let report = report(args, &play, &runs);
    output.print(&report, || line(&report))
}

fn line(report: &Report) -> String {
    format!(
        "{:.0} blocks/s (median of {}, {:.0} to {:.0}): {} blocks, {} of them merged, {} EVM blocks, {} votes, {} certificates\n\
         CPU a block: {:.0} us in the chain's thread{}",
        report.blocks_per_s,
        report.n,
        report.blocks_per_s_min,
        report.blocks_per_s_max,
        report.blocks,
        report.merged,
        report.evm_blocks,
        report.votes,
        report.certificates,
        report.chain_us_per_block,
        report.check_us_per_block.map_or_else(String::new, |check| {
            format!(", {check:.0} us in all others, {} of which check", report.check_threads)
        }),
    )
}

fn report(args: &Args, play: &Play, runs: &[Run]) -> Report {
    let blocks = || {
        play.messages.iter().filter_map(|(_, message)| match message {
            Message::Block(block) => Some(block),
            Message::Vote(_) => None,
        })
    };
    let count = blocks().count();
    let sorted = |value: &dyn Fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let us = |duration: Duration| duration.as_secs_f64() * 1e6 / count as f64;
    let median = |values: Vec<f64>| values[values.len() / 2];
    let rates = sorted(&|run| count as f64 / run.wall.as_secs_f64());
    Report {
        blocks: count,
        votes: play.messages.len() - count,
        certificates: blocks().map(|block| block.body.certificates.len()).sum(),
        merged: count - play.evm_blocks as usize,
        evm_blocks: play.evm_blocks,
        validators: args.validators,
        n: runs.len(),
        blocks_per_s_min: rates[0],
        blocks_per_s_max: rates[rates.len() - 1],
        blocks_per_s: median(rates),
        cpu_us_per_block: runs[0].cpu.map(|_| median(sorted(&|run| us(run.cpu.unwrap_or_default())))),
        check_us_per_block: runs[0].cpu.map(|_| median(sorted(&|run| us(run.cpu.unwrap_or_default() - run.chain)))),
        check_threads: runs[0].check_threads,
        chain_us_per_block: median(sorted(&|run| us(run.chain))),
        load_average: process::load_average(),
    }
}

fn key(validator: u32) -> SecretKey {
    let mut seed = [0xb1; 32];
    seed[..4].copy_from_slice(&validator.to_be_bytes());
    SecretKey::from_seed(&seed)
}

/// Time of a slot.
fn time_ms(spec: &ChainSpec, slot: u64) -> u64 {
    spec.genesis_time_s * 1000 + slot * spec.slot_ms
}

fn open(spec: &ChainSpec, kv: Arc<dyn Kv>, artifacts: &Path) -> Fallible<Chain> {
    let models = Arc::new(ModelStore::new(Arc::new(ArtifactStore::open(artifacts, 1 << 20)?)));
    Ok(Chain::open(spec.clone(), kv, models)?)
}

/// A chain of the played network, and the messages on their way to it.
struct Producer {
    chain: Chain,
    inbox: VecDeque<(u64, Input)>,
}

impl Producer {
    /// Takes in what has come by this slot.
    fn receive(&mut self, spec: &ChainSpec, slot: u64) -> Fallible<()> {
        while self.inbox.front().is_some_and(|(due, _)| *due <= slot) {
            let (_, input) = self.inbox.pop_front().expect("it has one");
            take(&mut self.chain, time_ms(spec, slot), input)?;
        }
        Ok(())
    }
}

/// Hands in a message with what it brings along; votes may come late. Whether there is a new head.
fn take(chain: &mut Chain, now_ms: u64, input: Input) -> Fallible<bool> {
    let (mut waiting, mut is_new) = (vec![input], false);
    while let Some(input) = waiting.pop() {
        match chain.handle(now_ms, input) {
            Ok(effects) => {
                is_new |= !effects.added.is_empty();
                waiting.extend(effects.adopted.into_iter().map(Input::Block));
            }
            Err(ChainError::MissingParents(_) | ChainError::Vote(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(is_new)
}

fn play(args: &Args) -> Fallible<Play> {
    let keys: Vec<SecretKey> = (0..args.validators).map(key).collect();
    let validator = |(index, key): (usize, &SecretKey)| Validator {
        public_key: key.public_key(),
        stake: 1_000,
        reward: Address::left_padding_from(&(index as u64 + 1).to_be_bytes()),
    };
    let spec = ChainSpec::network(keys.iter().enumerate().map(validator).collect());
    let dir = tempfile::tempdir()?;
    let mut producers = Vec::new();
    for _ in 0..args.views {
        let chain = open(&spec, Arc::new(MemoryKv::new()), dir.path())?;
        producers.push(Producer { chain, inbox: VecDeque::new() });
    }
    let (mut messages, mut blocks) = (Vec::new(), 0);
    for slot in 1.. {
        let now = time_ms(&spec, slot);
        for producer in &mut producers {
            producer.receive(&spec, slot)?;
        }
        let mut said: Vec<(usize, Message, Input)> = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let at = index % producers.len();
            let (chain, validator) = (&mut producers[at].chain, index as u32);
            if slot.is_multiple_of(spec.checkpoint_slots)
                && let Some(vote) = chain.vote(now, validator)?
            {
                let vote = CheckedVote::sign(vote, validator, key, spec.chain_id);
                said.push((at, Message::Vote(Box::new(*vote.vote())), Input::Vote(vote)));
            }
            let Some(seal) = chain.seal_key(slot, validator)? else { continue };
            let vrf = key.sign(Domain::Vrf, spec.chain_id, &vrf_content(&seal.epoch_seed, slot));
            if !chain.wins(slot, validator, &vrf)? || blocks == args.n {
                continue;
            }
            let template = chain.handle(now, Input::Slot { slot, proposer: validator, vrf })?.seal;
            let block = template.ok_or("a slot gives a template")?.seal(key, spec.chain_id);
            blocks += 1;
            said.push((at, Message::Block(block.block().clone()), Input::Block(block)));
        }
        for (from, message, input) in said {
            for (at, producer) in producers.iter_mut().enumerate() {
                let again = match &input {
                    Input::Block(block) => Input::Block(block.clone()),
                    Input::Vote(vote) => Input::Vote(*vote),
                    _ => return Err("blocks and votes only".into()),
                };
                if at == from {
                    take(&mut producer.chain, now, again)?;
                } else {
                    producer.inbox.push_back((slot + args.delay, again));
                }
            }
            if args.votes || matches!(message, Message::Block(_)) {
                messages.push((slot, message));
            }
        }
        if blocks == args.n {
            for producer in &mut producers {
                producer.receive(&spec, slot + args.delay)?;
            }
            break;
        }
    }
    let head = producers[0].chain.head().clone();
    Ok(Play { spec, messages, head: head.hash(), evm_blocks: head.header.number })
}

/// A new node takes everything in.
fn take_in(play: &Play, dir: &Path) -> Fallible<Run> {
    let kv: Arc<dyn Kv> = Arc::new(FjallKv::open(dir.join("db"))?);
    let mut chain = open(&play.spec, kv.clone(), &dir.join("artifacts"))?;
    let said = play.messages.iter().map(|(slot, message)| match message {
        Message::Block(block) => (*slot, Unchecked::Block(alloy_rlp::encode(&**block).into())),
        Message::Vote(vote) => (*slot, Unchecked::Vote(**vote)),
    });
    let said: Vec<(u64, Unchecked)> = said.collect();
    let own_cpu = || process::cpu_time(std::process::id());
    let (cpu, started) = (own_cpu(), Instant::now());
    let pool = CheckPool::new()?;
    let check_threads = pool.threads();
    let keys = Arc::new(Keys::new(chain.keyring()?));
    let (sender, checked) = mpsc::sync_channel(pool.batch());
    let deliver = move |slot, outcome| sender.send((slot, outcome)).is_ok();
    let checks = Checks::start(pool, keys.clone(), deliver)?;
    let chain_began = process::thread_cpu_time();
    std::thread::scope(|scope| -> Fallible<()> {
        scope.spawn(move || said.into_iter().all(|(slot, said)| checks.say(slot, said)));
        for (slot, outcome) in checked {
            if take(&mut chain, time_ms(&play.spec, slot), outcome?)? {
                keys.show(chain.keyring()?);
                drop(chain.view()?);
            }
        }
        Ok(())
    })?;
    let (wall, chain_took) = (started.elapsed(), process::thread_cpu_time() - chain_began);
    let cpu = cpu.and_then(|before| Some(own_cpu()? - before));
    if chain.head().hash() != play.head {
        return Err(format!("the node ends at {}, the network at {}", chain.head().hash(), play.head).into());
    }
    Ok(Run { wall, cpu, chain: chain_took, check_threads })
}
