//! Models that this node holds: verified, decoded and packed, in a cache bounded by bytes, with a cache of results.
//!
//! Artifacts are verified off the consensus path, before the node attests readiness. Execution then finds the packed
//! model here. A hit and a miss differ in time only: gas comes from the registration.

use crate::error::ModelError;
use alloy_primitives::{B256, Bytes, Keccak256, keccak256};
use lattice_execution::{
    InferenceEngine, InferenceError, ModelRecord, ModelStatus, ReadinessNeed,
    ai::{AdapterKind, AdapterRecord},
};
use lattice_inference::{Cost, Graph, Model, RunError, ValueInfo};
use lattice_state::State;
use lattice_storage::ArtifactStore;
use lattice_training::{Adapter, AdapterError, Composition};
use lattice_types::{
    Cid, TxEnvelope,
    tx::{InferencePayload, LoraComposition, LoraPart},
};
use lru::LruCache;
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of packed models kept in memory.
const MODELS_BYTES_MAX: usize = 2 << 30;
/// Bytes of graphs kept for disputes, which judge parts of a run.
const GRAPHS_BYTES_MAX: usize = 256 << 20;
/// Bytes of outputs kept in the result cache.
const RESULTS_BYTES_MAX: usize = 64 << 20;

/// What a model takes and gives, as its frozen graph says.
#[derive(Debug, Clone)]
pub struct ModelSignature {
    /// Inputs in graph order.
    pub inputs: Vec<ValueInfo>,
    /// Outputs in graph order.
    pub outputs: Vec<ValueInfo>,
    /// Operators and how often each occurs.
    pub operators: BTreeMap<String, usize>,
    /// Static cost.
    pub cost: Cost,
}

struct Loaded {
    model: Model,
    signature: ModelSignature,
}

/// An LRU cache with a budget of bytes.
struct ByBytes<K: std::hash::Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: std::hash::Hash + Eq, V: Clone> ByBytes<K, V> {
    fn new(bytes_max: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, bytes_max }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if let Some((_, old)) = self.entries.put(key, (value, bytes)) {
            self.bytes -= old;
        }
        self.bytes += bytes;
        // The newest entry stays even when it alone exceeds the budget: it is about to be used.
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            if let Some((_, (_, freed))) = self.entries.pop_lru() {
                self.bytes -= freed;
            }
        }
    }
}

/// What a run gave: the output, or why the model refuses the input, which is as deterministic.
type RunResult = Result<Arc<[u8]>, Arc<str>>;

/// Results by [`result_key`].
type Results = ByBytes<B256, RunResult>;

/// What a result is kept under: keccak of the executor's version, the model and the input.
fn result_key(model_id: &B256, input: &[u8]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(keccak256(lattice_inference::executor_version()));
    hasher.update(model_id);
    hasher.update(input);
    hasher.finalize()
}

/// The models this node can run.
pub struct ModelStore {
    artifacts: Arc<ArtifactStore>,
    models: Mutex<ByBytes<B256, Arc<Loaded>>>,
    results: Mutex<Results>,
    graphs: Mutex<ByBytes<B256, Arc<Graph>>>,
    /// Artifacts whose content was found to be the model's. The store checks the content against its CID at every read,
    /// so the second hash need not be taken again when a model has left the cache.
    verified: Mutex<BTreeSet<(B256, Cid)>>,
}

