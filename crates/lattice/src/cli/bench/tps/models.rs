//! The kinds that need models: new versions of many lines, and runs of one model. Only a Lattice node has them.
//!
//! Models are registered, uploaded and active before the clock starts. The artifacts of new versions stay away: the chain
//! holds their commitments, and a version without an artifact is pending.

use super::{target::Target, work::Fees};
use crate::{
    client::{Client, ClientError},
    failure::Failure,
    import,
    registry::{Callable, Package},
    wallet::{AiTerms, Wallet},
};
use alloy_primitives::{Address, B256, keccak256};
use lattice_inference::Graph;
use lattice_types::{
    Cid, TxEnvelope,
    spec::ChainSpec,
    tx::{AiKind, Inference, InferencePayload, ModelDeployPayload, ModelUpdate, ModelUpdatePayload, TxAi, TxSigner},
};
use serde_json::json;
use std::collections::BTreeMap;

/// More than any registration takes.
pub const DEPLOY_GAS: u64 = 500_000;
/// Models that are registered at the same time.
const REGISTRARS: usize = 8;

/// Makes sure that the node is one of ours.
pub fn require_lattice(target: &Target) -> Result<(), Failure> {
    match target.client().call("lattice_aiGas", json!([])) {
        Ok(_) => Ok(()),
        Err(ClientError::Refused { .. }) => Err(Failure::new(format!(
            "{} at {} is no Lattice node: it has no models",
            target.version(),
            target.client().url()
        ))
        .next("leave --url out, which starts one, or choose --kind transfer or erc20")),
        Err(error) => Err(error.into()),
    }
}

/// Gas limits of the transactions that wait together so that a block keeps to its gas target: a full pool would drive the
/// base fee up by a third a block, and 20,000 updates fill seventy.
pub fn gas_in_flight() -> u64 {
    let spec = ChainSpec::dev();
    spec.gas_limit / spec.elasticity
}

/// Each sender's line of versions.
pub struct Updates {
    lines: BTreeMap<Address, B256>,
    /// What all versions have in common.
    version: ModelDeployPayload,
    /// Gas limit of an update.
    pub gas_limit: u64,
}

impl Updates {
    /// Registers a model for each sender, all different, and waits until they are active. Each sender's next nonce is 1.
    pub fn register(client: &Client, signers: &[TxSigner]) -> Result<Self, Failure> {
        let digits = import::digits()?;
        let register = |signer: &TxSigner| -> Result<(Address, B256), Failure> {
            let package = Package::new(&variant(&digits, &signer.address())?, "bench")?;
            let wallet = Wallet::of_signer(client, signer.clone())?;
            Ok((signer.address(), package.push(client, &wallet, &|_| ())?.model_id))
        };
        let part = |part: &[TxSigner]| part.iter().map(register).collect::<Result<Vec<_>, _>>();
        let parts = std::thread::scope(|scope| {
            let parts = signers.chunks(signers.len().div_ceil(REGISTRARS));
            let handles: Vec<_> = parts.map(|signers| scope.spawn(move || part(signers))).collect();
            handles.into_iter().map(|handle| handle.join().expect("registering does not panic")).collect::<Vec<_>>()
        });
        let mut lines = BTreeMap::new();
        for part in parts {
            lines.extend(part?);
        }
        let version = ModelDeployPayload {
            model_id: B256::ZERO,
            artifact: Cid::raw(&[]),
            artifact_bytes: digits.encode().len() as u64,
            gas: digits.cost().gas(),
            input_bytes: digits.input_bytes() as u64,
            output_bytes: digits.output_bytes() as u64,
            name: String::new(),
            commitments: None,
        };
        let mut updates = Self { lines, version, gas_limit: 0 };
        let first = &signers[0];
        updates.gas_limit = Wallet::of_signer(client, first.clone())?.gas_limit_ai::<ModelUpdate>(
            &TxAi::<ModelUpdate>::encode_payload(&updates.payload(first, 1)),
            &AiTerms::default(),
        )?;
        Ok(updates)
    }

    /// The update that a sender sends with this nonce: version nonce + 1 follows version nonce.
    fn payload(&self, signer: &TxSigner, nonce: u64) -> ModelUpdatePayload {
        let line = self.lines[&signer.address()];
        let model_id = keccak256([line.as_slice(), &nonce.to_be_bytes()].concat());
        let version = ModelDeployPayload { model_id, artifact: Cid::raw(model_id.as_slice()), ..self.version.clone() };
        ModelUpdatePayload { model_id: line, parent_version: nonce, version, delta: None }
    }

