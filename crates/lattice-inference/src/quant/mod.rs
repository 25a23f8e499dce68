//! Numeric class Q: 8-bit tensors, integers only.
//!
//! Scales become multipliers and shifts when a model is frozen, functions of one operand become tables; what runs on
//! validators adds, multiplies, shifts, compares and looks up. `docs/spec/quantised.md` has every rule. A tensor of class Q
//! stands for scale * (stored - zero point); importers compute on those real values and `lower` turns what lies between a
//! dequantisation and a quantisation into the operators of this room. What it cannot turn stays in class F.

mod average;
mod border;
mod bytes;
pub mod conv;
mod depthwise;
mod isa;
mod lower;
#[cfg(test)]
mod lower_tests;
pub mod matmul;
mod maximum;
mod moved;
mod pairs;
mod patches;
pub(crate) mod prepare;
#[cfg(test)]
mod prepare_tests;
mod product;
mod real;
pub(crate) mod requantize;
mod scale;
mod softmax;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub use lower::{Linear, rescaled};
pub use real::{dequantize, quantize};

use crate::ops::{OpResult, OpSpec};
use crate::tensor::Tensor;

/// The operators of class Q.
pub(crate) static ALL: &[&OpSpec] = &[
    &conv::INTEGER_CONV,
    &matmul::INTEGER_MATMUL,
    &requantize::REQUANTIZE,
    &table::TABLE,
    &pairs::INTEGER_ADD,
    &pairs::INTEGER_MUL,
    &average::INTEGER_AVERAGE,
    &softmax::INTEGER_SOFTMAX,
    &border::QUANTIZE,
    &border::DEQUANTIZE,
];

/// Whether an operator leads into or out of class Q.
pub(crate) fn is_border(op: &OpSpec) -> bool {
    [border::QUANTIZE.code, border::DEQUANTIZE.code].contains(&op.code)
}

/// Checks the elements of operands whose values matter for a node to be valid: rules and tables are constants, and of the
/// form that their operators document.
pub(crate) fn check_constants<'t>(op: &OpSpec, constant: impl Fn(usize) -> Option<&'t Tensor>) -> OpResult<()> {
    let check = match op.code {
        code if code == requantize::REQUANTIZE.code => requantize::check_rules,
        code if code == softmax::INTEGER_SOFTMAX.code => softmax::check_table,
        _ => return Ok(()),
    };
    check(constant(1).ok_or("its second operand must be a constant")?)
}
