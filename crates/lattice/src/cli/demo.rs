//! `lattice demo`: the whole story on a node of its own, every step checked.

use super::{
    Output, dag,
    dev::{explain, start_log, temporary_dir},
    print_line, progress,
};
use crate::{
    amount,
    client::{Client, decode},
    failure::Failure,
    import,
    node::{Node, NodeOptions},
    registry::{self, Callable, Package},
    tensors,
    wallet::{Call, Receipt, Wallet, call_request, receipt},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use lattice_inference::{Graph, Model, Tensor};
use lattice_storage::Engine;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{net::Ipv4Addr, time::Instant};

/// The contracts, as `contracts/` compiles them.
const COUNTER: &str = include_str!("../../../../contracts/artifacts/Counter.json");
const CLASSIFIER: &str = include_str!("../../../../contracts/artifacts/Classifier.json");

/// One image of each digit that the training has not seen, with the probabilities that scikit-learn gives.
const DIGITS_SAMPLES: &str = include_str!("../../../../models/digits-samples.json");
/// The sample that the story shows.
const DIGIT: usize = 7;
/// How far our probabilities may be from scikit-learn's, which are rounded to six decimals.
const PROBABILITY_TOLERANCE: f64 = 1e-5;
/// Transfers at the beginning.
const TRANSFERS: usize = 3;
/// Blocks of the DAG that are shown.
const DAG_SHOWN: u64 = 64;

/// Arguments of `lattice demo`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `lattice demo`: starts a node on a free port with a temporary directory, and ends it.
pub fn run(_args: &Args, output: Output) -> Result<(), Failure> {
    start_log()?;
    let start = Instant::now();
    let datadir = temporary_dir()?;
    let options = NodeOptions {
        host: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        datadir: datadir.path().to_path_buf(),
        archive: false,
        trusted: None,
        engine: Engine::default(),
        sync_interval: None,
        network: None,
    };
    let node = Node::start(&options).map_err(|error| explain(&error, &options))?;
    let client = Client::new(&format!("http://{}", node.addr()))?;
    let mut story = Story { client: &client, json: output.json, facts: Map::new() };
    let told = story.tell();
    let mut facts = story.facts;
    // A node that stops waits for its connections.
    drop(client);
    let stopped = node.stop().map_err(|error| Failure::new(format!("the node did not stop cleanly: {error}")));
    facts.insert("elapsed_ms".into(), json!(start.elapsed().as_millis() as u64));
    if let Err(failure) = told.and(stopped) {
        facts.insert("ok".into(), json!(false));
        return Err(failure.facts(Value::Object(facts)));
    }
    facts.insert("ok".into(), json!(true));
    output.print(&Value::Object(facts), || format!("\nAll of it holds. {:.1} s", start.elapsed().as_secs_f64()))
}

struct Story<'a> {
    client: &'a Client,
    json: bool,
    facts: Map<String, Value>,
}

