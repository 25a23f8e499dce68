//! `lattice stake` and `lattice validator`: becoming a validator, its stake and its rewards, and who else is one.

use super::{
    NodeArgs, Output,
    chain::fields_text,
    send::parse_address,
    signing::{SignArgs, print_done},
};
use crate::{
    amount,
    client::Client,
    failure::Failure,
    stake::{self, Validator, call_data, key_text, word},
    wallet::{Call, Receipt, Wallet, chain_id},
};
use alloy_primitives::{Address, Bytes, U256};
use clap::Subcommand;
use lattice_types::system;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `lattice stake`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a validator key with its first stake; who signs owns the validator
    Register(RegisterArgs),
    /// Add stake to a validator; it belongs to the validator's owner from then on
    Add(AmountArgs),
    /// Begin to take stake out: all of it, or as much as leaves enough for a validator
    Unstake(UnstakeArgs),
    /// Pay stake whose delay is over to the validator's owner
    Withdraw(ValidatorArgs),
    /// Set where a validator's rewards go
    Reward(RewardArgs),
    /// Show a validator and its stake on its way out
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// How much: 1000 (LAT), 20gwei, 7wei
    #[arg(value_parser = amount::parse)]
    amount: U256,
    /// File with the validator's secret key: 32 bytes of key material in hex, as `openssl rand -hex 32` makes them. It is
    /// not the key that signs the transaction
    #[arg(long, value_name = "FILE")]
    validator_key: PathBuf,
    /// Where rewards go [default: the signer]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    reward: Option<Address>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct AmountArgs {
    /// The validator's index
    validator: u32,
    /// How much: 1.5 (LAT), 20gwei, 7wei
    #[arg(value_parser = amount::parse)]
    amount: U256,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct UnstakeArgs {
    /// The validator's index
    validator: u32,
    /// How much: 1.5 (LAT), 20gwei, 7wei [default: all]
    #[arg(value_parser = amount::parse)]
    amount: Option<U256>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ValidatorArgs {
    /// The validator's index
    validator: u32,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct RewardArgs {
    /// The validator's index
    validator: u32,
    /// Where rewards go from now on
    #[arg(value_parser = parse_address)]
    reward: Address,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The validator's index
    validator: u32,
    #[command(flatten)]
    node: NodeArgs,
}

/// Arguments of `lattice validator`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(subcommand)]
    command: ListCommand,
}

#[derive(Debug, Subcommand)]
enum ListCommand {
    /// List all validators ever registered
    List {
        #[command(flatten)]
        node: NodeArgs,
    },
}

/// `lattice stake`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Register(args) => register(&args, output),
        Command::Add(args) => add(&args, output),
        Command::Unstake(args) => unstake(&args, output),
        Command::Withdraw(args) => withdraw(&args, output),
        Command::Reward(args) => reward(&args, output),
        Command::Show(args) => show(&args, output),
    }
}

/// Sends a call of the validators' account; the receipt, and the data of the account's log.
fn send(wallet: &Wallet<'_>, data: Bytes, value: U256) -> Result<(Receipt, Vec<u8>), Failure> {
    let call = Call { to: Some(system::STAKING), value, data, gas: None };
    let receipt = wallet.confirm(wallet.send(&call)?)?;
    let log = receipt.logs.iter().find(|log| log.address == system::STAKING);
    let data = log.map(|log| log.data.to_vec()).unwrap_or_default();
    Ok((receipt, data))
}

/// The word of a log's data, 0 when there is none.
fn number(data: &[u8], index: usize) -> U256 {
    data.chunks_exact(32).nth(index).map(U256::from_be_slice).unwrap_or_default()
}

fn index_word(index: u32) -> alloy_primitives::B256 {
    word(U256::from(index))
}

fn register(args: &RegisterArgs, output: Output) -> Result<(), Failure> {
    let key = stake::read_key(&args.validator_key)?;
    args.sign.with(|client, wallet| {
        let owner = wallet.address();
        let reward = args.reward.unwrap_or(owner);
        let data = stake::register_data(&key, chain_id(client)?, &owner, &reward);
        let (receipt, _) = send(wallet, data, args.amount)?;
        let logged = receipt.logs.iter().find_map(|log| log.topics.get(1).copied());
        let index: u32 = logged.map(|topic| U256::from_be_bytes(topic.0).saturating_to()).unwrap_or_default();
        let validator = stake::validator(client, index)?;
        let text = format!("validator {index} of {owner} with {} LAT", amount::to_lat(validator.stake));
        print_done(output, &receipt, validator.to_json(), &text)
    })
}

