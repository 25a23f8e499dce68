//! `lattice send` and `lattice call`.

use super::{NodeArgs, Output};
use crate::{
    amount,
    failure::Failure,
    wallet::{Call, KeyArgs, Wallet, call_request},
};
use alloy_primitives::{Address, Bytes, U256};
use serde_json::json;

/// Arguments of `lattice send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The receiver's address, or `create` to deploy the data as a contract's init code
    to: Target,
    /// How much: 1.5 (LAT), 20gwei, 7wei
    #[arg(long, value_name = "AMOUNT", default_value = "0", value_parser = amount::parse)]
    value: U256,
    /// Call data or init code, hex
    #[arg(long, value_name = "HEX", default_value = "0x")]
    data: Bytes,
    /// Gas limit [default: estimated]
    #[arg(long)]
    gas: Option<u64>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// Who receives a transaction.
#[derive(Debug, Clone, Copy)]
enum Target {
    Create,
    Account(Address),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "create" { Ok(Self::Create) } else { parse_address(text).map(Self::Account) }
    }
}

/// Reads an address; a mixed-case one must have the right EIP-55 checksum.
pub fn parse_address(text: &str) -> Result<Address, String> {
    let address: Address =
        text.parse().map_err(|_| format!("{text:?} is no address: 0x and 40 hex digits are wanted"))?;
    let digits = text.trim_start_matches("0x");
    let mixed = digits.bytes().any(|c| c.is_ascii_lowercase()) && digits.bytes().any(|c| c.is_ascii_uppercase());
    if mixed && address.to_checksum(None).trim_start_matches("0x") != digits {
        return Err(format!("{text} has a wrong EIP-55 checksum: check it for typos, or write it in lower case"));
    }
    Ok(address)
}

/// `lattice send`: one transaction, and its receipt.
pub fn send(args: SendArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let wallet = Wallet::open(&client, &args.key)?;
    let to = match args.to {
        Target::Create => None,
        Target::Account(address) => Some(address),
    };
    let hash = wallet.send(&Call { to, value: args.value, data: args.data, gas: args.gas })?;
    let receipt = wallet.confirm(hash)?;
    let facts = json!({
        "tx_hash": hash,
        "from": wallet.address(),
        "to": to,
        "value": args.value.to_string(),
        "contract": receipt.contract_address,
        "block": receipt.block_number(),
        "gas_used": receipt.gas_used(),
    });
    output.print(&facts, || {
        let mut text = format!("transaction {hash}\nblock {}, gas used {}", receipt.block_number(), receipt.gas_used());
        if let Some(contract) = receipt.contract_address {
            text.push_str(&format!("\ncontract {contract}"));
        }
        text
    })
}

/// Arguments of `lattice call`.
#[derive(Debug, clap::Args)]
pub struct CallArgs {
    /// The contract
    #[arg(value_parser = parse_address)]
    to: Address,
    /// Call data, hex
    #[arg(default_value = "0x")]
    data: Bytes,
    /// Who calls
    #[arg(long, value_parser = parse_address)]
    from: Option<Address>,
    /// Wei or an amount with a unit sent along
    #[arg(long, value_name = "AMOUNT", default_value = "0", value_parser = amount::parse)]
    value: U256,
    /// The block whose state is read: a number or a tag
    #[arg(long, default_value = "latest")]
    block: super::chain::BlockId,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice call`: eth_call, the returned bytes as hex.
pub fn call(args: CallArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let call = Call { to: Some(args.to), value: args.value, data: args.data, gas: None };
    let result = client.call("eth_call", json!([call_request(args.from, &call), args.block.to_param()]))?;
    let text = result.as_str().unwrap_or_default().to_owned();
    output.print(&json!({ "result": result }), || text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_wrong_checksum_are_refused() {
        assert!(parse_address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266").is_ok());
        assert!(parse_address("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266").is_ok());
        assert!(parse_address("0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266").is_ok());
        assert!(parse_address("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266").is_err());
        assert!(parse_address("0x12").is_err());
        assert!(matches!("create".parse(), Ok(Target::Create)));
    }
}
