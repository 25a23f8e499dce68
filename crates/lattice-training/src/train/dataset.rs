//! Data sets: records of f32, committed to by a Merkle root over the records.
//!
//! ```text
//! "LATS" | version u16 | features u32 | targets u32 | count u64 | records, each features ++ targets, f32
//! ```

use super::TrainError;
use crate::bytes::Cursor;
use crate::merkle::{self, Proof};
use alloy_primitives::{B256, keccak256};
use lattice_inference::DType;

const MAGIC: &[u8; 4] = b"LATS";
const VERSION: u16 = 1;

/// Records of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    features: usize,
    targets: usize,
    values: Vec<f32>,
}

impl Dataset {
    /// A data set from row-major `features` of `width` numbers a record, and `targets` likewise.
    pub fn new(features: &[f32], width: usize, targets: &[f32], target_width: usize) -> Result<Dataset, TrainError> {
        let count = features.len().checked_div(width).unwrap_or(0);
        if count == 0 || features.len() != count * width || targets.len() != count * target_width || target_width == 0 {
            return Err(TrainError::Dataset(format!(
                "{} features of {width} a record and {} targets of {target_width} do not make equal numbers of records",
                features.len(),
                targets.len()
            )));
        }
        if features.iter().chain(targets).any(|v| !v.is_finite()) {
            return Err(TrainError::Dataset("a number is infinite or no number".into()));
        }
        let rows = features.chunks_exact(width).zip(targets.chunks_exact(target_width));
        let values = rows.flat_map(|(x, y)| x.iter().chain(y).copied()).collect();
        Ok(Dataset { features: width, targets: target_width, values })
    }

    /// Reads canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Dataset, TrainError> {
        let read = || -> Result<Dataset, String> {
            let mut cursor = Cursor::open(bytes, MAGIC, VERSION)?;
            let (features, targets) = (cursor.u32("the features")? as usize, cursor.u32("the targets")? as usize);
            let count = usize::try_from(cursor.u64("the number of records")?).map_err(|e| e.to_string())?;
            let width = features.checked_add(targets).filter(|_| features > 0 && targets > 0 && count > 0);
            let width = width.ok_or("it has no records, features or targets")?;
            let values = cursor.tensor(DType::F32, &[count, width], "the records")?;
            cursor.finish()?;
            let values = values.as_f32().unwrap_or_default().to_vec();
            if values.iter().any(|v| !v.is_finite()) {
                return Err("a number is infinite or no number".into());
            }
            Ok(Dataset { features, targets, values })
        };
        read().map_err(TrainError::Dataset)
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.features as u32).to_le_bytes());
        out.extend_from_slice(&(self.targets as u32).to_le_bytes());
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        out.extend(self.values.iter().flat_map(|v| v.to_le_bytes()));
        out
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.values.len() / self.width()
    }

    /// Never: a data set has records.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a record that go into the network.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Numbers of a record that the loss compares with.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// Numbers of a record.
    fn width(&self) -> usize {
        self.features + self.targets
    }

    /// A record, features first.
    pub(super) fn record(&self, index: u64) -> &[f32] {
        &self.values[index as usize * self.width()..][..self.width()]
    }

    /// All records as one batch.
    pub fn all(&self) -> Batch {
        Batch { records: self.values.chunks_exact(self.width()).map(<[f32]>::to_vec).collect() }
    }

    fn leaves(&self) -> Vec<B256> {
        self.values.chunks_exact(self.width()).map(|record| merkle::leaf(&bytes_of(record))).collect()
    }

    /// Merkle root over the records.
    pub fn root(&self) -> B256 {
        merkle::root(&self.leaves())
    }

    /// The batch of a step: record `j` has the index `floor(h * count / 2^64)`, `h` being the first eight bytes,
    /// big-endian, of keccak(seed ++ "record" ++ step ++ j), each number a u64, little-endian. Records may repeat.
    pub fn batch(&self, seed: u64, step: u64, size: usize) -> Batch {
        let records =
            (0..size as u64).map(|j| self.record(chosen(seed, step, j, self.len() as u64)).to_vec()).collect();
        Batch { records }
    }

    /// The batch of a step with proofs of its records, for those who hold the root alone.
    pub fn open_batch(&self, seed: u64, step: u64, size: usize) -> OpenedBatch {
        let leaves = self.leaves();
        let one = |j| {
            let index = chosen(seed, step, j, self.len() as u64);
            let proof = Proof::of(&leaves, index).expect("the index is below the number of records");
            (self.record(index).to_vec(), proof)
        };
        OpenedBatch { records: (0..size as u64).map(one).collect() }
    }
}

/// The record that stands at place `j` of a step's batch.
fn chosen(seed: u64, step: u64, j: u64, count: u64) -> u64 {
    let hash = keccak256([&seed.to_le_bytes()[..], b"record", &step.to_le_bytes(), &j.to_le_bytes()].concat());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    ((u128::from(u64::from_be_bytes(first)) * u128::from(count)) >> 64) as u64
}

fn bytes_of(record: &[f32]) -> Vec<u8> {
    record.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The records of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub(super) records: Vec<Vec<f32>>,
}

/// The records of one step, each with its proof against the root of the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedBatch {
    records: Vec<(Vec<f32>, Proof)>,
}

impl OpenedBatch {
    /// The batch, when its records are those that seed and step choose from the data set with that root.
    pub fn verify(&self, root: &B256, seed: u64, step: u64, size: usize) -> Result<Batch, TrainError> {
        if self.records.len() != size {
            return Err(TrainError::Batch(format!("{} records are opened, a batch has {size}", self.records.len())));
        }
        for (j, (record, proof)) in self.records.iter().enumerate() {
            let index = chosen(seed, step, j as u64, proof.leaves);
            if proof.index != index {
                return Err(TrainError::Batch(format!("place {j} is record {index}, not {}", proof.index)));
            }
            if !proof.proves(&merkle::leaf(&bytes_of(record)), root) {
                return Err(TrainError::Batch(format!("record {index} is not in the data set {root}")));
            }
        }
        Ok(Batch { records: self.records.iter().map(|(record, _)| record.clone()).collect() })
    }

    /// Its bytes: numbers of a record u32, records u32, each with its proof.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(&mut out);
        out
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let width = self.records.first().map_or(0, |(record, _)| record.len());
        out.extend_from_slice(&(width as u32).to_le_bytes());
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        for (record, proof) in &self.records {
            out.extend(bytes_of(record));
            proof.append(out);
        }
    }

    /// Reads what [`OpenedBatch::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<OpenedBatch, TrainError> {
        let read = || -> Result<OpenedBatch, String> {
            let mut cursor = Cursor::new(bytes);
            let batch = Self::read(&mut cursor)?;
            cursor.finish()?;
            Ok(batch)
        };
        read().map_err(TrainError::Batch)
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<OpenedBatch, String> {
        let width = cursor.u32("the numbers of a record")? as usize;
        let count = cursor.u32("the number of records")?;
        let mut records = Vec::new();
        for _ in 0..count {
            let record = cursor.tensor(DType::F32, &[width], "a record")?;
            records.push((record.as_f32().unwrap_or_default().to_vec(), Proof::read(cursor)?));
        }
        Ok(OpenedBatch { records })
    }
}
