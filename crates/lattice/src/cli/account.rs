//! `lattice account`: what an account has beside its balance: models, reputation, compute credits, quality stake.

use super::{
    NodeArgs, Output,
    chain::fields_text,
    model::line_of,
    send::parse_address,
    signing::{SignArgs, operate, print_done, wei},
};
use crate::{amount, client::decode, failure::Failure};
use alloy_primitives::{Address, B256, U256};
use clap::Subcommand;
use lattice_types::{
    system,
    tx::operation::{CollectStake, DepositCredits, StakeOnModel, UnstakeFromModel, WithdrawCredits},
};
use serde_json::{Value, json};

/// Arguments of `lattice account`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// Show this account: balance, nonce, models, reputation, compute credits, stake
    #[arg(value_parser = parse_address, required = true)]
    address: Option<Address>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn LAT into compute credits, which pay for runs of models with a price
    Deposit(DepositArgs),
    /// Turn compute credits back into LAT
    Withdraw(WithdrawArgs),
    /// Stake LAT on a model's quality
    Stake(StakeArgs),
    /// Begin to take stake off a model; it can be collected 28,800 blocks later
    Unstake(StakeArgs),
    /// Collect stake whose delay is over
    Collect(CollectArgs),
}

#[derive(Debug, clap::Args)]
struct DepositArgs {
    /// How much: 1.5 (LAT), 20gwei, 7wei
    #[arg(value_parser = amount::parse)]
    amount: U256,
    /// Whose credits [default: the signer's]
    #[arg(long = "for", value_name = "ADDRESS", value_parser = parse_address)]
    account: Option<Address>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct WithdrawArgs {
    /// How much: 1.5 (LAT), 20gwei, 7wei
    #[arg(value_parser = amount::parse)]
    amount: U256,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct StakeArgs {
    /// The id of any version of the model
    model: B256,
    /// How much: 1.5 (LAT), 20gwei, 7wei
    #[arg(value_parser = amount::parse)]
    amount: U256,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct CollectArgs {
    /// The id of any version of the model
    model: B256,
    #[command(flatten)]
    sign: SignArgs,
}

/// `lattice account`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match (args.command, args.address) {
        (Some(Command::Deposit(args)), _) => deposit(&args, output),
        (Some(Command::Withdraw(args)), _) => withdraw(&args, output),
        (Some(Command::Stake(args)), _) => stake(&args, output),
        (Some(Command::Unstake(args)), _) => unstake(&args, output),
        (Some(Command::Collect(args)), _) => collect(&args, output),
        (None, Some(address)) => show(&args.node, address, output),
        (None, None) => Err(Failure::usage("name an ADDRESS or a command; see `lattice account --help`")),
    }
}

fn show(node: &NodeArgs, address: Address, output: Output) -> Result<(), Failure> {
    let client = node.client()?;
    let mut facts = client.call("lattice_getAccount", json!([address]))?;
    for (field, method) in [("balance", "eth_getBalance"), ("nonce", "eth_getTransactionCount")] {
        facts[field] = client.call(method, json!([address, "latest"]))?;
    }
    let lat = |value: &Value| -> Result<String, Failure> {
        let wei: U256 = decode("lattice_getAccount", value.clone())?;
        Ok(format!("{} LAT", amount::to_lat(wei)))
    };
    let mut shown = facts.clone();
    for field in ["balance", "credits", "stake"] {
        shown[field] = json!(lat(&facts[field])?);
    }
    output.print(&facts, || fields_text(&shown, "account"))
}

fn deposit(args: &DepositArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|_, wallet| {
        let account = args.account.unwrap_or_else(|| wallet.address());
        let receipt = operate(wallet, system::MODELS, &DepositCredits { account }, args.amount)?;
        let facts = json!({ "account": account, "amount": args.amount.to_string() });
        let text = format!("{account} has {} LAT more of compute credits", amount::to_lat(args.amount));
        print_done(output, &receipt, facts, &text)
    })
}

fn withdraw(args: &WithdrawArgs, output: Output) -> Result<(), Failure> {
    let amount = wei(args.amount, "a withdrawal")?;
    args.sign.with(|_, wallet| {
        let receipt = operate(wallet, system::MODELS, &WithdrawCredits { amount }, U256::ZERO)?;
        let facts = json!({ "account": wallet.address(), "amount": amount.to_string() });
        print_done(output, &receipt, facts, &format!("{} LAT withdrawn", amount::to_lat(args.amount)))
    })
}

fn stake(args: &StakeArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.model)?;
        let receipt = operate(wallet, system::MODELS, &StakeOnModel { model_id }, args.amount)?;
        let facts = json!({ "model_id": model_id, "amount": args.amount.to_string() });
        let text = format!("{} LAT staked on model {model_id}", amount::to_lat(args.amount));
        print_done(output, &receipt, facts, &text)
    })
}

fn unstake(args: &StakeArgs, output: Output) -> Result<(), Failure> {
    let amount = wei(args.amount, "stake")?;
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.model)?;
        let receipt = operate(wallet, system::MODELS, &UnstakeFromModel { model_id, amount }, U256::ZERO)?;
        let facts = json!({ "model_id": model_id, "amount": amount.to_string() });
        let text = format!("{} LAT on its way off model {model_id}", amount::to_lat(args.amount));
        print_done(output, &receipt, facts, &text)
    })
}

fn collect(args: &CollectArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.model)?;
        let receipt = operate(wallet, system::MODELS, &CollectStake { model_id }, U256::ZERO)?;
        print_done(output, &receipt, json!({ "model_id": model_id }), "collected")
    })
}
