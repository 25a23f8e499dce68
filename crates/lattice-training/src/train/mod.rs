//! Training that every CPU agrees on: LoRA adapters and small dense networks, step by step, each step with a hash.
//!
//! A [`Plan`], its base model and its [`Dataset`] decide every bit of every step. A trainer publishes the root of the
//! [`Trace`]; who disagrees finds the first step that differs by [`crate::merkle::Bisection`], and anybody decides by
//! replaying that one step from its opened records ([`Trainer::replay`]).

mod cost;
mod dataset;
mod network;
mod opening;
#[cfg(test)]
mod opening_tests;
mod optimise;
mod plan;
mod state;
#[cfg(test)]
mod tests;

pub use cost::StepCost;
pub use dataset::{Batch, Dataset, OpenedBatch};
pub use opening::{Claims, Opening};
pub use plan::{BATCH_MAX, Loss, Optimiser, Plan, STEPS_MAX, Target};
pub use state::{State, Trace};

use crate::adapter::{Adapter, AdapterError, Update};
use alloy_primitives::{B256, keccak256};
use lattice_inference::{Attributes, Graph, RunError, Tensor, TensorError, all_operators, check_float_mode};
use network::{Layer, LowRank, Network, Weights, backward, forward};
use std::sync::Arc;
use thiserror::Error;

/// A training was refused or went wrong; the same on every machine, but for [`TrainError::Machine`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrainError {
    /// The job makes no sense.
    #[error("training job: {0}")]
    Plan(String),
    /// The base is no dense network.
    #[error("the base cannot be trained: {0}")]
    Network(String),
    /// The data set is malformed or does not fit.
    #[error("data set: {0}")]
    Dataset(String),
    /// The records of a step are not the ones that the job chooses.
    #[error("batch: {0}")]
    Batch(String),
    /// A state is malformed or of another job.
    #[error("training state: {0}")]
    State(String),
    /// An opening is malformed, or does not belong to the trace.
    #[error("opening: {0}")]
    Opening(String),
    /// A number has become infinite.
    #[error("step {0} diverges: a parameter is infinite or no number; lower the learning rate")]
    Diverged(u64),
    /// The result is no adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// This machine cannot compute now.
    #[error(transparent)]
    Machine(#[from] RunError),
}

/// What a training brings forth.
#[derive(Clone, Debug, PartialEq)]
pub enum Trained {
    /// The base with new weights.
    Model(Box<Graph>),
    /// An adapter on the base.
    Adapter(Adapter),
}

/// One trained tensor: which layer it belongs to, and its size.
struct Parameter {
    layer: usize,
    size: usize,
}

/// Runs the steps of one job.
pub struct Trainer {
    plan: Plan,
    base: Arc<Graph>,
    network: Network,
    /// Layers whose update is trained, with LoRA.
    adapted: Vec<usize>,
    parameters: Vec<Parameter>,
}

impl Trainer {
    /// Checks that job and base fit together.
    pub fn new(plan: Plan, base: &Graph) -> Result<Trainer, TrainError> {
        if base.model_id() != plan.base {
            return Err(TrainError::Plan(format!("its base is model {}, this one is {}", plan.base, base.model_id())));
        }
        Self::on(plan, Arc::new(base.clone()))
    }

    /// As [`Trainer::new`], of a graph that is known to be the job's base: its bytes are not hashed again.
    pub fn on(plan: Plan, base: Arc<Graph>) -> Result<Trainer, TrainError> {
        plan.check()?;
        let network = Network::of(&base)?;
        let mut read = std::collections::BTreeSet::new();
        for layer in &network.layers {
            if let Layer::Dense { constant, .. } | Layer::Bias { constant, .. } = layer
                && !read.insert(*constant)
            {
                let name = &base.constants()[*constant].name;
                return Err(TrainError::Network(format!("two layers share the weight '{name}'")));
            }
        }
        let mut trainer = Trainer { adapted: Vec::new(), parameters: Vec::new(), base, network, plan };
        trainer.adapted = trainer.adapted_layers()?;
        for (layer, kind) in trainer.network.layers.iter().enumerate() {
            let sizes = match (kind, &trainer.plan.target) {
                (Layer::Dense { inputs, outputs, .. }, Target::Whole) => vec![inputs * outputs],
                (Layer::Bias { outputs, .. }, Target::Whole) => vec![*outputs],
                (Layer::Dense { inputs, outputs, .. }, Target::Lora { rank, .. })
                    if trainer.adapted.contains(&layer) =>
                {
                    vec![*rank as usize * inputs, outputs * *rank as usize]
                }
                _ => continue,
            };
            trainer.parameters.extend(sizes.into_iter().map(|size| Parameter { layer, size }));
        }
        if trainer.parameters.is_empty() {
            return Err(TrainError::Network("it has no dense layer".into()));
        }
        Ok(trainer)
    }

