//! f32 functions of one and two operands, over equally long slices.

use super::dual_kernel;
use crate::math;

/// Functions of one operand. `alpha`, `beta` are the operator's attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub(crate) enum Unary {
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    Floor,
    Ceil,
    Round,
    Sign,
    Relu,
    Exp,
    Tanh,
    Sigmoid,
    Erf,
    Log,
    Softplus,
    Softsign,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    LeakyRelu(f32),
    Elu(f32),
    Celu(f32),
    Selu(f32, f32),
    ThresholdedRelu(f32),
    Shrink(f32, f32),
}

/// Functions of two operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    PRelu,
    /// Remainder with the sign of the divisor.
    Mod,
    /// Remainder with the sign of the dividend.
    Fmod,
}

/// The larger operand by explicit comparison; a NaN operand gives NaN; of equal ones the first.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    let m = if a >= b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// The smaller operand by explicit comparison; a NaN operand gives NaN; of equal ones the first.
#[inline(always)]
pub(crate) fn min(a: f32, b: f32) -> f32 {
    let m = if a <= b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// Remainder with the sign of the divisor, as Python's.
pub(crate) fn modulo(a: f32, b: f32) -> f32 {
    let r = libm::fmodf(a, b);
    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
}

#[inline(always)]
fn celu(x: f32, alpha: f32) -> f32 {
    if x > 0.0 { x } else { alpha * libm::expm1f(x / alpha) }
}

#[inline(always)]
fn shrink(x: f32, lambda: f32, bias: f32) -> f32 {
    if x < -lambda {
        x + bias
    } else if x > lambda {
        x - bias
    } else if x.is_nan() {
        x
    } else {
        0.0
    }
}

macro_rules! each {
    ($x:ident, $y:ident, $v:ident => $f:expr) => {
        for ($v, out) in $x.iter().zip($y.iter_mut()) {
            let $v = *$v;
            *out = $f;
        }
    };
}

dual_kernel! {
    /// `y[i] = f(x[i])`.
    fn unary(op: Unary, x: &[f32], y: &mut [f32]) {
        match op {
            Unary::Neg => each!(x, y, v => -v),
            Unary::Abs => each!(x, y, v => v.abs()),
            Unary::Sqrt => each!(x, y, v => v.sqrt()),
            Unary::Reciprocal => each!(x, y, v => 1.0 / v),
            Unary::Floor => each!(x, y, v => v.floor()),
            Unary::Ceil => each!(x, y, v => v.ceil()),
            Unary::Round => each!(x, y, v => v.round_ties_even()),
            Unary::Sign => each!(x, y, v => if v > 0.0 { 1.0 } else if v < 0.0 { -1.0 } else if v.is_nan() { v } else { 0.0 }),
            Unary::Relu => each!(x, y, v => if v > 0.0 || v.is_nan() { v } else { 0.0 }),
            Unary::Exp => each!(x, y, v => math::exp(v)),
            Unary::Tanh => each!(x, y, v => math::tanh(v)),
            Unary::Sigmoid => each!(x, y, v => math::sigmoid(v)),
            Unary::Erf => each!(x, y, v => math::erf(v)),
            Unary::LeakyRelu(alpha) => each!(x, y, v => if v < 0.0 { alpha * v } else { v }),
            Unary::ThresholdedRelu(alpha) => each!(x, y, v => if v > alpha || v.is_nan() { v } else { 0.0 }),
            Unary::Softsign => each!(x, y, v => v / (1.0 + v.abs())),
            Unary::Shrink(lambda, bias) => each!(x, y, v => shrink(v, lambda, bias)),
            Unary::Log => each!(x, y, v => math::ln(v)),
            Unary::Softplus => each!(x, y, v => math::softplus(v)),
            Unary::Sin => each!(x, y, v => libm::sinf(v)),
            Unary::Cos => each!(x, y, v => libm::cosf(v)),
            Unary::Tan => each!(x, y, v => libm::tanf(v)),
            Unary::Asin => each!(x, y, v => libm::asinf(v)),
            Unary::Acos => each!(x, y, v => libm::acosf(v)),
            Unary::Atan => each!(x, y, v => libm::atanf(v)),
            Unary::Sinh => each!(x, y, v => libm::sinhf(v)),
            Unary::Cosh => each!(x, y, v => libm::coshf(v)),
            Unary::Asinh => each!(x, y, v => libm::asinhf(v)),
            Unary::Acosh => each!(x, y, v => libm::acoshf(v)),
            Unary::Atanh => each!(x, y, v => libm::atanhf(v)),
            Unary::Elu(alpha) => each!(x, y, v => if v > 0.0 { v } else { alpha * libm::expm1f(v) }),
            Unary::Celu(alpha) => each!(x, y, v => celu(v, alpha)),
            Unary::Selu(alpha, gamma) => {
                each!(x, y, v => gamma * if v > 0.0 { v } else { alpha * libm::expm1f(v) });
            }
        }
    }
}

/// One operand of a function of two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand<'a> {
    /// An element for each result.
    Each(&'a [f32]),
    /// The same for all.
    All(f32),
    /// One for each row of so many results, which are whole rows.
    Rows(&'a [f32], usize),
}

impl Operand<'_> {
    /// What the result of this number reads.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> f32 {
        match *self {
            Operand::Each(x) => x[i],
            Operand::All(x) => x,
            Operand::Rows(x, columns) => x[i / columns],
        }
    }
}

