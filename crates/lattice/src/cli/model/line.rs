//! What belongs to a whole line of versions: its versions, who may run it, its owner, its end.

use super::list_line;
use crate::{
    amount,
    cli::{
        NodeArgs, Output,
        send::parse_address,
        signing::{SignArgs, operate, print_done, wei},
    },
    client::{Client, quantity},
    failure::Failure,
    registry,
};
use alloy_primitives::{Address, B256, U256};
use lattice_types::{
    system,
    tx::operation::{AcceptModel, AllowAccounts, OfferModel, PermitModel, RetireModel},
};
use serde_json::{Value, json};

/// Modes of `PermitModel`.
const PUBLIC: u8 = 0;
const ALLOW_LIST: u8 = 1;
const PRICE: u8 = 2;

/// Arguments of `lattice model versions`.
#[derive(Debug, clap::Args)]
pub struct VersionsArgs {
    /// The id of any version
    id: B256,
    #[command(flatten)]
    node: NodeArgs,
}

/// Arguments of `lattice model permissions`.
#[derive(Debug, clap::Args)]
pub struct PermissionsArgs {
    /// The id of any version
    id: B256,
    /// Let everybody run it
    #[arg(long, conflicts_with = "allow_list")]
    public: bool,
    /// Let only the owner and the accounts on the allow list run it
    #[arg(long)]
    allow_list: bool,
    /// Put these accounts on the allow list
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = parse_address)]
    allow: Vec<Address>,
    /// Take these accounts off the allow list
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = parse_address)]
    deny: Vec<Address>,
    #[command(flatten)]
    sign: SignArgs,
}

/// Arguments of `lattice model price`.
#[derive(Debug, clap::Args)]
pub struct PriceArgs {
    /// The id of any version
    id: B256,
    /// What a run costs, out of the caller's compute credits: 0.01 (LAT), 20gwei, 7wei; 0 makes the model public
    #[arg(value_parser = amount::parse)]
    price: U256,
    #[command(flatten)]
    sign: SignArgs,
}

/// Arguments of `lattice model transfer`.
#[derive(Debug, clap::Args)]
pub struct TransferArgs {
    /// The id of any version
    id: B256,
    /// The next owner, who has to accept
    #[arg(value_parser = parse_address, required_unless_present = "cancel", conflicts_with = "cancel")]
    to: Option<Address>,
    /// Take the offer back
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    sign: SignArgs,
}

/// Arguments of `lattice model accept` and `lattice model retire`.
#[derive(Debug, clap::Args)]
pub struct LineArgs {
    /// The id of any version
    id: B256,
    #[command(flatten)]
    sign: SignArgs,
}

/// The line that a version belongs to, and the version's record.
pub fn line_of(client: &Client, id: &B256) -> Result<(B256, Value), Failure> {
    let model = registry::model(client, id)?.ok_or_else(|| registry::unknown_model(client, id))?;
    let line = serde_json::from_value(model["line"]["modelId"].clone())
        .map_err(|error| Failure::new(format!("lattice_getModel names no line: {error}")))?;
    Ok((line, model))
}

/// The number of a version within its line.
pub fn version_of(client: &Client, id: &B256) -> Result<u64, Failure> {
    let model = registry::model(client, id)?.ok_or_else(|| registry::unknown_model(client, id))?;
    quantity(&model["version"]).ok_or_else(|| Failure::new("lattice_getModel does not tell the version"))
}

