//! Signing and sending: which key, what nonce, which fees, how much gas, and waiting for the receipt.

use crate::{
    client::{Client, ClientError, decode, quantity, quantity_u128},
    failure::Failure,
};
use alloy_consensus::TxEip1559;
use alloy_eips::{eip2718::Encodable2718, eip2930::AccessList};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use lattice_types::{
    TxEnvelope, ai_gas,
    spec::{DEV_ACCOUNTS, DEV_CHAIN_ID},
    tx::{AiKind, TxAi, TxSigner},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The environment variables that hold a key, in the order they are asked.
const KEY_VARIABLES: [&str; 2] = ["LATTICE_PRIVATE_KEY", "ETH_PRIVATE_KEY"];
/// A receipt that takes longer is reported as late.
pub const RECEIPT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_FIRST: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(250);
/// Tip when the node gives no advice: 1 gwei, wei a gas.
const TIP_DEFAULT: u128 = 1_000_000_000;

/// Which key signs.
#[derive(Debug, Clone, clap::Args)]
pub struct KeyArgs {
    /// Secret key that signs, 32 bytes in hex [env: LATTICE_PRIVATE_KEY, ETH_PRIVATE_KEY]; on the development chain
    /// (31337) the first development account signs when none is given
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl KeyArgs {
    fn signer(&self, chain_id: u64) -> Result<TxSigner, Failure> {
        let from_env = KEY_VARIABLES.iter().find_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty())?;
            Some((*name, value))
        });
        let (source, text) = match (&self.key, from_env) {
            (Some(text), _) => ("--key", text.clone()),
            (None, Some(found)) => found,
            (None, None) if chain_id == DEV_CHAIN_ID => {
                return Ok(TxSigner::new(DEV_ACCOUNTS[0].1).expect("the development keys are valid"));
            }
            (None, None) => {
                return Err(Failure::new(format!("chain {chain_id} needs a key to sign with"))
                    .next("give --key 0x… or set LATTICE_PRIVATE_KEY"));
            }
        };
        // The text is never repeated in a message: it may be a real key with a typo.
        let secret: Option<B256> = text.trim().parse().ok();
        secret
            .and_then(TxSigner::new)
            .ok_or_else(|| Failure::usage(format!("{source} is no secp256k1 secret key: 32 bytes in hex are wanted")))
    }
}

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Callee; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Call data or init code.
    pub data: Bytes,
    /// Gas limit; estimated when absent.
    pub gas: Option<u64>,
}

/// What an AI transaction has beside its payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct AiTerms {
    /// The bound on AI gas.
    pub ai_gas: u64,
    /// Wei sent along: a fee, a reward.
    pub value: U256,
    /// Gas limit; estimated when absent.
    pub gas: Option<u64>,
}

/// A receipt, as far as the commands need it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Hash of its transaction.
    pub transaction_hash: B256,
    status: Value,
    gas_used: Value,
    block_number: Value,
    /// The contract that it created.
    pub contract_address: Option<Address>,
    /// Its logs.
    pub logs: Vec<LogEntry>,
}

/// A log of a receipt.
#[derive(Debug, Clone, Deserialize)]
pub struct LogEntry {
    /// The contract or system account that wrote it.
    pub address: Address,
    /// Topics, the event's signature hash first.
    pub topics: Vec<B256>,
    /// ABI-encoded rest.
    pub data: Bytes,
}

impl Receipt {
    /// Whether the transaction succeeded.
    pub fn success(&self) -> bool {
        quantity(&self.status) == Some(1)
    }

    /// Gas that it used.
    pub fn gas_used(&self) -> u64 {
        quantity(&self.gas_used).unwrap_or_default()
    }

    /// Number of its EVM block.
    pub fn block_number(&self) -> u64 {
        quantity(&self.block_number).unwrap_or_default()
    }
}

/// EIP-1559 fees, wei a gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fees {
    cap: u128,
    tip: u128,
}