macro_rules! each2 {
    ($a:ident, $b:ident, $y:ident, $v:ident, $w:ident => $f:expr) => {
        match ($a, $b) {
            (Operand::Each(a), Operand::Each(b)) => {
                for ((out, &$v), &$w) in $y.iter_mut().zip(a).zip(b) {
                    *out = $f;
                }
            }
            (Operand::Each(a), Operand::All($w)) => {
                for (out, &$v) in $y.iter_mut().zip(a) {
                    *out = $f;
                }
            }
            (Operand::All($v), Operand::Each(b)) => {
                for (out, &$w) in $y.iter_mut().zip(b) {
                    *out = $f;
                }
            }
            (Operand::Each(a), Operand::Rows(b, columns)) => {
                for ((y, a), &$w) in $y.chunks_exact_mut(columns).zip(a.chunks_exact(columns)).zip(b) {
                    for (out, &$v) in y.iter_mut().zip(a) {
                        *out = $f;
                    }
                }
            }
            (Operand::Rows(a, columns), Operand::Each(b)) => {
                for ((y, &$v), b) in $y.chunks_exact_mut(columns).zip(a).zip(b.chunks_exact(columns)) {
                    for (out, &$w) in y.iter_mut().zip(b) {
                        *out = $f;
                    }
                }
            }
            (a, b) => {
                for (i, out) in $y.iter_mut().enumerate() {
                    let ($v, $w) = (a.at(i), b.at(i));
                    *out = $f;
                }
            }
        }
    };
}

dual_kernel! {
    /// `y[i] = x[i] * scale + shift`, each operation rounded, for rows of `columns` along which scale and shift are the same.
    fn scale_shift(x: &[f32], scale: Operand<'_>, shift: Operand<'_>, columns: usize, y: &mut [f32]) {
        for (row, (y, x)) in y.chunks_exact_mut(columns).zip(x.chunks_exact(columns)).enumerate() {
            let (scale, shift) = (scale.at(row * columns), shift.at(row * columns));
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x * scale + shift;
            }
        }
    }
}

dual_kernel! {
    /// `y = (x * min(max(x + add, low), high)) / by`, the hard swish as its single operators: each operation rounded.
    fn gate(x: &[f32], add: f32, low: f32, high: f32, by: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x * min(max(x + add, low), high)) / by;
        }
    }
}