    fn adapted_layers(&self) -> Result<Vec<usize>, TrainError> {
        let Target::Lora { modules, .. } = &self.plan.target else { return Ok(Vec::new()) };
        let named = |(at, layer): (usize, &Layer)| match layer {
            Layer::Dense { constant, .. } => Some((at, self.module(*constant))),
            _ => None,
        };
        let dense: Vec<(usize, &str)> = self.network.layers.iter().enumerate().filter_map(named).collect();
        if let Some(unknown) = modules.iter().find(|module| dense.iter().all(|(_, name)| name != module)) {
            let known: Vec<&str> = dense.iter().map(|(_, name)| *name).collect();
            return Err(TrainError::Plan(format!("the base has no module '{unknown}': it has {}", known.join(", "))));
        }
        let wanted = |(_, name): &&(usize, &str)| modules.is_empty() || modules.iter().any(|module| module == name);
        Ok(dense.iter().filter(wanted).map(|(at, _)| *at).collect())
    }

    /// The module that a constant is the weight of.
    fn module(&self, constant: usize) -> &str {
        let name = self.base.constants()[constant].name.as_str();
        name.strip_suffix(".weight").unwrap_or(name)
    }

    fn constant(&self, constant: usize) -> &[f32] {
        self.base.constants()[constant].tensor.as_f32().unwrap_or_default()
    }

    /// Errors when the data set is not the job's, or does not fit the network and the loss.
    pub fn check_dataset(&self, data: &Dataset) -> Result<(), TrainError> {
        let root = data.root();
        if root != self.plan.dataset {
            return Err(TrainError::Dataset(format!("its root is {root}, the job's is {}", self.plan.dataset)));
        }
        self.check_width(data.features(), data.targets())
    }

    /// Targets of a record.
    fn targets(&self) -> usize {
        match self.plan.loss {
            Loss::CrossEntropy => 1,
            Loss::MeanSquaredError => self.network.outputs,
        }
    }

    fn check_width(&self, features: usize, targets: usize) -> Result<(), TrainError> {
        let wanted = self.targets();
        if (features, targets) == (self.network.features, wanted) {
            return Ok(());
        }
        Err(TrainError::Dataset(format!(
            "a record has {features} features and {targets} targets; network and loss take {} and {wanted}",
            self.network.features
        )))
    }

    /// The state before the first step: the base's own weights; with LoRA a factor A of uniform numbers in
    /// +-1/sqrt(inputs), made of keccak(seed ++ "factor" ++ tensor ++ block), and a factor B of zeros.
    pub fn start(&self) -> State {
        let lora = matches!(self.plan.target, Target::Lora { .. });
        let mut parameters = Vec::with_capacity(self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            parameters.push(match &self.network.layers[parameter.layer] {
                Layer::Dense { inputs, .. } if lora && index % 2 == 0 => {
                    uniform(self.plan.seed, index as u64, parameter.size, 1.0 / (*inputs as f32).sqrt())
                }
                Layer::Dense { constant, .. } | Layer::Bias { constant, .. } if !lora => {
                    self.constant(*constant).to_vec()
                }
                _ => vec![0.0; parameter.size],
            });
        }
        let moments = self.parameters.iter().map(|p| vec![vec![0.0; p.size]; self.plan.optimiser.moments()]).collect();
        State { step: 0, parameters, moments }
    }

    /// Reads a state of this job.
    pub fn read_state(&self, bytes: &[u8]) -> Result<State, TrainError> {
        let sizes: Vec<usize> = self.parameters.iter().map(|parameter| parameter.size).collect();
        State::decode(bytes, &sizes, self.plan.optimiser.moments())
    }