impl Story<'_> {
    fn tell(&mut self) -> Result<(), Failure> {
        self.node()?;
        self.transfers()?;
        self.counter()?;
        let graph = import::digits()?;
        let sample = Sample::bundled()?;
        let input = sample.tensor(&graph)?;
        let model_id = self.push(&graph)?;
        let (hash, expected) = self.inference(&graph, model_id, &sample, &input)?;
        self.solidity(model_id, &input, &expected)?;
        self.replay(hash)?;
        self.dag()
    }

    /// A line of the story: on stdout for people, on stderr beside JSON.
    fn say(&self, line: &str) {
        if self.json { progress(line) } else { print_line(line) }
    }

    fn note(&mut self, name: &str, facts: Value) {
        self.facts.insert(name.into(), facts);
    }

    fn node(&mut self) -> Result<(), Failure> {
        let status = self.client.call("lattice_status", json!([]))?;
        self.say(&format!(
            "A node of its own at {}, chain {}",
            self.client.url(),
            status["chainName"].as_str().unwrap_or("?")
        ));
        self.note(
            "node",
            json!({ "rpc_url": self.client.url(), "client": status["clientVersion"], "chain_id": status["chainId"] }),
        );
        Ok(())
    }

    fn transfers(&mut self) -> Result<(), Failure> {
        let wallet = Wallet::of_dev_account(self.client, 0)?;
        let (to, value) = (Address::repeat_byte(0x11), U256::from(1_500_000_000_000_000_000u64));
        let mut hashes = Vec::new();
        for _ in 0..TRANSFERS {
            let hash = wallet.send(&Call { to: Some(to), value, ..Call::default() })?;
            check("a transfer costs 21,000 gas", &wallet.confirm(hash)?.gas_used(), &21_000)?;
            hashes.push(hash);
        }
        let balance: U256 = decode("eth_getBalance", self.client.call("eth_getBalance", json!([to, "latest"]))?)?;
        check("the receiver has what was sent", &balance, &(value * U256::from(TRANSFERS)))?;
        self.say(&format!("Transfers: {TRANSFERS} x {} LAT to {to}", amount::to_lat(value)));
        self.note("transfers", json!({ "tx_hashes": hashes, "to": to, "balance_wei": balance.to_string() }));
        Ok(())
    }

    fn counter(&mut self) -> Result<(), Failure> {
        let wallet = Wallet::of_dev_account(self.client, 1)?;
        let (deployed, address) = deploy(&wallet, COUNTER, &[])?;
        let mut gas_used = 0;
        for _ in 0..2 {
            gas_used = self.transact(&wallet, address, "increment()", &[])?.gas_used();
        }
        let number = self.read_word(address, "number()", &[])?;
        check("the counter counted twice", &number, &U256::from(2))?;
        self.say(&format!("A Solidity contract: Counter at {address} counted to {number}"));
        self.note(
            "contract",
            json!({
                "name": "Counter", "address": address, "tx_hash": deployed.transaction_hash,
                "number": number.to_string(), "gas_used": gas_used,
            }),
        );
        Ok(())
    }

    fn push(&mut self, graph: &Graph) -> Result<B256, Failure> {
        let start = Instant::now();
        let wallet = Wallet::of_dev_account(self.client, 0)?;
        let package = Package::new(graph, "digits")?;
        let pushed = package.push(self.client, &wallet, &progress)?;
        let took_ms = start.elapsed().as_millis() as u64;
        let again = package.push(self.client, &wallet, &|_| ())?;
        check("pushing again sends nothing", &again.tx_hash, &None)?;
        let (bytes, gas) = (package.size_bytes(), graph.cost().gas());
        self.say(&format!("A model: digits.onnx is {} ({bytes} bytes, {gas} gas a run), active", pushed.model_id));
        self.note(
            "model",
            json!({
                "model_id": pushed.model_id, "tx_hash": pushed.tx_hash, "cid": pushed.cid, "status": pushed.status,
                "bytes": bytes, "gas": gas, "push_ms": took_ms,
            }),
        );
        Ok(pushed.model_id)
    }

    /// Runs the model by an AI transaction; the output must be the local executor's, bit for bit.
    fn inference(
        &mut self,
        graph: &Graph,
        model_id: B256,
        sample: &Sample,
        input: &Tensor,
    ) -> Result<(B256, Vec<u8>), Failure> {
        let wallet = Wallet::of_dev_account(self.client, 2)?;
        let report = Callable::find(self.client, model_id)?.infer(&wallet, std::slice::from_ref(input), None)?;
        let local = Model::load(graph.clone()).map_err(|error| Failure::new(error.to_string()))?;
        let local = local.run(std::slice::from_ref(input)).map_err(|error| Failure::new(error.to_string()))?;
        let expected = tensors::concat_bytes(&local);
        let on_chain: Vec<Tensor> = report.outputs.iter().map(|output| output.tensor.clone()).collect();
        check("the chain's output is the local executor's", &tensors::concat_bytes(&on_chain), &expected)?;
        check(
            "the probabilities are scikit-learn's",
            &on_chain.first().is_some_and(|found| sample.agrees(found)),
            &true,
        )?;
        let label = on_chain.first().and_then(tensors::argmax);
        check("the digit is recognised", &label, &Some(DIGIT))?;
        let hash = report.tx_hash.expect("an inference on a chain has a transaction");
        self.say(&format!("An inference by transaction {hash}: the image shows a {DIGIT}"));
        let report = serde_json::to_value(&report).map_err(|error| Failure::new(error.to_string()))?;
        self.note("inference", json!({
            "tx_hash": hash, "label": label, "outputs": report["outputs"], "gas_used": report["gas_used"], "grade": report["grade"],
        }));
        Ok((hash, expected))
    }

    /// The same through a contract that calls the precompile.
    fn solidity(&mut self, model_id: B256, input: &Tensor, expected: &[u8]) -> Result<(), Failure> {
        let wallet = Wallet::of_dev_account(self.client, 3)?;
        let (_, address) = deploy(&wallet, CLASSIFIER, model_id.as_slice())?;
        let argument = abi_of_bytes(&input.to_bytes());
        let label = self.read_word(address, "classify(bytes)", &argument)?;
        check("the contract's view recognises the digit", &label, &U256::from(DIGIT))?;
        let done = self.transact(&wallet, address, "record(bytes)", &argument)?;
        let event = done.logs.iter().find(|log| log.topics.first() == Some(&keccak256("Classified(address,uint256)")));
        let logged = event.map(|log| U256::from_be_slice(&log.data));
        check("the contract logs the label", &logged, &Some(U256::from(DIGIT)))?;
        check("the contract keeps the label", &self.read_word(address, "lastLabel()", &[])?, &U256::from(DIGIT))?;
        let request = [model_id.as_slice(), &input.to_bytes()].concat();
        let call = Call { to: Some(lattice_types::system::MODEL_EXEC), data: request.into(), ..Call::default() };
        let direct: Bytes =
            decode("eth_call", self.client.call("eth_call", json!([call_request(None, &call), "latest"]))?)?;
        check("the precompile's output is the transaction's", &direct.as_ref(), &expected)?;
        let hash = done.transaction_hash;
        self.say(&format!("The same in Solidity: Classifier at {address} says {label} by {hash}"));
        self.note(
            "solidity",
            json!({
                "name": "Classifier", "address": address, "tx_hash": hash, "label": DIGIT, "gas_used": done.gas_used(),
            }),
        );
        Ok(())
    }

    fn replay(&mut self, hash: B256) -> Result<(), Failure> {
        let replay = self.client.call("lattice_replayInference", json!([hash]))?;
        check("the replay gives what was recorded", &replay["matches"], &json!(true))?;
        check("the replayed hash is the recorded one", &replay["replayed"], &replay["recorded"])?;
        let recorded = receipt(self.client, hash)?.map(|receipt| registry::output_of(&receipt)).transpose()?;
        let output_hash = recorded.map(|output| json!(keccak256(output)));
        check("the record is the hash of the logged output", &output_hash.unwrap_or_default(), &replay["recorded"])?;
        self.say(&format!("Its replay: output hash {} again", replay["replayed"].as_str().unwrap_or("?")));
        self.note("replay", replay);
        Ok(())
    }

    fn dag(&mut self) -> Result<(), Failure> {
        let dag = self.client.call("lattice_getDag", json!([DAG_SHOWN]))?;
        let blocks = dag["blocks"].as_array().map_or(0, Vec::len);
        let text = dag::draw(&dag);
        check("the DAG has a block for every step", &(blocks > TRANSFERS), &true)?;
        self.say(&format!("The DAG, {blocks} blocks:\n{text}"));
        self.note("dag", json!({ "blocks": blocks, "sink": dag["sink"], "tips": dag["tips"], "text": text }));
        Ok(())
    }

    fn transact(
        &self,
        wallet: &Wallet<'_>,
        to: Address,
        signature: &str,
        arguments: &[u8],
    ) -> Result<Receipt, Failure> {
        let hash = wallet.send(&Call { to: Some(to), data: call_data(signature, arguments), ..Call::default() })?;
        wallet.confirm(hash)
    }

    fn read_word(&self, to: Address, signature: &str, arguments: &[u8]) -> Result<U256, Failure> {
        let call = Call { to: Some(to), data: call_data(signature, arguments), ..Call::default() };
        let answer: Bytes =
            decode("eth_call", self.client.call("eth_call", json!([call_request(None, &call), "latest"]))?)?;
        let word: Option<[u8; 32]> = answer.as_ref().try_into().ok();
        word.map(U256::from_be_bytes)
            .ok_or_else(|| Failure::new(format!("{signature} answered {answer}, expected one word")))
    }
}