/// `lattice model versions`.
pub fn versions(args: &VersionsArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let found = client.call("lattice_getModelVersions", json!([args.id]))?;
    if found.is_null() {
        return Err(registry::unknown_model(&client, &args.id));
    }
    output.print(&found, || {
        let versions = found["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ever = quantity(&found["total"]).unwrap_or(versions.len() as u64);
        let mut lines = vec![format!("line {}, {ever} versions ever", found["modelId"].as_str().unwrap_or("?"))];
        lines.extend(versions.iter().map(version_line));
        lines.join("\n")
    })
}

fn version_line(version: &Value) -> String {
    let number = |value: &Value| quantity(value).unwrap_or(0);
    let follows = match number(&version["parentVersion"]) {
        0 => String::new(),
        parent => format!(", follows {parent}"),
    };
    let delta = match version["delta"]["artifact"].as_str() {
        Some(cid) => format!(", delta {cid} from {}", number(&version["delta"]["baseVersion"])),
        None => String::new(),
    };
    format!("{:>4}  {}{follows}{delta}", number(&version["version"]), list_line(version))
}

/// `lattice model permissions`.
pub fn permissions(args: &PermissionsArgs, output: Output) -> Result<(), Failure> {
    if !(args.public || args.allow_list) && args.allow.is_empty() && args.deny.is_empty() {
        return show_permissions(&args.sign.client()?, &args.id, output);
    }
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.id)?;
        let mut receipts = Vec::new();
        for (accounts, allowed) in [(&args.allow, true), (&args.deny, false)] {
            if !accounts.is_empty() {
                let edit = AllowAccounts { model_id, accounts: accounts.clone(), allowed };
                receipts.push(operate(wallet, system::MODELS, &edit, U256::ZERO)?);
            }
        }
        if args.public || args.allow_list {
            let mode = if args.public { PUBLIC } else { ALLOW_LIST };
            let permit = PermitModel { model_id, mode, price: 0 };
            receipts.push(operate(wallet, system::MODELS, &permit, U256::ZERO)?);
        }
        let last = receipts.last().expect("at least one operation was asked for");
        let sent: Vec<B256> = receipts.iter().map(|receipt| receipt.transaction_hash).collect();
        let permission = line_of(client, &args.id)?.1["line"]["permission"].clone();
        let facts = json!({
            "model_id": model_id, "permission": permission, "allowed": args.allow, "denied": args.deny,
            "tx_hashes": sent,
        });
        print_done(output, last, facts, &format!("model {model_id} is {}", permission.as_str().unwrap_or("?")))
    })
}

fn show_permissions(client: &Client, id: &B256, output: Output) -> Result<(), Failure> {
    let (model_id, model) = line_of(client, id)?;
    let line = &model["line"];
    let facts = json!({
        "model_id": model_id, "permission": line["permission"], "price": line["price"], "owner": model["owner"],
        "retired": line["retired"], "offered_to": line["offeredTo"],
    });
    output.print(&facts, || {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let mut lines = vec![format!("owner       {}", text(&model["owner"]))];
        lines.push(match text(&line["permission"]).as_str() {
            "price" => {
                let price: U256 = text(&line["price"]).parse().unwrap_or_default();
                format!("permission  whoever pays {} LAT of compute credits a run", amount::to_lat(price))
            }
            "allowList" => "permission  the owner and the accounts on the allow list".into(),
            other => format!("permission  {other}"),
        });
        if let Some(to) = line["offeredTo"].as_str() {
            lines.push(format!("offered to  {to}"));
        }
        if line["retired"] == true {
            lines.push("retired: no version runs any more".into());
        }
        lines.join("\n")
    })
}

/// `lattice model price`.
pub fn price(args: &PriceArgs, output: Output) -> Result<(), Failure> {
    let price = wei(args.price, "a price")?;
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.id)?;
        let mode = if price == 0 { PUBLIC } else { PRICE };
        let receipt = operate(wallet, system::MODELS, &PermitModel { model_id, mode, price }, U256::ZERO)?;
        let facts = json!({ "model_id": model_id, "price": price.to_string() });
        let text = format!("a run of model {model_id} costs {} LAT", amount::to_lat(args.price));
        print_done(output, &receipt, facts, &text)
    })
}

/// `lattice model transfer`.
pub fn transfer(args: &TransferArgs, output: Output) -> Result<(), Failure> {
    let to = args.to.unwrap_or_default();
    if to.is_zero() && !args.cancel {
        return Err(Failure::usage("the zero address cannot own a model: take an offer back with --cancel"));
    }
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.id)?;
        let receipt = operate(wallet, system::MODELS, &OfferModel { model_id, to }, U256::ZERO)?;
        let facts = json!({ "model_id": model_id, "offered_to": args.to });
        let text = match args.to {
            Some(to) => {
                format!("model {model_id} is offered to {to}, who has to run `lattice model accept {model_id}`")
            }
            None => format!("the offer of model {model_id} is taken back"),
        };
        print_done(output, &receipt, facts, &text)
    })
}

/// `lattice model accept`.
pub fn accept(args: &LineArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.id)?;
        let receipt = operate(wallet, system::MODELS, &AcceptModel { model_id }, U256::ZERO)?;
        let owner = wallet.address();
        let facts = json!({ "model_id": model_id, "owner": owner });
        print_done(output, &receipt, facts, &format!("model {model_id} belongs to {owner}"))
    })
}

/// `lattice model retire`.
pub fn retire(args: &LineArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let (model_id, _) = line_of(client, &args.id)?;
        let receipt = operate(wallet, system::MODELS, &RetireModel { model_id }, U256::ZERO)?;
        let facts = json!({ "model_id": model_id, "retired": true });
        print_done(output, &receipt, facts, &format!("model {model_id} is retired: no version of it runs any more"))
    })
}