    /// What each layer computes with in a state.
    fn weights<'a>(&'a self, state: &'a State) -> Vec<Weights<'a>> {
        let tensors = |layer: usize| {
            let own = self.parameters.iter().zip(&state.parameters).filter(move |(p, _)| p.layer == layer);
            own.map(|(_, tensor)| tensor.as_slice())
        };
        let of_layer = |(at, layer): (usize, &Layer)| {
            let (Layer::Dense { constant, .. } | Layer::Bias { constant, .. }) = layer else { return Weights::None };
            let own: Vec<&[f32]> = tensors(at).collect();
            match (&self.plan.target, own.as_slice()) {
                (Target::Lora { rank, scale, .. }, &[a, b]) => {
                    let low = LowRank { a, b, rank: *rank as usize, scale: *scale };
                    Weights::LowRank(self.constant(*constant), low)
                }
                (_, &[own]) => Weights::Trained(own),
                _ => Weights::Fixed(self.constant(*constant)),
            }
        };
        self.network.layers.iter().enumerate().map(of_layer).collect()
    }

    /// Outputs and values of a batch in a state.
    fn run(&self, state: &State, batch: &Batch) -> Result<(Vec<Vec<f32>>, Vec<f32>), TrainError> {
        check_float_mode()?;
        let width = batch.records.first().map_or(0, Vec::len);
        let features = self.network.features;
        self.check_width(features, width.saturating_sub(features))?;
        let x = batch.records.iter().flat_map(|record| &record[..features]).copied().collect();
        let targets = batch.records.iter().flat_map(|record| &record[features..]).copied().collect();
        Ok((forward(&self.network, &self.weights(state), x, batch.records.len()), targets))
    }

    /// The mean loss of a batch in a state. No part of any hash.
    pub fn loss(&self, state: &State, batch: &Batch) -> Result<f32, TrainError> {
        let (mut values, targets) = self.run(state, batch)?;
        let outputs = values.pop().unwrap_or_default();
        let count = match self.plan.loss {
            Loss::CrossEntropy => batch.records.len(),
            Loss::MeanSquaredError => outputs.len(),
        };
        let sum = match self.plan.loss {
            Loss::CrossEntropy => {
                let log = self.rows(&outputs, true)?;
                let rows = log.chunks_exact(self.network.outputs).zip(&targets);
                rows.fold(0.0, |sum, (row, class)| sum - row[*class as usize])
            }
            Loss::MeanSquaredError => outputs.iter().zip(&targets).fold(0.0, |sum, (y, t)| sum + (y - t) * (y - t)),
        };
        Ok(sum / count as f32)
    }

    /// Softmax of rows, or its logarithm.
    fn rows(&self, outputs: &[f32], log: bool) -> Result<Vec<f32>, TrainError> {
        let columns = self.network.outputs;
        let failed = |error: String| TrainError::Network(error);
        let tensor = Tensor::from_f32([outputs.len() / columns, columns], outputs.to_vec());
        let name = if log { "LogSoftmax" } else { "Softmax" };
        let op =
            all_operators().find(|op| op.name == name).ok_or_else(|| failed(format!("this build lacks {name}")))?;
        let rows = (op.run)(&Attributes::none(), &[&tensor.map_err(|e| failed(e.to_string()))?]).map_err(failed)?;
        Ok(rows[0].as_f32().unwrap_or_default().to_vec())
    }

    /// Gradient of the loss by the outputs.
    fn output_gradient(&self, outputs: &[f32], targets: &[f32], n: usize) -> Result<Vec<f32>, TrainError> {
        let columns = self.network.outputs;
        if self.plan.loss == Loss::MeanSquaredError {
            let count = outputs.len() as f32;
            return Ok(outputs.iter().zip(targets).map(|(y, t)| 2.0 * (y - t) / count).collect());
        }
        if let Some(class) = targets.iter().find(|t| !(0.0..columns as f32).contains(*t) || t.fract() != 0.0) {
            return Err(TrainError::Dataset(format!("target {class} is no class of 0 to {}", columns - 1)));
        }
        let mut gradient = self.rows(outputs, false)?;
        for (row, class) in gradient.chunks_exact_mut(columns).zip(targets) {
            row[*class as usize] -= 1.0;
            row.iter_mut().for_each(|g| *g /= n as f32);
        }
        Ok(gradient)
    }

