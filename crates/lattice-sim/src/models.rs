//! One small model: registered, attested anew each epoch by those who hold its artifact, and run.

use crate::{load::ADVERSARY_ACCOUNT, message::Message, message::NodeId, plan::Role, world::World};
use alloy_primitives::{B256, Bytes, keccak256};
use lattice_chain::{ChainError, Input, ReadinessNeed};
use lattice_inference::Graph;
use lattice_storage::ArtifactStore;
use lattice_types::{
    Attestation, TxEnvelope, recover,
    spec::DEV_ACCOUNTS,
    tx::{AiKind, Inference, InferencePayload, ModelDeploy, ModelDeployPayload, TxAi, TxSigner},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A frozen graph of one operator.
const GRAPH: &[u8] = include_bytes!("../../../fuzz/seeds/graph/relu");
/// Runs: one in this many transactions of the load.
const RUN_EVERY: u64 = 4;

/// The model, and who attested it.
#[derive(Debug)]
pub struct SimModel {
    payload: ModelDeployPayload,
    /// Nodes that hold the artifact no more.
    pub lost: Vec<bool>,
    /// Validators that attested it, by epoch.
    pub attested: BTreeMap<u64, BTreeSet<u32>>,
}

impl SimModel {
    /// The model, with its artifact in the store that all nodes share.
    ///
    /// # Errors
    /// When the graph does not decode or cannot be stored.
    pub fn new(artifacts: &ArtifactStore, nodes: usize) -> Result<Self, ChainError> {
        let fault = |error: &dyn std::fmt::Display| ChainError::Fault(error.to_string());
        let graph = Graph::decode(GRAPH).map_err(|error| fault(&error))?;
        let (artifact, _) = artifacts.put(GRAPH).map_err(|error| fault(&error))?;
        let payload = ModelDeployPayload {
            model_id: keccak256(GRAPH),
            artifact,
            artifact_bytes: GRAPH.len() as u64,
            gas: graph.cost().gas(),
            input_bytes: graph.input_bytes() as u64,
            output_bytes: graph.output_bytes() as u64,
            name: "relu".into(),
            commitments: None,
        };
        Ok(Self { payload, lost: vec![false; nodes], attested: BTreeMap::new() })
    }

    /// Its id.
    pub const fn id(&self) -> B256 {
        self.payload.model_id
    }
}

impl World {
    /// A node that holds the artifact attests it while its chain needs that.
    pub(crate) fn attest(&mut self, node: NodeId) {
        let (clock, role) = (self.clock(node), self.role(node));
        let (Some(model), Some(chain)) = (&self.model, &self.nodes[node].chain) else { return };
        let epoch = self.plan.spec.epoch_of(chain.slot_at(clock));
        let (id, validator) = (model.id(), self.nodes[node].index());
        let Ok(view) = chain.view() else { return };
        if role == Role::Silent || model.lost[node] || view.readiness_need(&id, epoch) == ReadinessNeed::None {
            return;
        }
        if let Err(error) = view.verify(self.nodes[node].models(), &id) {
            return self.violate("a model that is held verifies", format!("node {node}: {error}"));
        }
        let attestation =
            Attestation::sign(id, epoch, validator, self.nodes[node].signer.key(), self.plan.spec.chain_id);
        if let Some(model) = &mut self.model {
            model.attested.entry(epoch).or_default().insert(validator);
        }
        self.input(node, Input::Attestation(attestation.into()));
        self.publish(node, &Message::Attestation(Arc::new(attestation)), |_| true);
    }

    /// Somebody registers the model, or runs it.
    pub(crate) fn use_model(&mut self) {
        let made = self.load.made;
        let (Some(model), true) = (&self.model, made.is_multiple_of(RUN_EVERY)) else { return };
        let payload = model.payload.clone();
        let Some(node) = self.any_honest() else { return };
        let Some(nonce) = self.nonce(node, ADVERSARY_ACCOUNT) else { return };
        let is_registered = self.nodes[node].chain.as_ref().and_then(|chain| chain.view().ok());
        let tx = if is_registered.is_some_and(|view| view.model(&payload.model_id).is_some()) {
            let input = Bytes::from(vec![0; payload.input_bytes as usize]);
            self.ai::<Inference>(nonce, &InferencePayload { model_id: payload.model_id, grade: 0, input, terms: None })
        } else {
            self.ai::<ModelDeploy>(nonce, &payload)
        };
        let tx = recover(tx, &self.plan.spec).expect("a signed AI transaction is well formed");
        let message = Message::Transaction(Arc::new(tx));
        self.receive(node, node, message.clone());
        self.publish(node, &message, |_| true);
    }

    fn ai<K: AiKind>(&self, nonce: u64, payload: &K::Payload) -> TxEnvelope
    where
        TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
    {
        let signer = TxSigner::new(DEV_ACCOUNTS[ADVERSARY_ACCOUNT].1).expect("the development keys are keys");
        let tx = TxAi::<K> {
            chain_id: self.plan.spec.chain_id,
            nonce,
            max_priority_fee_per_gas: 1_000_000_000,
            max_fee_per_gas: 100_000_000_000,
            gas_limit: 5_000_000,
            ai_gas_limit: 4_000_000,
            payload: TxAi::<K>::encode_payload(payload),
            ..Default::default()
        };
        signer.sign(tx).into()
    }
}