impl std::fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelStore").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding a cache leaves it usable: entries are replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModelStore {
    /// A store over the artifacts on this machine.
    pub fn new(artifacts: Arc<ArtifactStore>) -> Self {
        Self {
            artifacts,
            models: Mutex::new(ByBytes::new(MODELS_BYTES_MAX)),
            results: Mutex::new(ByBytes::new(RESULTS_BYTES_MAX)),
            graphs: Mutex::new(ByBytes::new(GRAPHS_BYTES_MAX)),
            verified: Mutex::default(),
        }
    }

    /// Drops all packed models and results from memory.
    pub fn forget(&self) {
        *lock(&self.models) = ByBytes::new(MODELS_BYTES_MAX);
        *lock(&self.results) = ByBytes::new(RESULTS_BYTES_MAX);
        *lock(&self.graphs) = ByBytes::new(GRAPHS_BYTES_MAX);
    }

    /// The artifacts on this machine.
    pub fn artifacts(&self) -> &Arc<ArtifactStore> {
        &self.artifacts
    }

    /// Checks that the artifact is here, whole, and exactly what `record` claims (id, gas, input and output sizes), and
    /// warms the cache. A validator attests readiness only after this.
    pub fn verify(&self, model_id: &B256, record: &ModelRecord) -> Result<(), ModelError> {
        let loaded = self.load(model_id, &record.artifact)?;
        let model = &loaded.model;
        let claims = [
            ("gas", record.gas, loaded.signature.cost.gas()),
            ("input bytes", record.input_bytes, model.input_bytes() as u64),
            ("output bytes", record.output_bytes, model.output_bytes() as u64),
        ];
        for (what, claimed, found) in claims {
            if claimed != found {
                let reason = format!("{what}: registered as {claimed}, the graph says {found}");
                return Err(ModelError::Mismatch { model: *model_id, reason });
            }
        }
        Ok(())
    }

    /// Checks that an adapter's artifact is here, whole, of the rank that `record` claims, and fits its base. A validator
    /// attests readiness only after this.
    pub fn verify_adapter(&self, id: &B256, record: &AdapterRecord, base: &ModelRecord) -> Result<(), ModelError> {
        let AdapterKind::Adapter { artifact, artifact_bytes, rank, .. } = &record.kind else {
            return Err(ModelError::Unknown(*id));
        };
        let mismatch = |reason: String| ModelError::Mismatch { model: *id, reason };
        let bytes = self.artifacts.read(artifact)?;
        let adapter = Adapter::decode(&bytes).map_err(|error| mismatch(error.to_string()))?;
        let claims =
            [("bytes", *artifact_bytes, bytes.len() as u64), ("rank", u64::from(*rank), adapter.rank() as u64)];
        for (what, claimed, found) in claims {
            if claimed != found {
                return Err(mismatch(format!("{what}: registered as {claimed}, the artifact says {found}")));
            }
        }
        let graph = self.graph(&record.base_model, &base.artifact)?;
        adapter.merge(&graph).map(drop).map_err(|error| mismatch(error.to_string()))
    }

    /// Inputs, outputs, operators and cost of a model.
    pub fn signature(&self, model_id: &B256, artifact: &Cid) -> Result<ModelSignature, ModelError> {
        Ok(self.load(model_id, artifact)?.signature.clone())
    }

    /// Runs a model on raw little-endian tensors. A result is kept, also that the model refuses the input.
    pub fn run_model(&self, model_id: &B256, artifact: &Cid, input: &[u8]) -> Result<Arc<[u8]>, ModelError> {
        self.run(model_id, input, || self.load(model_id, artifact))
    }

    /// Runs what an id stands for in a state: a version of a model, an adapter on its base, or a composition.
    pub fn run_registered(&self, state: &State, id: &B256, input: &[u8]) -> Result<Arc<[u8]>, ModelError> {
        if let Some(record) = ModelRecord::read(state, id) {
            return self.run_model(id, &record.artifact, input);
        }
        let adapted = Adapted::read(state, id).ok_or(ModelError::Unknown(*id))?;
        self.run_adapted(id, &adapted, input)
    }

    /// Runs a base with adapters merged in; `id` is theirs, which commits to base, order and weights, so merged models
    /// and results are kept under it.
    fn run_adapted(&self, id: &B256, adapted: &Adapted, input: &[u8]) -> Result<Arc<[u8]>, ModelError> {
        self.run(id, input, || self.kept(id, || self.merged(id, adapted)))
    }

    /// A base with adapters merged in.
    fn merged(&self, id: &B256, adapted: &Adapted) -> Result<Graph, ModelError> {
        let graph = self.graph(&adapted.base, &adapted.artifact)?;
        let refused = |error: AdapterError| match error {
            AdapterError::Machine(error) => ModelError::Machine { model: *id, reason: error.to_string() },
            error => ModelError::Run { model: *id, reason: error.to_string() },
        };
        let mut adapters = Vec::with_capacity(adapted.parts.len());
        for (artifact, weight) in &adapted.parts {
            let mismatch = |error: AdapterError| ModelError::Mismatch { model: *id, reason: error.to_string() };
            adapters.push((Adapter::decode(&self.artifacts.read(artifact)?).map_err(mismatch)?, *weight));
        }
        let parts: Vec<(&Adapter, i32)> = adapters.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
        let one = Adapter::compose_units(adapted.method, &parts).map_err(refused)?;
        one.merge(&graph).map_err(refused)
    }

    /// The graph of what an id stands for in a state, likewise.
    pub fn graph_registered(&self, state: &State, id: &B256) -> Result<Arc<Graph>, ModelError> {
        if let Some(graph) = lock(&self.graphs).get(id) {
            return Ok(graph);
        }
        let graph = Arc::new(match ModelRecord::read(state, id) {
            Some(record) => self.graph(id, &record.artifact)?,
            None => self.merged(id, &Adapted::read(state, id).ok_or(ModelError::Unknown(*id))?)?,
        });
        let bytes = graph.cost().weights_bytes as usize + graph.nodes().len() * 256;
        lock(&self.graphs).put(*id, graph.clone(), bytes);
        Ok(graph)
    }

    fn run(
        &self,
        id: &B256,
        input: &[u8],
        load: impl FnOnce() -> Result<Arc<Loaded>, ModelError>,
    ) -> Result<Arc<[u8]>, ModelError> {
        let refused = |reason: Arc<str>| ModelError::Run { model: *id, reason: reason.to_string() };
        let key = result_key(id, input);
        if let Some(result) = lock(&self.results).get(&key) {
            return result.map_err(refused);
        }
        let result: RunResult = match load()?.model.run_bytes(input) {
            Ok(output) => Ok(output.into()),
            // Not the input's fault, and not the same everywhere: a refusal would be another result than other nodes'.
            Err(error @ RunError::FloatMode(_)) => {
                return Err(ModelError::Machine { model: *id, reason: error.to_string() });
            }
            Err(error) => Err(error.to_string().into()),
        };
        let bytes = result.as_ref().map_or_else(|reason| reason.len(), |output| output.len());
        lock(&self.results).put(key, result.clone(), bytes + 64);
        result.map_err(refused)
    }

    fn load(&self, model_id: &B256, artifact: &Cid) -> Result<Arc<Loaded>, ModelError> {
        self.kept(model_id, || self.graph(model_id, artifact))
    }

    /// The packed model of an id: from memory, or of the graph that `make` gives.
    fn kept(&self, id: &B256, make: impl FnOnce() -> Result<Graph, ModelError>) -> Result<Arc<Loaded>, ModelError> {
        if let Some(loaded) = lock(&self.models).get(id) {
            return Ok(loaded);
        }
        let graph = make()?;
        let signature = ModelSignature {
            inputs: graph.inputs().to_vec(),
            outputs: graph.outputs().to_vec(),
            operators: graph.operators().into_iter().map(|(name, n)| (name.to_string(), n)).collect(),
            cost: graph.cost(),
        };
        let mismatch = |reason: String| ModelError::Mismatch { model: *id, reason };
        let model = Model::load(graph).map_err(|error| mismatch(error.to_string()))?;
        let bytes = model.bytes();
        let loaded = Arc::new(Loaded { model, signature });
        lock(&self.models).put(*id, loaded.clone(), bytes);
        Ok(loaded)
    }

    /// Reads a model's graph from its artifact.
    fn graph(&self, model_id: &B256, artifact: &Cid) -> Result<Graph, ModelError> {
        let bytes = self.artifacts.read(artifact)?;
        let mismatch = |reason: String| ModelError::Mismatch { model: *model_id, reason };
        if !lock(&self.verified).contains(&(*model_id, *artifact)) {
            let found = keccak256(&bytes);
            if found != *model_id {
                return Err(mismatch(format!("its hash is {found}")));
            }
            lock(&self.verified).insert((*model_id, *artifact));
        }
        Graph::decode(&bytes).map_err(|error| mismatch(error.to_string()))
    }
}