    /// One step.
    pub fn step(&self, state: &State, batch: &Batch) -> Result<State, TrainError> {
        let n = batch.records.len();
        let (values, targets) = self.run(state, batch)?;
        let outputs = values.last().map(Vec::as_slice).unwrap_or_default();
        let output_gradient = self.output_gradient(outputs, &targets, n)?;
        let gradients = backward(&self.network, &self.weights(state), &values, output_gradient, n);
        let mut next = State { step: state.step + 1, ..state.clone() };
        let tensors = next.parameters.iter_mut().zip(&mut next.moments).zip(&gradients);
        for ((parameter, moments), gradient) in tensors {
            optimise::apply(&self.plan.optimiser, next.step, gradient, parameter, moments);
        }
        match next.parameters.iter().flatten().all(|v| v.is_finite()) {
            true => Ok(next),
            false => Err(TrainError::Diverged(next.step)),
        }
    }

    /// The batch of the step that follows `step`.
    pub fn batch(&self, data: &Dataset, step: u64) -> Batch {
        data.batch(self.plan.seed, step, self.plan.batch as usize)
    }

    /// [`Trainer::batch`] with proofs.
    pub fn open_batch(&self, data: &Dataset, step: u64) -> OpenedBatch {
        data.open_batch(self.plan.seed, step, self.plan.batch as usize)
    }

    /// The hash that the step after `state` leads to, decided by whoever holds job, base and the roots alone: the batch is
    /// checked against the data set's root.
    pub fn replay(&self, state: &State, opened: &OpenedBatch) -> Result<B256, TrainError> {
        if state.step >= self.plan.steps {
            return Err(TrainError::State(format!("step {} is the last one", self.plan.steps)));
        }
        let batch = opened.verify(&self.plan.dataset, self.plan.seed, state.step, self.plan.batch as usize)?;
        self.step(state, &batch).map(|next| next.hash())
    }

    /// Trains from a state to the last step. `each` sees every state, the first included.
    pub fn train(
        &self,
        from: State,
        data: &Dataset,
        mut each: impl FnMut(&State) -> Result<(), TrainError>,
    ) -> Result<State, TrainError> {
        self.check_dataset(data)?;
        let mut state = from;
        each(&state)?;
        while state.step < self.plan.steps {
            state = self.step(&state, &self.batch(data, state.step))?;
            each(&state)?;
        }
        Ok(state)
    }

    /// What a state amounts to: the base with new weights, or an adapter.
    pub fn result(&self, state: &State) -> Result<Trained, TrainError> {
        let failed = |error: TensorError| TrainError::State(error.to_string());
        let Target::Lora { rank, scale, .. } = self.plan.target else {
            let mut constants = self.base.constants().to_vec();
            for (parameter, values) in self.parameters.iter().zip(&state.parameters) {
                if let Layer::Dense { constant, .. } | Layer::Bias { constant, .. } =
                    self.network.layers[parameter.layer]
                {
                    let shape = constants[constant].tensor.shape().to_vec();
                    constants[constant].tensor = Arc::new(Tensor::from_f32(shape, values.clone()).map_err(failed)?);
                }
            }
            return Ok(Trained::Model(Box::new(self.base.with_constants(constants))));
        };
        let rank = rank as usize;
        let mut updates = Vec::new();
        for (&layer, factors) in self.adapted.iter().zip(state.parameters.chunks_exact(2)) {
            if let Layer::Dense { constant, inputs, outputs } = self.network.layers[layer] {
                let a = Tensor::from_f32([rank, inputs], factors[0].clone()).map_err(failed)?;
                let b = Tensor::from_f32([outputs, rank], factors[1].clone()).map_err(failed)?;
                updates.push(Update { module: self.module(constant).to_owned(), scale, a, b });
            }
        }
        Ok(Trained::Adapter(Adapter::new(updates)?))
    }
}

/// `size` uniform numbers in [-bound, bound), multiples of bound / 2^23.
fn uniform(seed: u64, tensor: u64, size: usize, bound: f32) -> Vec<f32> {
    let block = |block: u64| {
        keccak256([&seed.to_le_bytes()[..], b"factor", &tensor.to_le_bytes(), &block.to_le_bytes()].concat())
    };
    let words = (0..size.div_ceil(8) as u64).flat_map(|at| {
        let hash = block(at);
        (0..8).map(move |i| u32::from_le_bytes([hash[4 * i], hash[4 * i + 1], hash[4 * i + 2], hash[4 * i + 3]]))
    });
    words.take(size).map(|word| ((word >> 8) as f32 / 8_388_608.0 - 1.0) * bound).collect()
}