    /// Signs the update of a sender with this nonce.
    pub fn sign(&self, signer: &TxSigner, chain_id: u64, nonce: u64, fees: Fees) -> TxEnvelope {
        let payload = TxAi::<ModelUpdate>::encode_payload(&self.payload(signer, nonce));
        signer.sign(TxAi::<ModelUpdate> { gas_limit: self.gas_limit, payload, ..blank(chain_id, nonce, fees) }).into()
    }
}

/// One model that everybody runs.
pub struct Inferences {
    model_id: B256,
    inputs: usize,
    ai_gas: u64,
    /// Gas limit of a run.
    pub gas_limit: u64,
}

impl Inferences {
    /// Registers the digits model, unless it is there, and waits until it is active.
    pub fn register(client: &Client, signer: &TxSigner) -> Result<Self, Failure> {
        let digits = import::digits()?;
        let wallet = Wallet::of_signer(client, signer.clone())?;
        let model_id = Package::new(&digits, "digits")?.push(client, &wallet, &|_| ())?.model_id;
        let ai_gas = Callable::find(client, model_id)?.ai_gas();
        let mut inferences = Self { model_id, inputs: digits.input_bytes() / size_of::<f32>(), ai_gas, gas_limit: 0 };
        let payload = TxAi::<Inference>::encode_payload(&inferences.payload(0));
        let terms = AiTerms { ai_gas, ..AiTerms::default() };
        inferences.gas_limit = wallet.gas_limit_ai::<Inference>(&payload, &terms)?;
        Ok(inferences)
    }

    /// A run on an image of its own: grey values from 0 to 16 that follow from the index.
    fn payload(&self, index: u32) -> InferencePayload {
        let mut image = Vec::with_capacity(self.inputs * size_of::<f32>());
        let mut noise = keccak256(index.to_be_bytes());
        for pixel in 0..self.inputs {
            if pixel > 0 && pixel % 32 == 0 {
                noise = keccak256(noise);
            }
            image.extend_from_slice(&f32::from(noise[pixel % 32] % 17).to_le_bytes());
        }
        InferencePayload { model_id: self.model_id, grade: InferencePayload::REPLAY, input: image.into(), terms: None }
    }

    /// Signs run number `index`.
    pub fn sign(&self, signer: &TxSigner, chain_id: u64, nonce: u64, fees: Fees, index: u32) -> TxEnvelope {
        let payload = TxAi::<Inference>::encode_payload(&self.payload(index));
        let (gas_limit, ai_gas_limit) = (self.gas_limit, self.ai_gas);
        let tx = TxAi::<Inference> { gas_limit, ai_gas_limit, payload, ..blank(chain_id, nonce, fees) };
        signer.sign(tx).into()
    }
}

fn blank<K: AiKind>(chain_id: u64, nonce: u64, fees: Fees) -> TxAi<K> {
    TxAi { chain_id, nonce, max_priority_fee_per_gas: fees.tip, max_fee_per_gas: fees.cap, ..TxAi::default() }
}

/// The same graph under another id: its output is named after the owner.
fn variant(graph: &Graph, owner: &Address) -> Result<Graph, Failure> {
    let mut bytes = graph.encode();
    let name = graph.outputs()[0].name.clone().into_bytes();
    let at = bytes.windows(name.len()).rposition(|window| window == name).expect("a graph spells its output's name");
    let hex = alloy_primitives::hex::encode(owner);
    for (byte, digit) in bytes[at..at + name.len()].iter_mut().zip(hex.into_bytes()) {
        *byte = digit;
    }
    Graph::decode(&bytes).map_err(|error| Failure::new(format!("a variant of the digits model is refused: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn variants_are_different_models_that_compute_the_same() {
        let digits = import::digits().unwrap();
        let variants = [1, 2].map(|byte| variant(&digits, &Address::repeat_byte(byte)).unwrap());
        assert!(digits.model_id() != variants[0].model_id() && variants[0].model_id() != variants[1].model_id());
        let input = vec![0; digits.input_bytes()];
        let run = |graph: &Graph| lattice_inference::Model::load(graph.clone()).unwrap().run_bytes(&input).unwrap();
        assert_eq!(run(&digits), run(&variants[0]));
    }
}
