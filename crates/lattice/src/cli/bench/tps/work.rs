//! What is sent: senders with money, and their signed transactions.

use super::{
    models::{self, Inferences, Updates},
    target::Target,
};
use crate::{
    client::{Client, quantity, quantity_u128},
    failure::Failure,
    wallet::{self, poll},
};
use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use lattice_types::{TxEnvelope, spec::DEV_ACCOUNTS, tx::TxSigner};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

/// The committed test token.
const TOKEN: &str = include_str!("../../../../../../contracts/artifacts/TestToken.json");
/// Tokens that exist, and that each sender gets.
const TOKEN_SUPPLY: u128 = 10_u128.pow(30);
const TOKEN_SHARE: u128 = 10_u128.pow(20);
/// Receivers, taken in turn, so that most transfers change an account that exists.
const RECEIVERS: u32 = 1_000;
/// 1 gwei, wei a gas.
const TIP: u128 = 1_000_000_000;
const TRANSFER_GAS: u64 = 21_000;
/// An ERC-20 transfer to a new holder takes 52,000.
const TOKEN_TRANSFER_GAS: u64 = 100_000;
const TOKEN_DEPLOY_GAS: u64 = 2_500_000;
/// Gas limit of a block for the estimate of how far the base fee may rise.
const BLOCK_GAS: u64 = 30_000_000;
/// The fee cap is at most this many times the base fee.
const FEE_GROWTH_MAX: f64 = 1_000.0;
/// Parts of the funder's balance: one may go to the senders.
const BALANCE_PARTS: u32 = 4;
const SETUP_TIMEOUT: Duration = Duration::from_secs(120);

/// What the transactions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Move one wei
    Transfer,
    /// Move one unit of an ERC-20 token
    Erc20,
    /// Append a version to the sender's model; Lattice only
    ModelUpdate,
    /// Run the bundled digits model on an image of its own; Lattice only
    Inference,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transfer => "transfer",
            Self::Erc20 => "erc20",
            Self::ModelUpdate => "model-update",
            Self::Inference => "inference",
        })
    }
}

/// All signed transactions, ready to be sent.
pub struct Work {
    /// The node's chain id.
    pub chain_id: u64,
    /// By sender: its transactions.
    pub senders: Vec<Sent>,
    /// How many may wait at the node at the same time; all of them when there is no bound.
    pub in_flight: Option<usize>,
}

/// The transactions of one sender, with consecutive nonces.
pub struct Sent {
    /// The account.
    pub address: Address,
    /// Its nonce when everything is mined.
    pub nonce_after: u64,
    /// Bytes of each transaction in hex, with 0x.
    pub raw: Vec<String>,
    /// Hash of each transaction.
    pub hashes: Vec<B256>,
}

/// What one transaction does.
enum Job {
    Transfer,
    Erc20 { token: Address },
    Update(Box<Updates>),
    Infer(Inferences),
}

/// Fees that last for the whole run, wei a gas.
#[derive(Clone, Copy)]
pub struct Fees {
    /// The cap.
    pub cap: u128,
    /// The tip.
    pub tip: u128,
}