dual_kernel! {
    /// `y[i] = f(a[i], b[i])`.
    fn binary(op: Binary, a: Operand<'_>, b: Operand<'_>, y: &mut [f32]) {
        match op {
            Binary::Add => each2!(a, b, y, v, w => v + w),
            Binary::Sub => each2!(a, b, y, v, w => v - w),
            Binary::Mul => each2!(a, b, y, v, w => v * w),
            Binary::Div => each2!(a, b, y, v, w => v / w),
            Binary::Max => each2!(a, b, y, v, w => max(v, w)),
            Binary::Min => each2!(a, b, y, v, w => min(v, w)),
            Binary::PRelu => each2!(a, b, y, v, w => if v < 0.0 { w * v } else { v }),
            Binary::Pow => each2!(a, b, y, v, w => math::pow(v, w)),
            Binary::Mod => each2!(a, b, y, v, w => modulo(v, w)),
            Binary::Fmod => each2!(a, b, y, v, w => libm::fmodf(v, w)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    /// Numbers of all magnitudes and signs, with the special ones.
    fn values() -> Vec<f32> {
        let special =
            [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-40, f32::MAX, f32::MIN];
        let spread = (0..4000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
        let near = (0..2000).map(|i| (i - 1000) as f32 * 0.013);
        special.into_iter().chain(spread).chain(near).collect()
    }

    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|x| if x.is_nan() { crate::tensor::NAN_F32_BITS } else { x.to_bits() }).collect()
    }

    #[test]
    fn all_forms_of_every_function_give_the_same_bits() {
        use Unary::*;
        let unaries = [
            Neg,
            Abs,
            Sqrt,
            Reciprocal,
            Floor,
            Ceil,
            Round,
            Sign,
            Relu,
            Exp,
            Tanh,
            Sigmoid,
            Erf,
            Log,
            Softplus,
            Softsign,
            Sin,
            Cos,
            Tan,
            Asin,
            Acos,
            Atan,
            Sinh,
            Cosh,
            Asinh,
            Acosh,
            Atanh,
            LeakyRelu(0.1),
            Elu(1.5),
            Celu(0.7),
            Selu(1.67, 1.05),
            ThresholdedRelu(0.5),
            Shrink(0.5, 0.1),
        ];
        let x = values();
        for op in unaries {
            let run = |isa| {
                let mut y = vec![0.0; x.len()];
                unary(isa, op, &x, &mut y);
                bits(&y)
            };
            assert!(Isa::all().into_iter().all(|isa| run(isa) == run(Isa::Portable)), "{op:?}");
        }
        let y: Vec<f32> = x.iter().rev().copied().collect();
        use Binary::*;
        for op in [Add, Sub, Mul, Div, Max, Min, Pow, PRelu, Mod, Fmod] {
            let run = |isa, a: Operand<'_>, b: Operand<'_>| {
                let mut out = vec![0.0; x.len()];
                binary(isa, op, a, b, &mut out);
                bits(&out)
            };
            let pairs = run(Isa::Portable, Operand::Each(&x), Operand::Each(&y));
            assert!(
                Isa::all().into_iter().all(|isa| run(isa, Operand::Each(&x), Operand::Each(&y)) == pairs),
                "{op:?}"
            );
            for v in [-1.5, 6.0, 0.0, f32::NAN] {
                let repeated = vec![v; x.len()];
                let (left, right) = (
                    run(Isa::Portable, Operand::Each(&repeated), Operand::Each(&x)),
                    run(Isa::Portable, Operand::Each(&x), Operand::Each(&repeated)),
                );
                for isa in Isa::all() {
                    assert_eq!(run(isa, Operand::All(v), Operand::Each(&x)), left, "{op:?} of {v}");
                    assert_eq!(run(isa, Operand::Each(&x), Operand::All(v)), right, "{op:?} by {v}");
                    let halves = [v, 2.0];
                    let rows = Operand::Rows(&halves, x.len() / 2);
                    let (even, spread) =
                        (&x[..x.len() / 2 * 2], [vec![v; x.len() / 2], vec![2.0; x.len() / 2]].concat());
                    let part = |bits: Vec<u32>| bits[..even.len()].to_vec();
                    assert_eq!(
                        part(run(isa, Operand::Each(even), rows)),
                        part(run(Isa::Portable, Operand::Each(even), Operand::Each(&spread))),
                    );
                    assert_eq!(
                        part(run(isa, rows, Operand::Each(even))),
                        part(run(Isa::Portable, Operand::Each(&spread), Operand::Each(even))),
                    );
                    let both = run(isa, Operand::All(v), Operand::All(2.0));
                    assert_eq!(
                        both[0],
                        run(isa, Operand::Each(&repeated), Operand::All(2.0))[0],
                        "{op:?} of {v} and 2"
                    );
                }
            }
        }
    }
}