/// A fact that must hold, or the demo fails with what was found.
fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format!("check failed: {what}: found {found:?}, expected {expected:?}")))
}

/// Deploys a compiled contract.
fn deploy(wallet: &Wallet<'_>, artifact: &str, arguments: &[u8]) -> Result<(Receipt, Address), Failure> {
    let artifact: Value = serde_json::from_str(artifact).expect("committed artifacts are JSON");
    let mut code = hex::decode(artifact["bytecode"].as_str().unwrap_or_default()).expect("committed bytecode is hex");
    code.extend_from_slice(arguments);
    let hash = wallet.send(&Call { to: None, data: code.into(), ..Call::default() })?;
    let receipt = wallet.confirm(hash)?;
    let address = receipt.contract_address;
    let address = address.ok_or_else(|| Failure::new(format!("the receipt of {hash} names no contract")))?;
    Ok((receipt, address))
}

fn call_data(signature: &str, arguments: &[u8]) -> Bytes {
    [&keccak256(signature)[..4], arguments].concat().into()
}

/// ABI encoding of one `bytes` argument.
fn abi_of_bytes(bytes: &[u8]) -> Vec<u8> {
    let word = |number: usize| U256::from(number).to_be_bytes::<32>();
    let mut out = [word(32), word(bytes.len())].concat();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(32), 0);
    out
}