/// A signer on one chain.
#[derive(Debug)]
pub struct Wallet<'a> {
    client: &'a Client,
    signer: TxSigner,
    chain_id: u64,
}

impl<'a> Wallet<'a> {
    /// Asks the node for its chain and picks the key.
    pub fn open(client: &'a Client, key: &KeyArgs) -> Result<Self, Failure> {
        let chain_id = chain_id(client)?;
        Ok(Self { client, signer: key.signer(chain_id)?, chain_id })
    }

    /// A wallet of one development account.
    pub fn of_dev_account(client: &'a Client, index: usize) -> Result<Self, Failure> {
        Self::of_signer(client, TxSigner::new(DEV_ACCOUNTS[index].1).expect("the development keys are valid"))
    }

    /// A wallet of any key.
    pub fn of_signer(client: &'a Client, signer: TxSigner) -> Result<Self, Failure> {
        Ok(Self { client, signer, chain_id: chain_id(client)? })
    }

    /// The account that signs.
    pub const fn address(&self) -> Address {
        self.signer.address()
    }

    /// Signs a type-2 transaction and hands it to the node. One that runs models declares their AI gas in its access list.
    pub fn send(&self, call: &Call) -> Result<B256, Failure> {
        let (nonce, fees) = (self.nonce()?, self.fees()?);
        let ai_gas = self.ai_gas_to_declare(call)?;
        let access_list = AccessList(ai_gas.map(ai_gas::declaration).into_iter().collect());
        let gas_limit = match call.gas {
            Some(gas) => gas,
            None => {
                let mut request = call_request(Some(self.address()), call);
                if ai_gas.is_some() {
                    request["accessList"] = json!(access_list);
                }
                with_headroom(self.estimate(request)?, ai_gas.unwrap_or(0))
            }
        };
        let tx = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fees.cap,
            max_priority_fee_per_gas: fees.tip,
            to: call.to.map_or(TxKind::Create, TxKind::Call),
            value: call.value,
            access_list,
            input: call.data.clone(),
        };
        self.submit(self.signer.sign(tx).into())
    }

    /// The AI gas that a call has to declare: what its model work takes, when that is more than an undeclared transaction
    /// may use. Nodes of other kinds know no such thing, and what is wrong with a call its estimate tells.
    fn ai_gas_to_declare(&self, call: &Call) -> Result<Option<u64>, Failure> {
        if call.data.is_empty() {
            return Ok(None);
        }
        let request = call_request(Some(self.address()), call);
        let found = match self.client.call("eth_createAccessList", json!([request])) {
            Ok(found) => found,
            Err(ClientError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let list: AccessList = decode("eth_createAccessList", found["accessList"].clone())?;
        let Ok(Some(needed)) = ai_gas::declared_in(&list) else { return Ok(None) };
        let lane = self.client.call("lattice_aiGas", json!([]))?;
        Ok(quantity(&lane["undeclared"]).is_none_or(|free| needed > free).then_some(needed))
    }

    /// Signs an AI transaction and hands it to the node.
    pub fn send_ai<K: AiKind>(&self, payload: &K::Payload, terms: &AiTerms) -> Result<B256, Failure>
    where
        TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
    {
        // What is wrong with its form is told before anything is asked or sent.
        K::check(payload).map_err(Failure::usage)?;
        let (nonce, fees) = (self.nonce()?, self.fees()?);
        let AiTerms { ai_gas, value, .. } = *terms;
        let payload = TxAi::<K>::encode_payload(payload);
        let gas_limit = self.gas_limit_ai::<K>(&payload, terms)?;
        let tx = TxAi::<K> {
            chain_id: self.chain_id,
            nonce,
            max_priority_fee_per_gas: fees.tip,
            max_fee_per_gas: fees.cap,
            gas_limit,
            ai_gas_limit: ai_gas.min(gas_limit),
            value,
            payload,
            ..TxAi::default()
        };
        self.submit(self.signer.sign(tx).into())
    }

    /// The gas limit of an AI transaction with this encoded payload: what the terms say, else an estimate with headroom.
    pub fn gas_limit_ai<K: AiKind>(&self, payload: &Bytes, terms: &AiTerms) -> Result<u64, Failure> {
        if let Some(gas) = terms.gas {
            return Ok(gas);
        }
        let call = Call { to: Some(K::ACCOUNT), value: terms.value, data: payload.clone(), gas: None };
        let mut request = call_request(Some(self.address()), &call);
        request["type"] = json!(format!("{:#x}", K::TX_TYPE));
        Ok(with_headroom(self.estimate(request)?, terms.ai_gas))
    }

    /// Waits for a receipt; a transaction that failed is a failure that gives the chain's reason.
    pub fn confirm(&self, hash: B256) -> Result<Receipt, Failure> {
        let receipt = wait_for_receipt(self.client, hash, RECEIPT_TIMEOUT)?;
        if receipt.success() {
            return Ok(receipt);
        }
        let reason = failure_reason(self.client, &receipt).unwrap_or_else(|| "the chain gives no reason".into());
        let block = receipt.block_number();
        Err(Failure::new(format!("transaction {hash} failed in block {block}: {reason}"))
            .next(format!("look at it with `lattice receipt {hash}`"))
            .facts(json!({ "tx_hash": hash, "gas_used": receipt.gas_used() })))
    }

    fn submit(&self, tx: TxEnvelope) -> Result<B256, Failure> {
        let raw = hex::encode_prefixed(tx.encoded_2718());
        let sent = self.client.call("eth_sendRawTransaction", json!([raw]))?;
        decode("eth_sendRawTransaction", sent)
    }

    fn nonce(&self) -> Result<u64, Failure> {
        let value = self.client.call("eth_getTransactionCount", json!([self.address(), "pending"]))?;
        quantity(&value).ok_or_else(|| Failure::new(format!("eth_getTransactionCount answered {value}")))
    }

    /// Twice the next base fee leaves room for the fee to grow while the transaction waits.
    fn fees(&self) -> Result<Fees, Failure> {
        let tip = match self.client.call("eth_maxPriorityFeePerGas", json!([])) {
            Ok(value) => quantity_u128(&value).unwrap_or(TIP_DEFAULT),
            Err(error) if error.is_unknown_method() => TIP_DEFAULT,
            Err(error) => return Err(error.into()),
        };
        let history = self.client.call("eth_feeHistory", json!(["0x1", "latest", []]))?;
        let base = history["baseFeePerGas"].as_array().and_then(|fees| quantity_u128(fees.last()?));
        let base = base.ok_or_else(|| Failure::new("eth_feeHistory gave no base fee"))?;
        Ok(Fees { cap: base.saturating_mul(2).saturating_add(tip), tip })
    }

    fn estimate(&self, request: Value) -> Result<u64, Failure> {
        let value = self.client.call("eth_estimateGas", json!([request]))?;
        quantity(&value).ok_or_else(|| Failure::new(format!("eth_estimateGas answered {value}")))
    }
}

/// The chain id that a node answers.
pub fn chain_id(client: &Client) -> Result<u64, Failure> {
    let value = client.call("eth_chainId", json!([]))?;
    quantity(&value).ok_or_else(|| Failure::new(format!("eth_chainId answered {value}")))
}

/// The parameter object of eth_call and eth_estimateGas.
pub fn call_request(from: Option<Address>, call: &Call) -> Value {
    let mut request = json!({ "value": call.value, "input": call.data });
    if let Some(from) = from {
        request["from"] = json!(from);
    }
    if let Some(to) = call.to {
        request["to"] = json!(to);
    }
    if let Some(gas) = call.gas {
        request["gas"] = json!(format!("{gas:#x}"));
    }
    request
}

/// An estimate with an eighth more, for state that moves before execution. AI gas is static and needs none.
fn with_headroom(estimate: u64, ai_gas: u64) -> u64 {
    estimate.saturating_add(estimate.saturating_sub(ai_gas) / 8)
}

/// A receipt if there is one.
pub fn receipt(client: &Client, hash: B256) -> Result<Option<Receipt>, Failure> {
    let method = "eth_getTransactionReceipt";
    decode(method, client.call(method, json!([hash]))?)
}

/// Asks until the receipt is there.
pub fn wait_for_receipt(client: &Client, hash: B256, timeout: Duration) -> Result<Receipt, Failure> {
    poll(timeout, || receipt(client, hash))?.ok_or_else(|| {
        Failure::new(format!("no receipt of transaction {hash} after {} s", timeout.as_secs()))
            .next(format!("ask again with `lattice receipt {hash}`"))
            .facts(json!({ "tx_hash": hash }))
    })
}

/// Asks again, ever less often, until there is an answer or the time is over.
pub fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Result<Option<T>, Failure>) -> Result<Option<T>, Failure> {
    let start = Instant::now();
    let mut pause = POLL_FIRST;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if start.elapsed() >= timeout {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(POLL_MAX);
    }
}

