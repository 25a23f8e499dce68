//! Models on a node: what is registered, how one gets there, and running it by a transaction.

use crate::{
    artifacts::Artifact,
    client::{Client, quantity},
    failure::Failure,
    tensors::{NamedTensor, Slot, concat_bytes, split_bytes},
    wallet::{AiTerms, Call, LogEntry, Receipt, Wallet, poll},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_execution::ai::{RUN_GAS_PER_BYTE, adapter_work, load_gas};
use lattice_inference::{Graph, Tensor};
use lattice_types::{
    Cid,
    limits::MODEL_NAME_BYTES_MAX,
    system,
    tx::{
        Inference, InferencePayload, ModelCommitments, ModelDelta, ModelDeploy, ModelDeployPayload, ModelUpdate,
        ModelUpdatePayload, RequestTerms,
    },
};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Signature of the log that an inference leaves; its data is the output.
const INFERENCE_COMPLETED: &[u8] = b"InferenceCompleted(bytes32,address,bytes32,bytes)";
/// Signatures of the logs of requests; the first topic is the request's id.
pub const INFERENCE_REQUESTED: &[u8] = b"InferenceRequested(bytes32,bytes32,address,bytes)";
const PROOF_REQUESTED: &[u8] = b"ProofRequested(bytes32,bytes32,address,bytes32,uint256,uint256)";
/// A model that is not active by then is reported as late.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// A frozen graph with all that its registration names.
#[derive(Debug)]
pub struct Package {
    /// The model id: keccak of the artifact's bytes.
    pub model_id: B256,
    /// CID of the artifact's manifest.
    pub cid: Cid,
    artifact: Artifact,
    deploy: ModelDeployPayload,
}

/// What `model push` and `model update` answer.
#[derive(Debug, Clone, Serialize)]
pub struct Pushed {
    /// The model id.
    pub model_id: B256,
    /// The registering transaction; none when the model was registered before.
    pub tx_hash: Option<B256>,
    /// The artifact's CID.
    pub cid: String,
    /// `active`.
    pub status: String,
}

impl Package {
    /// Encodes a graph and cuts it into chunks.
    ///
    /// # Errors
    /// When the artifact is larger than the chain allows.
    pub fn new(graph: &Graph, name: &str) -> Result<Self, Failure> {
        let artifact = Artifact::new(graph.encode(), "the model")?;
        let (model_id, cid) = (keccak256(artifact.bytes()), artifact.cid());
        let deploy = ModelDeployPayload {
            model_id,
            artifact: cid,
            artifact_bytes: artifact.bytes().len() as u64,
            gas: graph.cost().gas(),
            input_bytes: graph.input_bytes() as u64,
            output_bytes: graph.output_bytes() as u64,
            name: cut_name(name),
            commitments: None,
        };
        Ok(Self { model_id, cid, artifact, deploy })
    }

    /// The same with what its registration commits to beyond the artifact.
    #[must_use]
    pub fn with_commitments(mut self, commitments: Option<ModelCommitments>) -> Self {
        self.deploy.commitments = commitments;
        self
    }

    /// What the registration says.
    pub const fn payload(&self) -> &ModelDeployPayload {
        &self.deploy
    }

    /// Bytes of the artifact.
    pub fn size_bytes(&self) -> usize {
        self.artifact.bytes().len()
    }

    /// Uploads what the node lacks, registers the model unless it is there, and waits until it is active.
    pub fn push(&self, client: &Client, wallet: &Wallet<'_>, progress: &dyn Fn(&str)) -> Result<Pushed, Failure> {
        self.register(client, progress, || {
            wallet.confirm(wallet.send_ai::<ModelDeploy>(&self.deploy, &AiTerms::default())?)
        })
    }

    /// As [`Package::push`], but as the next version of a line.
    pub fn push_update(
        &self,
        client: &Client,
        wallet: &Wallet<'_>,
        progress: &dyn Fn(&str),
        place: &UpdatePlace,
    ) -> Result<Pushed, Failure> {
        let update = ModelUpdatePayload {
            model_id: place.line,
            parent_version: place.parent_version,
            version: self.deploy.clone(),
            delta: place.delta,
        };
        self.register(client, progress, || wallet.confirm(wallet.send_ai::<ModelUpdate>(&update, &AiTerms::default())?))
    }

    fn register(
        &self,
        client: &Client,
        progress: &dyn Fn(&str),
        send: impl FnOnce() -> Result<Receipt, Failure>,
    ) -> Result<Pushed, Failure> {
        let known = model(client, &self.model_id)?;
        let status = known.as_ref().and_then(|model| model["status"].as_str()).map(str::to_owned);
        self.artifact.upload(client, progress)?;
        let tx_hash = match status.as_deref() {
            Some("active") => {
                progress("the model is registered and active already");
                return Ok(self.pushed(None, "active"));
            }
            Some(_) => None,
            None => {
                let receipt = send()?;
                let hash = receipt.transaction_hash;
                progress(&format!("registered in block {} by {hash}", receipt.block_number()));
                Some(hash)
            }
        };
        self.wait_until_active(client)?;
        Ok(self.pushed(tx_hash, "active"))
    }

    fn pushed(&self, tx_hash: Option<B256>, status: &str) -> Pushed {
        Pushed { model_id: self.model_id, tx_hash, cid: self.cid.to_string(), status: status.into() }
    }

    fn wait_until_active(&self, client: &Client) -> Result<(), Failure> {
        let is_active = || {
            let model = model(client, &self.model_id)?;
            Ok(model.filter(|model| model["status"] == "active").map(drop))
        };
        poll(ACTIVE_TIMEOUT, is_active)?.ok_or_else(|| {
            let id = self.model_id;
            let seconds = ACTIVE_TIMEOUT.as_secs();
            Failure::new(format!("model {id} is registered, but not active after {seconds} s"))
                .next(format!("see which chunks the node lacks with `lattice model show {id}`, then push again"))
                .facts(json!({ "model_id": id, "cid": self.cid.to_string(), "status": "pending" }))
        })
    }
}

/// Where a new version goes.
#[derive(Debug, Clone)]
pub struct UpdatePlace {
    /// The line: the id of its first version.
    pub line: B256,
    /// The version that the new one follows.
    pub parent_version: u64,
    /// How nodes that hold an older version can make this one.
    pub delta: Option<ModelDelta>,
}

/// A name of at most the allowed bytes, cut at a character.
fn cut_name(name: &str) -> String {
    let mut end = name.len().min(MODEL_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// A model's record and signature as `lattice_getModel` gives them; none when it is not registered.
pub fn model(client: &Client, id: &B256) -> Result<Option<Value>, Failure> {
    let model = client.call("lattice_getModel", json!([id]))?;
    Ok(Some(model).filter(|model| !model.is_null()))
}

/// The failure of naming a model that is not registered.
pub fn unknown_model(client: &Client, id: &B256) -> Failure {
    Failure::new(format!("no model {id} is registered at {}", client.url()))
        .next("list the registered ones with `lattice model list`, or push its file with `lattice model push FILE`")
}

/// A registered model that can be called.
#[derive(Debug)]
pub struct Callable {
    id: B256,
    /// Declared inputs, in graph order.
    pub inputs: Vec<Slot>,
    /// Declared outputs, in graph order.
    pub outputs: Vec<Slot>,
    ai_gas: u64,
}

/// The most AI gas that one run takes: the graph's cost, its input and output, and loading the artifact.
fn ai_gas_of(model: &Value) -> Option<u64> {
    let field = |name: &str| quantity(&model[name]).or_else(|| model[name].as_u64());
    let moved = field("inputBytes")?.saturating_add(field("outputBytes")?).saturating_mul(RUN_GAS_PER_BYTE);
    let loaded = load_gas(field("artifactBytes")?);
    Some(field("gas")?.saturating_add(moved).saturating_add(loaded))
}

/// AI gas of loading and merging an adapter, or the parts of a composition.
fn adapter_gas(client: &Client, record: &Value, base: &Value) -> Result<u64, Failure> {
    let number = |record: &Value, name: &str| quantity(&record[name]).unwrap_or_default();
    let parts: Vec<Value> = match record["parts"].as_array() {
        Some(parts) => {
            let ids = parts.iter().filter_map(|part| part["adapterId"].as_str()?.parse().ok());
            ids.map(|id| adapter(client, &id)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
        }
        None => vec![record.clone()],
    };
    let adapters: Vec<(u64, u64)> =
        parts.iter().map(|part| (number(part, "artifactBytes"), number(part, "rank"))).collect();
    Ok(adapter_work(&adapters, number(base, "artifactBytes")))
}

/// An adapter's or a composition's record; none when it is not registered.
pub fn adapter(client: &Client, id: &B256) -> Result<Option<Value>, Failure> {
    let adapter = client.call("lattice_getAdapter", json!([id]))?;
    Ok(Some(adapter).filter(|adapter| !adapter.is_null()))
}

/// Waits until a registered adapter is active.
pub fn wait_for_adapter(client: &Client, id: &B256) -> Result<(), Failure> {
    let is_active = || Ok(adapter(client, id)?.filter(|adapter| adapter["status"] == "active").map(drop));
    poll(ACTIVE_TIMEOUT, is_active)?.ok_or_else(|| {
        let seconds = ACTIVE_TIMEOUT.as_secs();
        Failure::new(format!("adapter {id} is registered, but not active after {seconds} s"))
            .next("the node's log says why it does not fit its base; its record: `lattice lora show`")
    })
}

/// AI gas of that much work at a lane price, with headroom for two full blocks: an eighth each. Unused gas is not paid.
fn ai_gas_bound(work: u64, price_nanos: u64) -> u64 {
    // A node may answer anything: no product of two u64 and 81 may overflow.
    let gas = (u128::from(work) * u128::from(price_nanos)).saturating_mul(81) / 64;
    u64::try_from(gas.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// What a run gave.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// Outputs in graph order.
    pub outputs: Vec<NamedTensor>,
    /// The transaction; none for a run without a chain.
    pub tx_hash: Option<B256>,
    /// Gas of the whole transaction; the static gas of the graph for a run without a chain.
    pub gas_used: u64,
    /// `replay` on a chain, `local` without one.
    pub grade: &'static str,
}

impl Callable {
    /// Looks a model up and makes sure that it can run.
    pub fn find(client: &Client, id: B256) -> Result<Self, Failure> {
        let adapter = adapter(client, &id)?;
        let called = match &adapter {
            Some(adapter) => adapter["baseModel"].as_str().and_then(|base| base.parse().ok()).unwrap_or(id),
            None => id,
        };
        let model = model(client, &called)?.ok_or_else(|| unknown_model(client, &id))?;
        if let Some(adapter) = adapter.as_ref().filter(|adapter| adapter["status"] != "active") {
            return Err(Failure::new(format!("adapter {id} is not active yet: its status is {}", adapter["status"]))
                .next("upload its artifact by registering the file again: `lattice lora register BASE DIR`"));
        }
        if model["status"] != "active" {
            let status = &model["status"];
            return Err(Failure::new(format!("model {id} is not active yet: its status is {status}"))
                .next("upload its artifact by pushing the file again: `lattice model push FILE`"));
        }
        let slots = |field: &str| -> Result<Vec<Slot>, Failure> {
            let list = model[field].as_array().ok_or_else(|| {
                Failure::new(format!("the node at {} does not hold the artifact of model {id}", client.url()))
                    .next("push the model's file again: `lattice model push FILE`")
            })?;
            let read = |value| Slot::from_json(value).ok_or_else(|| Failure::new(format!("unknown signature {value}")));
            list.iter().map(read).collect()
        };
        let own = ai_gas_of(&model).ok_or_else(|| Failure::new("the node gave no cost of the model"))?;
        let ai_gas = own.saturating_add(adapter.map_or(Ok(0), |adapter| adapter_gas(client, &adapter, &model))?);
        let lane = client.call("lattice_aiGas", json!([]))?;
        let price = quantity(&lane["priceNext"])
            .ok_or_else(|| Failure::new(format!("lattice_aiGas answered {lane}, without priceNext")))?;
        let ai_gas = ai_gas_bound(ai_gas, price);
        Ok(Self { id, inputs: slots("inputs")?, outputs: slots("outputs")?, ai_gas })
    }

    /// The bound on AI gas that a run needs.
    pub const fn ai_gas(&self) -> u64 {
        self.ai_gas
    }

    /// Runs the model by an Inference transaction and reads the output from its receipt's log.
    pub fn infer(&self, wallet: &Wallet<'_>, tensors: &[Tensor], gas: Option<u64>) -> Result<RunReport, Failure> {
        let payload = self.payload(tensors, InferencePayload::REPLAY, None);
        let terms = AiTerms { ai_gas: self.ai_gas, gas, ..AiTerms::default() };
        let hash = wallet.send_ai::<Inference>(&payload, &terms)?;
        let receipt = wallet.confirm(hash)?;
        let output = output_of(&receipt)?;
        let outputs = split_bytes(&output, &self.outputs)?;
        Ok(RunReport { outputs, tx_hash: Some(hash), gas_used: receipt.gas_used(), grade: "replay" })
    }

    /// Asks for a run that is answered later: by a bonded provider, who has terms, or by a proof. Nothing runs now.
    pub fn request(
        &self,
        wallet: &Wallet<'_>,
        tensors: &[Tensor],
        grade: u8,
        bonded: Option<RequestTerms>,
        terms: &AiTerms,
    ) -> Result<Requested, Failure> {
        let (name, event) = match grade {
            InferencePayload::BONDED => ("bonded", INFERENCE_REQUESTED),
            InferencePayload::TRACED => ("traced", INFERENCE_REQUESTED),
            _ => ("proof", PROOF_REQUESTED),
        };
        let payload = self.payload(tensors, grade, bonded);
        let hash = if grade == InferencePayload::TRACED {
            // Its graph is loaded to see whether it can be judged: the call declares that work.
            let data = alloy_rlp::encode(&payload).into();
            wallet.send(&Call { to: Some(system::INFERENCE), value: terms.value, data, gas: terms.gas })?
        } else {
            wallet.send_ai::<Inference>(&payload, terms)?
        };
        let receipt = wallet.confirm(hash)?;
        let request_id = logged_id(&receipt, system::INFERENCE, event)?;
        Ok(Requested {
            request_id,
            model_id: self.id,
            input_hash: keccak256(&payload.input),
            tx_hash: receipt.transaction_hash,
            gas_used: receipt.gas_used(),
            grade: name,
        })
    }

    fn payload(&self, tensors: &[Tensor], grade: u8, terms: Option<RequestTerms>) -> InferencePayload {
        InferencePayload { model_id: self.id, grade, input: concat_bytes(tensors).into(), terms }
    }
}

/// A request for a run that is answered later.
#[derive(Debug, Serialize)]
pub struct Requested {
    /// The request's id.
    pub request_id: B256,
    /// The model.
    pub model_id: B256,
    /// keccak of the input tensors.
    pub input_hash: B256,
    /// The transaction that asked.
    pub tx_hash: B256,
    /// Its gas.
    pub gas_used: u64,
    /// `bonded` or `proof`.
    pub grade: &'static str,
}

/// The log of an event that a system account wrote, in a receipt.
pub fn logged<'a>(receipt: &'a Receipt, account: Address, event: &[u8]) -> Result<&'a LogEntry, Failure> {
    let signature = keccak256(event);
    let found = receipt.logs.iter().find(|log| log.address == account && log.topics.first() == Some(&signature));
    found.ok_or_else(|| {
        let name = String::from_utf8_lossy(event.split(|c| *c == b'(').next().unwrap_or_default()).into_owned();
        Failure::new(format!("transaction {} left no {name} log", receipt.transaction_hash))
    })
}

/// The id that an event names in its first topic.
pub fn logged_id(receipt: &Receipt, account: Address, event: &[u8]) -> Result<B256, Failure> {
    let topics = &logged(receipt, account, event)?.topics;
    topics.get(1).copied().ok_or_else(|| Failure::new("the log names no id"))
}

/// The output bytes in the InferenceCompleted log.
pub fn output_of(receipt: &Receipt) -> Result<Vec<u8>, Failure> {
    let output = abi_bytes(&logged(receipt, system::INFERENCE, INFERENCE_COMPLETED)?.data).map(<[u8]>::to_vec);
    output.ok_or_else(|| Failure::new("the InferenceCompleted log is malformed"))
}

/// The single `bytes` value of an ABI-encoded tuple.
pub fn abi_bytes(data: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let word = data.get(at..at.checked_add(32)?)?;
        usize::try_from(U256::from_be_slice(word)).ok()
    };
    let offset = word(0)?;
    let length = word(offset)?;
    let start = offset.checked_add(32)?;
    data.get(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(cut_name("digits"), "digits");
        let long = "ä".repeat(MODEL_NAME_BYTES_MAX);
        let cut = cut_name(&long);
        assert!(cut.len() <= MODEL_NAME_BYTES_MAX && cut.len() + 1 >= MODEL_NAME_BYTES_MAX && long.starts_with(&cut));
    }

    #[test]
    fn abi_bytes_are_read_within_bounds() {
        let mut data = vec![0; 96];
        (data[31], data[63]) = (32, 3);
        data[64..67].copy_from_slice(b"abc");
        assert_eq!(abi_bytes(&data), Some(b"abc".as_slice()));
        data[63] = 33;
        assert_eq!(abi_bytes(&data), None);
        assert_eq!(abi_bytes(&[0xff; 96]), None);
        assert_eq!(abi_bytes(&[]), None);
    }

    #[test]
    fn a_bound_has_headroom_for_two_full_blocks() {
        assert_eq!(ai_gas_bound(64_000, 1_000_000_000), 81_000);
        assert_eq!(ai_gas_bound(64_000, 2_000_000_000), 162_000);
        assert_eq!(ai_gas_bound(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_bound_on_ai_gas_covers_loading_and_the_run() {
        let model = json!({ "gas": "0x3e8", "inputBytes": 100, "outputBytes": "0xa", "artifactBytes": 2049 });
        assert_eq!(ai_gas_of(&model), Some(1000 + 110 + load_gas(2049)));
        assert_eq!(ai_gas_of(&json!({})), None);
    }
}