/// A handwritten digit: 8 x 8 grey values from 0 to 16, and the probabilities of the ten labels.
#[derive(Deserialize)]
struct Sample {
    label: usize,
    image: Vec<f32>,
    probabilities: Vec<f64>,
}

impl Sample {
    fn bundled() -> Result<Self, Failure> {
        let samples: Vec<Self> = serde_json::from_str(DIGITS_SAMPLES).expect("committed samples are JSON");
        let found = samples.into_iter().find(|sample| sample.label == DIGIT);
        found.ok_or_else(|| Failure::new(format!("no bundled sample shows a {DIGIT}")))
    }

    /// The image in the shape that the model declares.
    fn tensor(&self, graph: &Graph) -> Result<Tensor, Failure> {
        Tensor::from_f32(graph.inputs()[0].shape.clone(), self.image.clone())
            .map_err(|error| Failure::new(format!("the bundled image does not fit the bundled model: {error}")))
    }

    fn agrees(&self, output: &Tensor) -> bool {
        let found = output.to_f64s();
        let is_near = |(a, b): (&f64, &f64)| (a - b).abs() <= PROBABILITY_TOLERANCE;
        found.len() == self.probabilities.len() && found.iter().zip(&self.probabilities).all(is_near)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_encoded_as_solidity_expects() {
        let encoded = abi_of_bytes(b"abc");
        assert_eq!(encoded.len(), 96);
        assert_eq!((encoded[31], encoded[63], &encoded[64..68]), (32, 3, b"abc\0".as_slice()));
        assert_eq!(registry::abi_bytes(&encoded), Some(b"abc".as_slice()));
        assert_eq!(abi_of_bytes(&[1; 32]).len(), 96);
    }
}
