//! What commands that send a transaction share: who signs, operations of the system accounts, and the answer.

use super::{NodeArgs, Output};
use crate::{
    client::Client,
    failure::Failure,
    wallet::{Call, KeyArgs, Receipt, Wallet},
};
use alloy_primitives::{Address, U256};
use lattice_types::tx::operation::Operation;
use serde_json::{Value, json};

/// Who signs, and which node takes the transaction.
#[derive(Debug, Clone, clap::Args)]
pub struct SignArgs {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    node: NodeArgs,
}

impl SignArgs {
    /// Opens the node and the wallet for `body`.
    pub fn with<T>(&self, body: impl FnOnce(&Client, &Wallet<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let client = self.node.client()?;
        let wallet = Wallet::open(&client, &self.key)?;
        body(&client, &wallet)
    }

    /// The node alone, for what needs no key.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(self.node.client()?)
    }
}

/// Sends an operation to its system account and waits for the receipt.
pub fn operate(wallet: &Wallet<'_>, to: Address, operation: &impl Operation, value: U256) -> Result<Receipt, Failure> {
    let call = Call { to: Some(to), value, data: operation.input(), gas: None };
    wallet.confirm(wallet.send(&call)?)
}

/// Prints what a transaction did: `tx_hash`, `block` and `gas_used`, and these facts before them.
pub fn print_done(output: Output, receipt: &Receipt, facts: Value, text: &str) -> Result<(), Failure> {
    let mut all = facts;
    all["tx_hash"] = json!(receipt.transaction_hash);
    all["block"] = json!(receipt.block_number());
    all["gas_used"] = json!(receipt.gas_used());
    output.print(&all, || {
        let (hash, block, gas) = (receipt.transaction_hash, receipt.block_number(), receipt.gas_used());
        format!("{text}\ntransaction {hash} in block {block}, gas used {gas}")
    })
}

/// Wei that the chain's records can hold.
pub fn wei(amount: U256, what: &str) -> Result<u128, Failure> {
    u128::try_from(amount).map_err(|_| Failure::usage(format!("{what} of {amount} wei exceeds 2^128 wei")))
}