/// Runs the failed transaction again as a call on the state before its block, and gives the error.
fn failure_reason(client: &Client, receipt: &Receipt) -> Option<String> {
    let tx = client.call("eth_getTransactionByHash", json!([receipt.transaction_hash])).ok()?;
    let mut request = json!({ "from": tx["from"], "gas": tx["gas"], "value": tx["value"], "input": tx["input"] });
    // The payload of an AI transaction means what its type says.
    for field in ["to", "type", "aiGas", "accessList"] {
        if !tx[field].is_null() {
            request[field] = tx[field].clone();
        }
    }
    let before = format!("{:#x}", receipt.block_number().saturating_sub(1));
    match client.call("eth_call", json!([request, before])) {
        Err(ClientError::Refused { message, .. }) => Some(message),
        _ if quantity(&tx["gas"]) == Some(receipt.gas_used()) => Some("out of gas".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(key: &str) -> KeyArgs {
        KeyArgs { key: Some(key.into()) }
    }

    #[test]
    fn keys_are_read_and_never_repeated() {
        let (address, secret) = DEV_ACCOUNTS[3];
        assert_eq!(args(&secret.to_string()).signer(1).unwrap().address(), address);
        assert_eq!(args(&hex::encode(secret)).signer(1).unwrap().address(), address);
        for bad in ["0x12", "hunter2", &B256::ZERO.to_string(), &B256::repeat_byte(0xff).to_string()] {
            let failure = args(bad).signer(1).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(!failure.to_string().contains(bad), "{failure}");
        }
    }

    #[test]
    fn headroom_is_for_ordinary_gas_only() {
        assert_eq!(with_headroom(80_000, 0), 90_000);
        assert_eq!(with_headroom(1_080_000, 1_000_000), 1_090_000);
        assert_eq!(with_headroom(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn a_receipt_is_read_from_json() {
        let receipt: Receipt = serde_json::from_value(json!({
            "transactionHash": B256::repeat_byte(1), "status": "0x1", "gasUsed": "0x5208", "blockNumber": "0x2",
            "contractAddress": null, "type": "0x52",
            "logs": [{ "address": Address::ZERO, "topics": [B256::ZERO], "data": "0x01" }],
        }))
        .unwrap();
        assert!(receipt.success());
        assert_eq!((receipt.gas_used(), receipt.block_number(), receipt.logs.len()), (21_000, 2, 1));
    }

    #[test]
    fn polling_ends_with_the_answer_or_the_time() {
        let mut left = 3;
        let answer = poll(Duration::from_secs(60), || {
            left -= 1;
            Ok((left == 0).then_some("here"))
        });
        assert_eq!(answer.unwrap(), Some("here"));
        assert_eq!(poll(Duration::ZERO, || Ok(None::<()>)).unwrap(), None);
    }
}