/// The weight 1 in the records' units.
const WEIGHT_ONE: i32 = 65_536;

/// A base and the adapters to merge into it.
struct Adapted {
    base: B256,
    artifact: Cid,
    method: Composition,
    /// Artifact and weight of each adapter, in their order; weights in units of 1/65,536.
    parts: Vec<(Cid, i32)>,
}

impl Adapted {
    /// What the records of an adapter or a composition say; `None` when one is missing.
    fn read(state: &State, id: &B256) -> Option<Self> {
        let record = AdapterRecord::read(state, id)?;
        let (method, parts) = match record.kind {
            AdapterKind::Adapter { artifact, .. } => (Composition::Cat, vec![(artifact, WEIGHT_ONE)]),
            AdapterKind::Composition { method, parts } => {
                let part = |part: &LoraPart| match AdapterRecord::read(state, &part.adapter)?.kind {
                    AdapterKind::Adapter { artifact, .. } => Some((artifact, part.weight.cast_signed())),
                    AdapterKind::Composition { .. } => None,
                };
                let linear = method == LoraComposition::LINEAR;
                let parts = parts.iter().map(part).collect::<Option<_>>()?;
                (if linear { Composition::Linear } else { Composition::Cat }, parts)
            }
        };
        let artifact = ModelRecord::read(state, &record.base_model)?.artifact;
        Some(Self { base: record.base_model, artifact, method, parts })
    }
}