/// Funds `senders` accounts from development key 0, sets up what the kind needs, and signs `n` transactions.
/// Gives them and how long signing took.
///
/// # Errors
/// When the node refuses the setup, does not know the kind, or the development account has too little.
pub fn prepare(target: &Target, kind: Kind, n: u32, senders: u32, batch: u32) -> Result<(Work, Duration), Failure> {
    let client = target.client();
    if matches!(kind, Kind::ModelUpdate | Kind::Inference) {
        models::require_lattice(target)?;
    }
    let mut funder = Funder::open(client, batch as usize)?;
    let signers = new_signers(senders.min(n));
    let job = match kind {
        Kind::Transfer => Job::Transfer,
        Kind::Erc20 => Job::Erc20 { token: funder.deploy_token()? },
        Kind::ModelUpdate => {
            funder.fund(&signers, models::DEPLOY_GAS, 1)?;
            Job::Update(Box::new(Updates::register(client, &signers)?))
        }
        Kind::Inference => {
            funder.fund(&signers[..1], models::DEPLOY_GAS, 1)?;
            Job::Infer(Inferences::register(client, &signers[0])?)
        }
    };
    let fees = funder.fund(&signers, job.gas_limit(), u64::from(n).div_ceil(signers.len() as u64))?;
    if let Job::Erc20 { token } = job {
        let shares = signers.iter().map(|signer| {
            (TxKind::Call(token), U256::ZERO, token_transfer(signer.address(), TOKEN_SHARE), TOKEN_TRANSFER_GAS)
        });
        funder.send(shares.collect())?;
    }
    let first_nonces = funder.nonces(&signers)?;
    let start = Instant::now();
    let chain_id = funder.chain_id;
    let sign = |signer: &TxSigner, nonce, index| job.sign(signer, chain_id, nonce, fees, index);
    let senders = sign_all(&signers, &first_nonces, n, sign);
    let in_flight = job.gas_in_flight().map(|gas| (gas / job.gas_limit()).max(1) as usize);
    Ok((Work { chain_id, senders, in_flight }, start.elapsed()))
}

/// Accounts that no run used before.
fn new_signers(count: u32) -> Vec<TxSigner> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let run = format!("lattice bench {now} {}", std::process::id());
    let signer = |i| TxSigner::new(keccak256(format!("{run} {i}"))).expect("a hash is a key but for odds of 2^-128");
    (0..count).map(signer).collect()
}

/// Signs on all cores. Transaction i goes to sender i mod senders, whose nonces go on from its first.
fn sign_all<F>(signers: &[TxSigner], first_nonces: &[u64], n: u32, sign: F) -> Vec<Sent>
where
    F: Fn(&TxSigner, u64, u32) -> TxEnvelope + Sync,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = signers.len();
    let one = |first: usize, signer: &TxSigner| {
        let (mut raw, mut hashes, mut nonce) = (Vec::new(), Vec::new(), first_nonces[first]);
        for index in (first as u32..n).step_by(count) {
            let tx = sign(signer, nonce, index);
            hashes.push(*tx.hash());
            raw.push(hex::encode_prefixed(tx.encoded_2718()));
            nonce += 1;
        }
        Sent { address: signer.address(), nonce_after: nonce, raw, hashes }
    };
    let numbered: Vec<(usize, &TxSigner)> = signers.iter().enumerate().collect();
    std::thread::scope(|scope| {
        let part = |part: &[(usize, &TxSigner)]| part.iter().map(|(i, signer)| one(*i, signer)).collect::<Vec<_>>();
        let handles: Vec<_> =
            numbered.chunks(numbered.len().div_ceil(threads)).map(|chunk| scope.spawn(move || part(chunk))).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("signing does not panic")).collect()
    })
}

impl Job {
    const fn gas_limit(&self) -> u64 {
        match self {
            Self::Transfer => TRANSFER_GAS,
            Self::Erc20 { .. } => TOKEN_TRANSFER_GAS,
            Self::Update(updates) => updates.gas_limit,
            Self::Infer(inferences) => inferences.gas_limit,
        }
    }

    /// Gas limits that may wait together.
    fn gas_in_flight(&self) -> Option<u64> {
        matches!(self, Self::Update(_) | Self::Infer(_)).then(models::gas_in_flight)
    }

    fn sign(&self, signer: &TxSigner, chain_id: u64, nonce: u64, fees: Fees, index: u32) -> TxEnvelope {
        match self {
            Self::Transfer => {
                let to = TxKind::Call(receiver(index));
                signer.sign(ordinary(chain_id, nonce, fees, (to, U256::ONE, Bytes::new(), TRANSFER_GAS))).into()
            }
            Self::Erc20 { token } => {
                let call = (TxKind::Call(*token), U256::ZERO, token_transfer(receiver(index), 1), TOKEN_TRANSFER_GAS);
                signer.sign(ordinary(chain_id, nonce, fees, call)).into()
            }
            Self::Update(updates) => updates.sign(signer, chain_id, nonce, fees),
            Self::Infer(inferences) => inferences.sign(signer, chain_id, nonce, fees, index),
        }
    }
}

