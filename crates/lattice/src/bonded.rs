//! Bonded requests on a node: their records, and what their logs carry.

use crate::{
    client::{Client, decode, quantity},
    failure::Failure,
    registry::{INFERENCE_REQUESTED, abi_bytes},
    wallet::LogEntry,
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_execution::ai::ANSWER_CHALLENGE_BLOCKS;
use lattice_training::dispute::ActivationTrace;
use lattice_types::system;
use serde_json::{Value, json};

/// Signature of the log of a traced answer's values; likewise, the data the RLP of their hashes.
const INFERENCE_TRACED: &[u8] = b"InferenceTraced(bytes32,bytes)";
/// Signature of the log of an answer; the first topic is the request's id, the data the output as ABI bytes.
const INFERENCE_ANSWERED: &[u8] = b"InferenceAnswered(bytes32,bytes32,address,bytes)";

/// A bonded request as a node tells it.
#[derive(Debug)]
pub struct BondedRequest {
    /// Its id.
    pub id: B256,
    /// The version asked for.
    pub model_id: B256,
    /// Who asked.
    pub requester: Address,
    /// Wei that an answer has to put at stake.
    pub bond_asked: U256,
    /// The record, as `lattice_getBondedRequest` gives it.
    pub record: Value,
}

impl BondedRequest {
    /// Reads a request; `None` when there is none of that id.
    pub fn find(client: &Client, id: B256) -> Result<Option<Self>, Failure> {
        let method = "lattice_getBondedRequest";
        let record = client.call(method, json!([id]))?;
        if record.is_null() {
            return Ok(None);
        }
        let field = |name: &str| record[name].clone();
        Ok(Some(Self {
            id,
            model_id: decode(method, field("modelId"))?,
            requester: decode(method, field("requester"))?,
            bond_asked: decode(method, field("bondAsked"))?,
            record,
        }))
    }

    /// A request that has to be there.
    pub fn require(client: &Client, id: B256) -> Result<Self, Failure> {
        Self::find(client, id)?.ok_or_else(|| {
            Failure::new(format!("there is no bonded request {id} at {}", client.url()))
                .next("check the id: `lattice run MODEL --grade bonded` prints it")
        })
    }

    /// `open`, `answered`, `final`, `slashed` or `expired`.
    pub fn status(&self) -> &str {
        self.record["status"].as_str().unwrap_or("?")
    }

    /// Raw input tensors, from the request's log.
    pub fn input(&self, client: &Client) -> Result<Vec<u8>, Failure> {
        let block = quantity(&self.record["createdAt"]).unwrap_or_default();
        let found = self.logged(client, INFERENCE_REQUESTED, block)?;
        let expected: B256 = decode("lattice_getBondedRequest", self.record["inputHash"].clone())?;
        let input = found.filter(|input| keccak256(input) == expected);
        input.ok_or_else(|| Failure::new(format!("block {block} has no log with the input of request {}", self.id)))
    }

    /// Whether its answer publishes the hashes of all values.
    pub fn is_traced(&self) -> bool {
        !self.record["traced"].is_null()
    }

    /// Raw output tensors, from the answer's log; `None` when there is no answer.
    pub fn output(&self, client: &Client) -> Result<Option<Vec<u8>>, Failure> {
        self.logged_by_answer(client, INFERENCE_ANSWERED)
    }

    /// The hashes of all values, from the log of a traced answer.
    pub fn trace(&self, client: &Client) -> Result<ActivationTrace, Failure> {
        let published = self.logged_by_answer(client, INFERENCE_TRACED)?.unwrap_or_default();
        let steps = alloy_rlp::decode_exact(&published);
        let steps = steps.map_err(|error| Failure::new(format!("the trace of request {}: {error}", self.id)))?;
        Ok(ActivationTrace { steps })
    }

    fn logged_by_answer(&self, client: &Client, event: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let until = quantity(&self.record["challengeUntil"]).unwrap_or_default();
        let Some(block) = until.checked_sub(ANSWER_CHALLENGE_BLOCKS) else { return Ok(None) };
        self.logged(client, event, block)
    }

    fn logged(&self, client: &Client, event: &[u8], block: u64) -> Result<Option<Vec<u8>>, Failure> {
        let number = format!("{block:#x}");
        let filter = json!({
            "address": system::INFERENCE, "topics": [keccak256(event), self.id], "fromBlock": number, "toBlock": number,
        });
        let logs: Vec<LogEntry> = decode("eth_getLogs", client.call("eth_getLogs", json!([filter]))?)?;
        Ok(logs.first().and_then(|log| abi_bytes(&log.data)).map(<[u8]>::to_vec))
    }

    /// Raw output tensors of the run that is asked for, by the node's own executor.
    pub fn replay(&self, client: &Client) -> Result<Vec<u8>, Failure> {
        let input = Bytes::from([self.model_id.as_slice(), &self.input(client)?].concat());
        // As the requester, whose permission it takes to run the model.
        let request = json!({ "from": self.requester, "to": system::MODEL_EXEC, "input": input });
        let output: Bytes = decode("eth_call", client.call("eth_call", json!([request, "latest"]))?)?;
        Ok(output.to_vec())
    }
}
