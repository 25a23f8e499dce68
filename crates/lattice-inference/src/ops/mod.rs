//! The operators of the frozen graph, one file a family.
//!
//! To add an operator: write its `infer`, `work` and `run` in the file of its family, make a `static` [`OpSpec`] with a fresh
//! code, and list it in the family's `ALL`. Codes are part of the canonical encoding and never change meaning. An ONNX
//! operator that the existing ones can express needs no new operator here: see the `lower` folders of `lattice-import`.

mod attributes;
pub mod broadcast;
pub mod cast;
pub mod compare;
pub mod conv;
pub mod elementwise;
pub mod gather;
pub mod matmul;
pub mod movement;
pub mod normalize;
pub mod pool;
pub mod reduce;
pub mod search;

pub use attributes::{Attribute, Attributes};

use crate::cost::Work;
use crate::graph::TensorType;
use crate::tensor::{Tensor, element_count};

/// What went wrong inside an operator; the caller adds which node it was.
pub type OpResult<T> = Result<T, String>;

type InferFn = fn(&Attributes, &[&TensorType]) -> OpResult<Vec<TensorType>>;
type WorkFn = fn(&Attributes, &[&TensorType], &[TensorType]) -> Work;
/// Attributes and operands in, results or the reason of a refusal out.
pub type RunFn = fn(&Attributes, &[&Tensor]) -> OpResult<Vec<Tensor>>;

/// One operator of the frozen graph.
pub struct OpSpec {
    /// Its number in the canonical encoding: family in the high byte.
    pub code: u16,
    /// Its name, as messages and `operators()` show it.
    pub name: &'static str,
    /// Checks attributes and operands, and gives the types of the results. Everything that `run` relies on is checked here.
    pub(crate) infer: InferFn,
    /// Static work.
    pub(crate) work: WorkFn,
    /// Computes the results of operands of the types that a graph gives them.
    pub run: RunFn,
}

impl core::fmt::Debug for OpSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

impl OpSpec {
    /// `infer`, and the limits on what it gives.
    pub(crate) fn infer_checked(&self, attributes: &Attributes, operands: &[&TensorType]) -> OpResult<Vec<TensorType>> {
        let results = (self.infer)(attributes, operands)?;
        for ty in &results {
            element_count(ty.dtype, &ty.shape).map_err(|e| format!("result: {e}"))?;
        }
        Ok(results)
    }
}

/// Every family's operators.
static FAMILIES: &[&[&OpSpec]] = &[
    elementwise::UNARY,
    elementwise::BINARY,
    compare::ALL,
    cast::ALL,
    matmul::ALL,
    conv::ALL,
    pool::ALL,
    reduce::ALL,
    normalize::ALL,
    movement::ALL,
    gather::ALL,
    search::ALL,
    crate::quant::ALL,
];

/// All operators.
pub fn all() -> impl Iterator<Item = &'static OpSpec> {
    FAMILIES.iter().flat_map(|family| family.iter().copied())
}

/// The operator with this code.
pub(crate) fn spec_by_code(code: u16) -> Option<&'static OpSpec> {
    all().find(|spec| spec.code == code)
}

/// Exactly `N` operands.
pub(crate) fn operands<'a, T, const N: usize>(operands: &[&'a T]) -> OpResult<[&'a T; N]> {
    operands.try_into().map_err(|_| format!("expected {N} operands, got {}", operands.len()))
}

/// A tensor whose element count is known to fit.
pub(crate) fn tensor(shape: &[usize], data: crate::tensor::Data) -> OpResult<Tensor> {
    Tensor::new(shape, data).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        let mut codes: Vec<u16> = all().map(|s| s.code).collect();
        let mut names: Vec<&str> = all().map(|s| s.name).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((codes.len(), names.len()), (count, count));
    }
}
