//! LoRA adapters (Hu et al., 2021, arXiv:2106.09685): low-rank updates of a model's weights, and their merge.
//!
//! [`Adapter::from_peft`] reads the files that PEFT writes; [`Adapter::encode`] gives the canonical bytes, whose keccak256
//! is the adapter's id; [`Adapter::merge`] merges. All of it is class F: the update is one ascending chain over
//! the rank for each weight, and the merge one fused multiply-add, W' = fma(scale, (B A), W).

mod compose;
mod diff;
mod encoding;
mod merge;
mod peft;
pub mod safetensors;

pub use compose::Composition;
pub use diff::AdapterDiff;
pub use encoding::VERSION as ADAPTER_VERSION;
pub use merge::AdapterTarget;
pub(crate) use merge::transposed;

use alloy_primitives::{B256, keccak256};
use lattice_inference::RunError;
use lattice_inference::limits::NAME_BYTES_MAX;
use lattice_inference::{DType, Tensor};
use thiserror::Error;

/// Highest rank of an update, as in the LoRA transaction.
pub const RANK_MAX: usize = 1_024;

/// An adapter was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdapterError {
    /// The safetensors file is malformed.
    #[error("safetensors: {0}")]
    Safetensors(String),
    /// The configuration is malformed or asks for something that is not supported.
    #[error("adapter_config.json: {0}")]
    Config(String),
    /// One module's update is wrong.
    #[error("module '{module}': {reason}")]
    Module {
        /// Path of the module.
        module: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Bytes are not an adapter or a diff in canonical form.
    #[error("not a canonical adapter: {0}")]
    Decode(String),
    /// A composition that cannot be made.
    #[error("composition: {0}")]
    Compose(String),
    /// A diff that does not fit.
    #[error("diff: {0}")]
    Diff(String),
    /// This machine cannot compute now.
    #[error(transparent)]
    Machine(#[from] RunError),
}

/// The update of one module's weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Path of the module, such as `encoder.layer.0.attention.self.query`.
    pub module: String,
    /// Factor of the update: alpha / rank, or alpha / sqrt(rank).
    pub scale: f32,
    /// The factor A, `[rank, inputs]`: f32, f16 or bf16.
    pub a: Tensor,
    /// The factor B, `[outputs, rank]`, of the same type.
    pub b: Tensor,
}

impl Update {
    /// Rank of the update.
    pub fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    /// Inputs of the module; of a convolution, channels times kernel elements.
    pub fn inputs(&self) -> usize {
        self.a.shape()[1]
    }

    /// Outputs of the module.
    pub fn outputs(&self) -> usize {
        self.b.shape()[0]
    }

    /// Element type of both factors.
    pub fn dtype(&self) -> DType {
        self.a.dtype()
    }

    fn check(&self) -> Result<(), AdapterError> {
        let wrong = |reason: String| Err(AdapterError::Module { module: self.module.clone(), reason });
        let len = self.module.len();
        if len == 0 || len > NAME_BYTES_MAX {
            return wrong(format!("the path has {len} bytes; 1 to {NAME_BYTES_MAX} are allowed"));
        }
        let (&[rank, inputs], &[outputs, columns]) = (self.a.shape(), self.b.shape()) else {
            return wrong(format!(
                "the factors must have two dimensions, got A {:?}, B {:?}",
                self.a.shape(),
                self.b.shape()
            ));
        };
        if rank != columns || rank == 0 || rank > RANK_MAX || inputs == 0 || outputs == 0 {
            return wrong(format!(
                "A [{rank}, {inputs}] and B [{outputs}, {columns}] must share a rank of 1 to {RANK_MAX}"
            ));
        }
        if self.a.dtype() != self.b.dtype() || !matches!(self.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            let (a, b) = (self.a.dtype(), self.b.dtype());
            return wrong(format!("the factors must both be f32, f16 or bf16, got A {a}, B {b}"));
        }
        if !self.scale.is_finite()
            || [&self.a, &self.b].iter().any(|t| !merge::widened(t).iter().all(|v| v.is_finite()))
        {
            return wrong("the scale or an element is infinite or no number".into());
        }
        Ok(())
    }
}

/// Updates of some of a base model's modules, in ascending order of their paths.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    updates: Vec<Update>,
}

impl Adapter {
    /// An adapter from its updates, in any order; each is checked.
    pub fn new(mut updates: Vec<Update>) -> Result<Adapter, AdapterError> {
        updates.iter().try_for_each(Update::check)?;
        updates.sort_by(|a, b| a.module.cmp(&b.module));
        if let Some(pair) = updates.windows(2).find(|pair| pair[0].module == pair[1].module) {
            let module = pair[0].module.clone();
            return Err(AdapterError::Module { module, reason: "it is updated twice".into() });
        }
        if updates.is_empty() {
            return Err(AdapterError::Decode("it has no updates".into()));
        }
        Ok(Adapter { updates })
    }

    /// Reads what PEFT saves: the text of `adapter_config.json` and the bytes of `adapter_model.safetensors`.
    pub fn from_peft(config: &[u8], weights: &[u8]) -> Result<Adapter, AdapterError> {
        peft::read(config, weights)
    }

    /// Reads canonical bytes. Everything is checked; malformed input costs an error and bounded memory.
    pub fn decode(bytes: &[u8]) -> Result<Adapter, AdapterError> {
        encoding::decode(bytes)
    }

    /// Canonical bytes: the same adapter always gives the same bytes, and only they decode to it.
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    /// keccak256 of the canonical bytes.
    pub fn id(&self) -> B256 {
        keccak256(self.encode())
    }

    /// The updates, in ascending order of their modules.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Highest rank of the updates.
    pub fn rank(&self) -> usize {
        self.updates.iter().map(Update::rank).max().unwrap_or(0)
    }

    /// The same adapter with every scale multiplied by `weight`, rounded once.
    pub fn scaled(&self, weight: f32) -> Result<Adapter, AdapterError> {
        let scale = |update: &Update| Update { scale: update.scale * weight, ..update.clone() };
        Adapter::new(self.updates.iter().map(scale).collect())
    }
}