/// Receiver, wei, data, gas limit.
type Call = (TxKind, U256, Bytes, u64);

fn ordinary(chain_id: u64, nonce: u64, fees: Fees, (to, value, input, gas_limit): Call) -> TxEip1559 {
    TxEip1559 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: fees.cap,
        max_priority_fee_per_gas: fees.tip,
        to,
        value,
        access_list: Default::default(),
        input,
    }
}

fn receiver(index: u32) -> Address {
    Address::left_padding_from(&(0x10_0000_0000_u64 + u64::from(index % RECEIVERS)).to_be_bytes())
}

fn token_transfer(to: Address, value: u128) -> Bytes {
    let mut data = keccak256("transfer(address,uint256)")[..4].to_vec();
    data.extend_from_slice(to.into_word().as_slice());
    data.extend_from_slice(&U256::from(value).to_be_bytes::<32>());
    data.into()
}

/// Development account 0, which pays for everything.
struct Funder<'a> {
    client: &'a Client,
    signer: TxSigner,
    chain_id: u64,
    nonce: u64,
    batch: usize,
}

impl<'a> Funder<'a> {
    fn open(client: &'a Client, batch: usize) -> Result<Self, Failure> {
        let signer = TxSigner::new(DEV_ACCOUNTS[0].1).expect("the development keys are valid");
        let value = client.call("eth_getTransactionCount", json!([signer.address(), "pending"]))?;
        let nonce =
            quantity(&value).ok_or_else(|| Failure::new(format!("eth_getTransactionCount answered {value}")))?;
        Ok(Self { client, signer, chain_id: wallet::chain_id(client)?, nonce, batch })
    }

    /// Gives each of these accounts what `each` transactions of this gas limit cost at most; the fees that they can pay.
    fn fund(&mut self, signers: &[TxSigner], gas_limit: u64, each: u64) -> Result<Fees, Failure> {
        let fees = self.fees(each * signers.len() as u64, gas_limit)?;
        let share = U256::from(fees.cap) * U256::from(gas_limit) * U256::from(each) + U256::from(2 * each);
        let gifts = signers.iter().map(|signer| (TxKind::Call(signer.address()), share, Bytes::new(), TRANSFER_GAS));
        self.send(gifts.collect())?;
        Ok(fees)
    }

    /// The accounts' next nonces.
    fn nonces(&self, signers: &[TxSigner]) -> Result<Vec<u64>, Failure> {
        let mut nonces = Vec::with_capacity(signers.len());
        for part in signers.chunks(self.batch) {
            let params: Vec<Value> = part.iter().map(|signer| json!([signer.address(), "latest"])).collect();
            for nonce in self.client.batch("eth_getTransactionCount", &params)? {
                nonces.push(number("eth_getTransactionCount", &nonce)? as u64);
            }
        }
        Ok(nonces)
    }

    /// A fee cap that `n` transactions can pay even when they fill block after block and so drive the base fee up, as far
    /// as the account's money goes.
    fn fees(&self, n: u64, gas_limit: u64) -> Result<Fees, Failure> {
        let price = number("eth_gasPrice", &self.client.call("eth_gasPrice", json!([]))?)?;
        let balance = self.client.call("eth_getBalance", json!([self.signer.address(), "latest"]))?;
        let balance: U256 = crate::client::decode("eth_getBalance", balance)?;
        let gas = n.saturating_mul(gas_limit);
        let growth = 1.4_f64.powf(gas.div_ceil(BLOCK_GAS) as f64).clamp(3.0, FEE_GROWTH_MAX);
        let wanted = price.saturating_mul(growth as u128) + 2 * TIP;
        let affordable = balance / U256::from(BALANCE_PARTS) / U256::from(gas);
        let cap = affordable.try_into().unwrap_or(u128::MAX).min(wanted);
        if cap < price.saturating_mul(2) + TIP {
            let address = self.signer.address();
            return Err(Failure::new(format!(
                "development account {address} holds {balance} wei, too little to fund {n} transactions of {gas_limit} gas"
            ))
            .next("choose a smaller --n, or restart the node"));
        }
        Ok(Fees { cap, tip: TIP })
    }