/// The models of one state, as execution on that state sees them.
pub struct Engine<'a> {
    models: &'a ModelStore,
    state: &'a State,
}

impl ModelStore {
    /// The engine for execution on a state. An active model was registered in an earlier block, so the parent's state
    /// names its artifact.
    pub(crate) const fn engine<'a>(&'a self, state: &'a State) -> Engine<'a> {
        Engine { models: self, state }
    }
}

impl Engine<'_> {
    /// Runs the inferences of a block ahead of it: each model is loaded once, its inputs run in parallel, and execution finds
    /// the results in the cache, refusals of an input included. Bits and gas are those of running one by one; what fails
    /// here for another cause fails again there, where it has its consequence.
    ///
    /// Only runs whose declared AI gas covers them are taken, so this is no more work than the AI lane of the block's
    /// DAG blocks allows.
    pub(crate) fn run_ahead<'t>(&self, transactions: impl Iterator<Item = &'t TxEnvelope>, epoch: u64) {
        let mut runs: BTreeMap<B256, (ModelRecord, BTreeSet<Bytes>)> = BTreeMap::new();
        for tx in transactions {
            let TxEnvelope::Inference(signed) = tx else { continue };
            if let Ok(payload) = signed.tx().payload()
                && payload.grade == InferencePayload::REPLAY
                && let Some(record) = ModelRecord::read(self.state, &payload.model_id)
                && record.status == ModelStatus::Active
                && !record.is_suspended(epoch)
                && tx.ai_gas_limit().is_some_and(|bound| bound >= record.gas)
                && payload.input.len() as u64 == record.input_bytes
            {
                runs.entry(payload.model_id).or_insert((record, BTreeSet::new())).1.insert(payload.input);
            }
        }
        for (model_id, (record, inputs)) in runs {
            // One input gains nothing: execution runs it at its place.
            if inputs.len() > 1 && self.models.load(&model_id, &record.artifact).is_ok() {
                let run = |input: &Bytes| drop(self.models.run_model(&model_id, &record.artifact, input));
                inputs.into_iter().collect::<Vec<_>>().par_iter().for_each(run);
            }
        }
    }
}

impl InferenceEngine for Engine<'_> {
    fn run(&self, model_id: &B256, input: &[u8]) -> Result<Arc<[u8]>, InferenceError> {
        self.models.run_registered(self.state, model_id, input).map_err(|error| inference_error(*model_id, error))
    }

    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError> {
        self.models.graph_registered(self.state, model_id).map_err(|error| inference_error(*model_id, error))
    }
}

fn inference_error(model_id: B256, error: ModelError) -> InferenceError {
    match error {
        ModelError::Run { reason, .. } => InferenceError::Refused(reason),
        ModelError::Machine { reason, .. } => InferenceError::Fault(reason),
        // A composition may be registered in the very block; the state before it is the same on every node.
        ModelError::Unknown(id) => {
            InferenceError::Refused(format!("{id} is registered in this block: call it in a later one"))
        }
        // An active model's artifact was verified by two thirds of the stake: what is wrong is our copy.
        _ => InferenceError::Missing(model_id),
    }
}

/// What readiness certificates of an epoch are good for: for a model, or for an adapter, which one of two thirds makes
/// active for good.
pub(crate) fn readiness_need(state: &State, id: &B256, epoch: u64) -> ReadinessNeed {
    if let Some(record) = ModelRecord::read(state, id) {
        return record.readiness_need(epoch);
    }
    match AdapterRecord::read(state, id) {
        Some(adapter) if adapter.is_pending() => ReadinessNeed::TwoThirds,
        _ => ReadinessNeed::None,
    }
}

#[cfg(test)]
mod tests;
