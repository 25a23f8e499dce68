//! What a training job says: everything that decides the result beside the base model and the data.
//!
//! ```text
//! "LATJ" | version u16 | base id | data set root | seed u64 | steps u64 | interval u64 | batch u32 | loss u8
//! | optimiser u8: 0 SGD rate, momentum, decay; 1 Adam rate, beta1, beta2, epsilon, decay (f32 each)
//! | target u8: 0 all weights and biases; 1 LoRA: rank u32, scale f32, modules u32, path each
//! ```

use super::TrainError;
use crate::adapter::RANK_MAX;
use crate::bytes::{Cursor, put_name};
use alloy_primitives::B256;

const MAGIC: &[u8; 4] = b"LATJ";
const VERSION: u16 = 1;
/// Largest number of records of a step.
pub const BATCH_MAX: u32 = 1 << 16;
/// Largest number of steps: a trace keeps 32 bytes of each.
pub const STEPS_MAX: u64 = 1 << 24;

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Cross-entropy of the softmax of the outputs; the target is one class number. The mean over the batch.
    CrossEntropy,
    /// Squared error, the mean over batch and outputs.
    MeanSquaredError,
}

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// v = fma(momentum, v, g); p = fma(-rate, v, p).
    Sgd {
        /// Learning rate.
        rate: f32,
        /// Share of the last step's direction that is kept.
        momentum: f32,
        /// Weight decay: g = fma(decay, p, g) beforehand.
        decay: f32,
    },
    /// Adam (Kingma and Ba, 2015).
    Adam {
        /// Learning rate.
        rate: f32,
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Weight decay: g = fma(decay, p, g) beforehand.
        decay: f32,
    },
}

impl Optimiser {
    fn constants(&self) -> Vec<f32> {
        match *self {
            Optimiser::Sgd { rate, momentum, decay } => vec![rate, momentum, decay],
            Optimiser::Adam { rate, beta1, beta2, epsilon, decay } => vec![rate, beta1, beta2, epsilon, decay],
        }
    }

    /// Vectors of moments that each parameter has.
    pub(super) fn moments(&self) -> usize {
        match self {
            Optimiser::Sgd { .. } => 1,
            Optimiser::Adam { .. } => 2,
        }
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// All weights and biases.
    Whole,
    /// Low-rank updates of some weights.
    Lora {
        /// Rank of each update.
        rank: u32,
        /// Factor of the updates.
        scale: f32,
        /// The modules; all dense layers when there are none.
        modules: Vec<String>,
    },
}

/// A training job.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Id of the base model.
    pub base: B256,
    /// Merkle root of the data set.
    pub dataset: B256,
    /// Seed of the batches and of the first factors.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps between two checkpoints.
    pub interval: u64,
    /// Records of a step.
    pub batch: u32,
    /// What is minimised.
    pub loss: Loss,
    /// How.
    pub optimiser: Optimiser,
    /// What is trained.
    pub target: Target,
}

impl Plan {
    /// Errors, naming the setting, when the job makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let wrong = |reason: String| Err(TrainError::Plan(reason));
        if self.steps == 0 || self.steps > STEPS_MAX {
            return wrong(format!("steps is {}, allowed are 1 to {STEPS_MAX}", self.steps));
        }
        if self.interval == 0 || !self.steps.is_multiple_of(self.interval) {
            return wrong(format!("the interval {} does not divide the {} steps", self.interval, self.steps));
        }
        if self.batch == 0 || self.batch > BATCH_MAX {
            return wrong(format!("the batch is {}, allowed are 1 to {BATCH_MAX}", self.batch));
        }
        let constants = self.optimiser.constants();
        if constants.iter().any(|c| !c.is_finite() || *c < 0.0) {
            return wrong("the optimiser's constants must be finite and not negative".into());
        }
        if let Optimiser::Adam { beta1, beta2, .. } = self.optimiser
            && (beta1 >= 1.0 || beta2 >= 1.0)
        {
            return wrong("beta1 and beta2 must be below 1".into());
        }
        if let Target::Lora { rank, scale, .. } = &self.target
            && (*rank == 0 || *rank as usize > RANK_MAX || !scale.is_finite())
        {
            return wrong(format!("the rank is {rank}, allowed are 1 to {RANK_MAX}; the scale must be finite"));
        }
        Ok(())
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(self.base.as_slice());
        out.extend_from_slice(self.dataset.as_slice());
        [self.seed, self.steps, self.interval].iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        out.extend_from_slice(&self.batch.to_le_bytes());
        out.push(match self.loss {
            Loss::CrossEntropy => 0,
            Loss::MeanSquaredError => 1,
        });
        out.push(match self.optimiser {
            Optimiser::Sgd { .. } => 0,
            Optimiser::Adam { .. } => 1,
        });
        self.optimiser.constants().iter().for_each(|c| out.extend_from_slice(&c.to_le_bytes()));
        match &self.target {
            Target::Whole => out.push(0),
            Target::Lora { rank, scale, modules } => {
                out.push(1);
                out.extend_from_slice(&rank.to_le_bytes());
                out.extend_from_slice(&scale.to_le_bytes());
                out.extend_from_slice(&(modules.len() as u32).to_le_bytes());
                modules.iter().for_each(|module| put_name(&mut out, module));
            }
        }
        out
    }

    /// Reads canonical bytes, and checks the job.
    pub fn decode(bytes: &[u8]) -> Result<Plan, TrainError> {
        let plan = Self::read(bytes).map_err(TrainError::Plan)?;
        plan.check()?;
        Ok(plan)
    }

    fn read(bytes: &[u8]) -> Result<Plan, String> {
        let mut c = Cursor::open(bytes, MAGIC, VERSION)?;
        let (base, dataset) = (c.hash("the base")?, c.hash("the data set")?);
        let (seed, steps, interval) = (c.u64("the seed")?, c.u64("the steps")?, c.u64("the interval")?);
        let batch = c.u32("the batch")?;
        let loss = match c.u8("the loss")? {
            0 => Loss::CrossEntropy,
            1 => Loss::MeanSquaredError,
            other => return Err(format!("loss {other} is not known")),
        };
        let which = c.u8("the optimiser")?;
        let mut constant = || c.f32("a constant");
        let optimiser = match which {
            0 => Optimiser::Sgd { rate: constant()?, momentum: constant()?, decay: constant()? },
            1 => Optimiser::Adam {
                rate: constant()?,
                beta1: constant()?,
                beta2: constant()?,
                epsilon: constant()?,
                decay: constant()?,
            },
            other => return Err(format!("optimiser {other} is not known")),
        };
        let target = match c.u8("the target")? {
            0 => Target::Whole,
            1 => {
                let (rank, scale, count) = (c.u32("the rank")?, c.f32("the scale")?, c.u32("the modules")?);
                let modules = (0..count).map(|_| c.name("a module")).collect::<Result<_, _>>()?;
                Target::Lora { rank, scale, modules }
            }
            other => return Err(format!("target {other} is not known")),
        };
        c.finish()?;
        Ok(Plan { base, dataset, seed, steps, interval, batch, loss, optimiser, target })
    }
}