fn add(args: &AmountArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let data = call_data("addStake(uint32)", &[index_word(args.validator)]);
        let (receipt, _) = send(wallet, data, args.amount)?;
        let validator = stake::validator(client, args.validator)?;
        let text = format!("validator {} has {} LAT", args.validator, amount::to_lat(validator.stake));
        print_done(output, &receipt, validator.to_json(), &text)
    })
}

fn unstake(args: &UnstakeArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let amount = match args.amount {
            Some(amount) => amount,
            None => stake::validator(client, args.validator)?.stake,
        };
        let data = call_data("unstake(uint32,uint256)", &[index_word(args.validator), word(amount)]);
        let (receipt, logged) = send(wallet, data, U256::ZERO)?;
        let slot: u64 = number(&logged, 1).saturating_to();
        let facts = json!({ "index": args.validator, "amount": amount.to_string(), "release_slot": slot });
        let text = format!("{} LAT can be withdrawn from slot {slot} on", amount::to_lat(amount));
        print_done(output, &receipt, facts, &text)
    })
}

fn withdraw(args: &ValidatorArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let owner = stake::validator(client, args.validator)?.owner;
        let data = call_data("withdraw(uint32)", &[index_word(args.validator)]);
        let (receipt, logged) = send(wallet, data, U256::ZERO)?;
        let amount = number(&logged, 0);
        let facts = json!({ "index": args.validator, "owner": owner, "amount": amount.to_string() });
        print_done(output, &receipt, facts, &format!("{} LAT paid to {owner}", amount::to_lat(amount)))
    })
}

fn reward(args: &RewardArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|_, wallet| {
        let words = [index_word(args.validator), args.reward.into_word()];
        let (receipt, _) = send(wallet, call_data("setReward(uint32,address)", &words), U256::ZERO)?;
        let facts = json!({ "index": args.validator, "reward": args.reward });
        let text = format!("the rewards of validator {} go to {}", args.validator, args.reward);
        print_done(output, &receipt, facts, &text)
    })
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let validator = stake::validator(&client, args.validator)?;
    let entries = stake::unbonding(&client, args.validator)?;
    let withdrawals = |text: fn(U256) -> String| -> Vec<Value> {
        let entry = |(amount, slot): &(U256, u64)| json!({ "amount": text(*amount), "release_slot": slot });
        entries.iter().map(entry).collect()
    };
    let lat = |wei: U256| format!("{} LAT", amount::to_lat(wei));
    let mut facts = validator.to_json();
    facts["withdrawals"] = json!(withdrawals(|wei| wei.to_string()));
    output.print(&facts, || {
        let mut shown = facts.clone();
        shown["stake"] = json!(lat(validator.stake));
        shown["unbonding"] = json!(lat(validator.unbonding));
        shown["withdrawals"] = json!(withdrawals(lat));
        fields_text(&shown, "validator")
    })
}

/// `lattice validator`.
pub fn list(args: ListArgs, output: Output) -> Result<(), Failure> {
    let ListCommand::List { node } = args.command;
    let client: Client = node.client()?;
    let validators = stake::validators(&client, 0..stake::count(&client)?)?;
    let facts: Vec<Value> = validators.iter().map(Validator::to_json).collect();
    output.print(&facts, || table(&validators))
}

fn table(validators: &[Validator]) -> String {
    let row = |validator: &Validator| {
        let state = if validator.slashed { "slashed" } else { "" };
        let (stake, leaving) = (amount::to_lat(validator.stake), amount::to_lat(validator.unbonding));
        let line = format!(
            "{:>5}  {:>14}  {:>14}  {}  {}  {state}",
            validator.index,
            stake,
            leaving,
            validator.owner,
            key_text(&validator.public_key)
        );
        line.trim_end().to_owned()
    };
    let head = format!("{:>5}  {:>14}  {:>14}  {:42}  key", "index", "stake LAT", "unbonding LAT", "owner");
    std::iter::once(head).chain(validators.iter().map(row)).collect::<Vec<_>>().join("\n")
}