    /// Sends these calls, in order, and waits until they are mined.
    fn send(&mut self, calls: Vec<Call>) -> Result<(), Failure> {
        let gas = calls.iter().map(|call| call.3).max().unwrap_or(TRANSFER_GAS);
        let fees = self.fees(calls.len() as u64, gas)?;
        let mut raw = Vec::new();
        for call in calls {
            let tx: TxEnvelope = self.signer.sign(ordinary(self.chain_id, self.nonce, fees, call)).into();
            raw.push(json!([hex::encode_prefixed(tx.encoded_2718())]));
            self.nonce += 1;
        }
        for part in raw.chunks(self.batch) {
            self.client.batch("eth_sendRawTransaction", part)?;
        }
        let address = self.signer.address();
        let mined = || {
            let value = self.client.call("eth_getTransactionCount", json!([address, "latest"]))?;
            Ok((quantity(&value) >= Some(self.nonce)).then_some(()))
        };
        poll(SETUP_TIMEOUT, mined)?.ok_or_else(|| {
            Failure::new(format!("the node did not mine the setup in {} s", SETUP_TIMEOUT.as_secs()))
                .next("a node is wanted that mines by itself")
        })
    }

    fn deploy_token(&mut self) -> Result<Address, Failure> {
        let artifact: Value = serde_json::from_str(TOKEN).expect("committed artifacts are JSON");
        let code = hex::decode(artifact["bytecode"].as_str().unwrap_or_default());
        let mut code = code.expect("committed bytecode is hex");
        code.extend_from_slice(&U256::from(TOKEN_SUPPLY).to_be_bytes::<32>());
        let token = self.signer.address().create(self.nonce);
        self.send(vec![(TxKind::Create, U256::ZERO, code.into(), TOKEN_DEPLOY_GAS)])?;
        let deployed = self.client.call("eth_getCode", json!([token, "latest"]))?;
        if deployed == "0x" {
            return Err(Failure::new(format!("no contract is at {token} after the deployment of the test token")));
        }
        Ok(token)
    }
}

fn number(method: &str, value: &Value) -> Result<u128, Failure> {
    quantity_u128(value).ok_or_else(|| Failure::new(format!("{method} answered {value}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_consensus::Transaction;
    use lattice_types::{decode_transaction, recover, spec::ChainSpec};

    #[test]
    fn every_transaction_is_signed_once_and_nonces_have_no_gap() {
        let signers = new_signers(7);
        let fees = Fees { cap: 9, tip: 1 };
        let first = [0, 5, 0, 0, 0, 0, 0];
        let sign = |signer: &TxSigner, nonce, index| Job::Transfer.sign(signer, 31337, nonce, fees, index);
        let work = sign_all(&signers, &first, 23, sign);
        assert_eq!(work.iter().map(|sent| sent.raw.len()).sum::<usize>(), 23);
        let mut receivers = Vec::new();
        for ((signer, sent), first) in signers.iter().zip(&work).zip(first) {
            assert_eq!((sent.address, sent.nonce_after), (signer.address(), first + sent.raw.len() as u64));
            for (nonce, (raw, hash)) in (first..).zip(sent.raw.iter().zip(&sent.hashes)) {
                let tx = decode_transaction(&hex::decode(raw).unwrap()).unwrap();
                let tx = recover(tx, &ChainSpec::dev()).unwrap();
                assert_eq!((tx.signer(), tx.nonce(), tx.inner().hash()), (sent.address, nonce, hash));
                receivers.push(tx.to().unwrap());
            }
        }
        receivers.sort();
        assert_eq!(receivers, (0..23).map(receiver).collect::<Vec<_>>());
    }
}
