//! The state of a training after a step, and the trace of all steps.
//!
//! ```text
//! "LATT" | version u16 | step u64 | tensors u32, each: elements u32, f32 each
//! ```
//! The tensors are the parameters, then the moments of the first, of the second, ... parameter. The state hash is keccak256
//! of these bytes.

use super::TrainError;
use crate::bytes::Cursor;
use crate::merkle::{self, Proof};
use alloy_primitives::{B256, keccak256};
use lattice_inference::{DType, NAN_F32_BITS};

const MAGIC: &[u8; 4] = b"LATT";
const TRACE_MAGIC: &[u8; 4] = b"LATH";
const VERSION: u16 = 1;

/// Parameters and moments after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Parameters, in the order of the layers.
    pub(super) parameters: Vec<Vec<f32>>,
    /// Moments of each parameter.
    pub(super) moments: Vec<Vec<Vec<f32>>>,
}

impl State {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let tensors = || self.parameters.iter().chain(self.moments.iter().flatten());
        let mut out = Vec::with_capacity(32 + tensors().map(|t| 4 + t.len() * 4).sum::<usize>());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.step.to_le_bytes());
        out.extend_from_slice(&(tensors().count() as u32).to_le_bytes());
        for tensor in tensors() {
            out.extend_from_slice(&(tensor.len() as u32).to_le_bytes());
            let bits = |v: &f32| if v.is_nan() { NAN_F32_BITS } else { v.to_bits() };
            out.extend(tensor.iter().flat_map(|v| bits(v).to_le_bytes()));
        }
        out
    }

    /// keccak256 of the canonical bytes.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }

    /// Reads canonical bytes, whose tensors must have these sizes.
    pub(super) fn decode(bytes: &[u8], sizes: &[usize], moments: usize) -> Result<State, TrainError> {
        let read = || -> Result<State, String> {
            let mut cursor = Cursor::open(bytes, MAGIC, VERSION)?;
            let step = cursor.u64("the step")?;
            let count = cursor.u32("the number of tensors")? as usize;
            if count != sizes.len() * (1 + moments) {
                return Err(format!("it has {count} tensors, the job has {}", sizes.len() * (1 + moments)));
            }
            let mut tensor = |size: usize| -> Result<Vec<f32>, String> {
                match cursor.u32("the length of a tensor")? as usize {
                    len if len == size => {
                        let tensor = cursor.tensor(DType::F32, &[len], "a tensor")?;
                        Ok(tensor.as_f32().unwrap_or_default().to_vec())
                    }
                    len => Err(format!("a tensor has {len} elements, the job's has {size}")),
                }
            };
            let parameters = sizes.iter().map(|&size| tensor(size)).collect::<Result<_, _>>()?;
            let of_one = |&size: &usize| (0..moments).map(|_| tensor(size)).collect::<Result<Vec<_>, _>>();
            let moments = sizes.iter().map(of_one).collect::<Result<_, _>>()?;
            cursor.finish()?;
            Ok(State { step, parameters, moments })
        };
        read().map_err(TrainError::State)
    }
}

/// The state hashes of all steps, that of the beginning first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The hash after step `i` is at `i`.
    pub hashes: Vec<B256>,
}

impl Trace {
    /// Merkle root: leaf `i` is [`merkle::leaf`] of the hash after step `i`.
    pub fn root(&self) -> B256 {
        merkle::root(&self.leaves())
    }

    /// Proof of the hash after a step.
    pub fn proof(&self, step: u64) -> Option<Proof> {
        Proof::of(&self.leaves(), step)
    }

    fn leaves(&self) -> Vec<B256> {
        self.hashes.iter().map(|hash| merkle::leaf(hash.as_slice())).collect()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = TRACE_MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.hashes.len() as u32).to_le_bytes());
        self.hashes.iter().for_each(|hash| out.extend_from_slice(hash.as_slice()));
        out
    }

    /// Reads what [`Trace::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Trace, TrainError> {
        let read = || -> Result<Trace, String> {
            let mut cursor = Cursor::open(bytes, TRACE_MAGIC, VERSION)?;
            let count = cursor.u32("the number of hashes")?;
            let hashes = (0..count).map(|_| cursor.hash("a state hash")).collect::<Result<_, _>>()?;
            cursor.finish()?;
            Ok(Trace { hashes })
        };
        read().map_err(TrainError::State)
    }
}
