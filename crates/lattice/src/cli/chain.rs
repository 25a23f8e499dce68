//! Reads of the chain: `balance`, `block`, `tx`, `receipt`, `status`.

use super::{NodeArgs, Output, send::parse_address};
use crate::{
    amount,
    client::{Client, decode, quantity},
    failure::Failure,
};
use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};

/// A block by number, tag or hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockId {
    /// EVM block number.
    Number(u64),
    /// `latest`, `pending`, `safe`, `finalized` or `earliest`.
    Tag(String),
    /// EVM block hash.
    Hash(B256),
}

impl std::str::FromStr for BlockId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "latest" | "pending" | "safe" | "finalized" | "earliest") {
            return Ok(Self::Tag(text.into()));
        }
        if let Some(digits) = text.strip_prefix("0x") {
            if digits.len() == 64 {
                return text.parse().map(Self::Hash).map_err(|error| format!("{text} is no hash: {error}"));
            }
            return u64::from_str_radix(digits, 16)
                .map(Self::Number)
                .map_err(|error| format!("{text} is no number: {error}"));
        }
        text.parse().map(Self::Number).map_err(|_| {
            format!("{text:?} is no block: give a number, a hash, or latest, pending, safe, finalized, earliest")
        })
    }
}

impl BlockId {
    /// As JSON-RPC wants it.
    pub fn to_param(&self) -> Value {
        match self {
            Self::Number(number) => json!(format!("{number:#x}")),
            Self::Tag(tag) => json!(tag),
            Self::Hash(hash) => json!(hash),
        }
    }
}

/// Arguments of `lattice balance`.
#[derive(Debug, clap::Args)]
pub struct BalanceArgs {
    /// The account
    #[arg(value_parser = parse_address)]
    address: Address,
    /// The block whose state is read: a number or a tag
    #[arg(long, default_value = "latest")]
    block: BlockId,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice balance`.
pub fn balance(args: BalanceArgs, output: Output) -> Result<(), Failure> {
    let result = args.node.client()?.call("eth_getBalance", json!([args.address, args.block.to_param()]))?;
    let wei: U256 = decode("eth_getBalance", result)?;
    let facts = json!({ "address": args.address, "wei": wei.to_string(), "lat": amount::to_lat(wei) });
    output.print(&facts, || format!("{} LAT ({wei} wei)", amount::to_lat(wei)))
}

/// Arguments of `lattice block`.
#[derive(Debug, clap::Args)]
pub struct BlockArgs {
    /// A number, a hash, or latest, pending, safe, finalized, earliest
    #[arg(default_value = "latest")]
    block: BlockId,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice block`.
pub fn block(args: BlockArgs, output: Output) -> Result<(), Failure> {
    let method = match args.block {
        BlockId::Hash(_) => "eth_getBlockByHash",
        _ => "eth_getBlockByNumber",
    };
    let found = args.node.client()?.call(method, json!([args.block.to_param(), false]))?;
    if found.is_null() {
        return Err(Failure::new(format!("the chain has no block {}", args.block.to_param())));
    }
    output.print(&found, || fields_text(&found, "block"))
}

/// Arguments of `lattice tx` and `lattice receipt`.
#[derive(Debug, clap::Args)]
pub struct HashArgs {
    /// The transaction's hash
    hash: B256,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice tx`.
pub fn tx(args: HashArgs, output: Output) -> Result<(), Failure> {
    by_hash(&args.node.client()?, "eth_getTransactionByHash", args.hash, output)
}

/// `lattice receipt`.
pub fn receipt(args: HashArgs, output: Output) -> Result<(), Failure> {
    by_hash(&args.node.client()?, "eth_getTransactionReceipt", args.hash, output)
}

fn by_hash(client: &Client, method: &str, hash: B256, output: Output) -> Result<(), Failure> {
    let found = client.call(method, json!([hash]))?;
    if found.is_null() {
        let what = if method.ends_with("Receipt") { "receipt of transaction" } else { "transaction" };
        return Err(Failure::new(format!("the node at {} has no {what} {hash}", client.url()))
            .next("check the hash; a transaction has a receipt once it is executed"));
    }
    output.print(&found, || fields_text(&found, "transaction"))
}

/// Arguments of `lattice status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice status`.
pub fn status(args: StatusArgs, output: Output) -> Result<(), Failure> {
    let status = args.node.client()?.call("lattice_status", json!([]))?;
    output.print(&status, || fields_text(&status, "status"))
}

/// An answer as aligned lines: quantities also in decimals, long data cut, nested objects dotted.
pub fn fields_text(value: &Value, what: &str) -> String {
    let mut rows = Vec::new();
    collect("", value, &mut rows);
    if rows.is_empty() {
        return format!("empty {what}");
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> = rows.iter().map(|(name, text)| format!("{name:width$}  {text}")).collect();
    lines.join("\n")
}

fn collect(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(members) => members.iter().for_each(|(name, member)| collect(&join(name), member, rows)),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let shown: Vec<String> = items.iter().map(leaf_text).collect();
            rows.push((path.to_owned(), if shown.is_empty() { "none".into() } else { shown.join(" ") }));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| collect(&join(&i.to_string()), item, rows))
        }
        leaf => rows.push((path.to_owned(), leaf_text(leaf))),
    }
}

fn leaf_text(value: &Value) -> String {
    const SHOWN_MAX: usize = 80;
    match value {
        Value::String(text) if text.len() > SHOWN_MAX => {
            let head: String = text.chars().take(SHOWN_MAX / 2).collect();
            format!("{head}… ({} characters)", text.chars().count())
        }
        // Only short hex is a number; 20 and 32 bytes are addresses and hashes.
        Value::String(text) if text.len() <= 18 => match quantity(value) {
            Some(number) => number.to_string(),
            None => text.clone(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blocks_are_named_by_number_tag_or_hash() {
        assert_eq!("12".parse(), Ok(BlockId::Number(12)));
        assert_eq!("0xc".parse(), Ok(BlockId::Number(12)));
        assert_eq!("safe".parse(), Ok(BlockId::Tag("safe".into())));
        assert_eq!(B256::ZERO.to_string().parse(), Ok(BlockId::Hash(B256::ZERO)));
        for bad in ["-1", "last", "0x", "0xgg", ""] {
            assert!(bad.parse::<BlockId>().is_err(), "{bad}");
        }
        assert_eq!("12".parse::<BlockId>().unwrap().to_param(), json!("0xc"));
    }

    #[test]
    fn answers_become_aligned_lines() {
        let text = fields_text(&json!({ "a": "0x10", "nested": { "tips": ["0x01"], "none": [], "gone": null } }), "x");
        assert_eq!(text, "a            16\nnested.none  none\nnested.tips  1");
    }
}
