//! From real values to class Q, while a model is frozen.
//!
//! Importers dequantise what an operator reads and quantise what it makes. A dequantised value is noted with the integers
//! behind it; where a value is quantised, its makers are looked at from the back: what computes it from noted values by
//! operators of this room is written again in integers, and the float nodes, which nobody reads any more, vanish.

use super::border::{DEQUANTIZE, QUANTIZE};
use super::conv::{INTEGER_CONV, K_MAX};
use super::matmul::INTEGER_MATMUL;
use super::pairs::{INTEGER_ADD, INTEGER_MUL, Product, Sum};
use super::requantize::{REQUANTIZE, bounds, into_data, put_range};
use super::scale::{Range, Scale};
use super::softmax::{INTEGER_SOFTMAX, ONE, PROBABILITY_BITS};
use super::table::TABLE;
use super::{average, softmax};
use crate::graph::{GraphBuilder, Value};
use crate::math;
use crate::ops::{
    Attributes, OpResult, OpSpec, conv::CONV, conv::Geometry, elementwise as ew, gather::GATHER, matmul::MATMUL,
    movement, normalize, pool, reduce,
};
use crate::tensor::{DType, Tensor};

/// Deepest chain of makers that is looked at.
const DEPTH_MAX: usize = 64;
/// Most nodes that one table is computed from.
const TABLE_NODES_MAX: usize = 64;

/// A real value known by the integers behind it: scale * (stored - zero point), one pair for all or one along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The integers.
    pub stored: Value,
    /// Scales, one or as many as the axis has places.
    pub scales: Vec<f32>,
    /// Zero points, as many as scales.
    pub zeros: Vec<i32>,
    /// The axis along which scales and zero points lie.
    pub axis: usize,
}

/// How a result is stored.
#[derive(Clone, Copy, Debug)]
struct Target {
    scale: f32,
    dtype: DType,
    range: Range,
}

/// Errors unless every scale is above 0 and finite.
fn check_scales(scales: &[f32]) -> OpResult<()> {
    match scales.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        None => Ok(()),
        Some(scale) => Err(format!("its scale must be above 0 and finite, got {scale:e}")),
    }
}

/// Constant scales and zero points of `x`, which broadcast against it; nothing when they are not known at import or of
/// another form.
fn parameters(b: &GraphBuilder, x: Value, scale: Value, zero: Option<Value>) -> OpResult<Option<Linear>> {
    let Some(scales) = b.tensor(scale).and_then(|t| t.as_f32()).map(<[f32]>::to_vec) else { return Ok(None) };
    check_scales(&scales)?;
    let zeros: Vec<i32> = match zero.map(|zero| b.tensor(zero)) {
        None => vec![0],
        Some(None) => return Ok(None),
        Some(Some(zeros)) => zeros.to_f64s().iter().map(|&z| z as i32).collect(),
    };
    let (count, shape, rank) = (scales.len(), b.shape(scale), b.shape(x).len());
    let axis = match count {
        1 => Some(0),
        _ => shape.iter().position(|&dim| dim == count).and_then(|axis| (rank + axis).checked_sub(shape.len())),
    };
    let zeros = if zeros.len() == 1 { vec![zeros[0]; count] } else { zeros };
    let fits = zeros.len() == count && matches!(b.dtype(x), DType::I8 | DType::U8 | DType::I32);
    Ok(axis.filter(|_| fits).map(|axis| Linear { stored: x, scales, zeros, axis }))
}

/// [`super::dequantize`] in one node where it is a border of class Q, and noted in any case.
pub(crate) fn dequantize(
    b: &mut GraphBuilder,
    x: Value,
    scale: Value,
    zero: Option<Value>,
    plain: impl FnOnce(&mut GraphBuilder) -> OpResult<Value>,
) -> OpResult<Value> {
    let Some(linear) = parameters(b, x, scale, zero)? else { return plain(b) };
    let y = match (b.dtype(x), &linear.scales[..]) {
        (DType::I8 | DType::U8, &[scale]) => {
            b.emit1(&DEQUANTIZE, Attributes::none().float(scale).int(linear.zeros[0].into()), &[x])?
        }
        _ => plain(b)?,
    };
    b.note_real(y, linear);
    Ok(y)
}

/// A value quantised in class Q, or at least by one node; nothing when scale and zero point are not known at import, lie
/// along an axis or belong to another type.
pub(crate) fn quantize(
    b: &mut GraphBuilder,
    x: Value,
    scale: Value,
    zero: Option<Value>,
    dtype: DType,
) -> OpResult<Option<Value>> {
    b.tensor(scale).and_then(|t| t.as_f32()).map_or(Ok(()), check_scales)?;
    let Some(target) = target(b, scale, zero, dtype) else { return Ok(None) };
    if b.dtype(x) != DType::F32 {
        return Ok(None);
    }
    match lower(b, x, &target, 0)? {
        Some(y) => Ok(Some(y)),
        None => real_border(b, x, &target).map(Some),
    }
}

fn real_border(b: &mut GraphBuilder, x: Value, target: &Target) -> OpResult<Value> {
    let attributes = Attributes::none().float(target.scale).int(target.range.zero.into());
    b.emit1(&QUANTIZE, attributes.int(i64::from(target.dtype.code())), &[x])
}

/// How a result with this scale and zero point is stored, if both are single constants.
fn target(b: &GraphBuilder, scale: Value, zero: Option<Value>, dtype: DType) -> Option<Target> {
    let (low, high) = bounds(dtype).ok()?;
    let single = |v: Value| b.tensor(v).filter(|t| t.len() == 1).map(|t| t.to_f64s()[0]);
    let zero = zero.map_or(Some(0.0), single)? as i32;
    let scale = b.tensor(scale).filter(|t| t.len() == 1)?.as_f32()?[0];
    (low..=high).contains(&zero).then_some(Target { scale, dtype, range: Range { zero, low, high } })
}

/// Writes `v`, quantised, in integers; nothing when its makers are not all known to class Q.
fn lower(b: &mut GraphBuilder, v: Value, t: &Target, depth: usize) -> OpResult<Option<Value>> {
    if depth > DEPTH_MAX || b.dtype(v) != DType::F32 {
        return Ok(None);
    }
    let Range { zero, low, high } = t.range;
    let key = (v, t.scale.to_bits(), t.dtype.code(), [zero, low, high]);
    if let Some(&known) = b.quantized.get(&key) {
        return Ok(Some(known));
    }
    let found = match table(b, v, t)? {
        Some(y) => Some(y),
        None => compute(b, v, t, depth)?,
    };
    if let Some(y) = found {
        b.quantized.insert(key, y);
    }
    Ok(found)
}

fn is(op: &OpSpec, other: &OpSpec) -> bool {
    op.code == other.code
}

/// [`lower`] by what made the value.
fn compute(b: &mut GraphBuilder, v: Value, t: &Target, depth: usize) -> OpResult<Option<Value>> {
    let Some((op, attributes, inputs)) = b.maker(v) else { return Ok(None) };
    if let Some(bound) = clamped(b, op, &inputs, t) {
        let (inner, target) = bound?;
        return lower(b, inner, &target, depth + 1);
    }
    if let Some((data, rest)) = moved(b, op, &inputs) {
        let parts: OpResult<Option<Vec<Value>>> = data.iter().map(|&part| lower(b, part, t, depth + 1)).collect();
        let Some(mut operands) = parts? else { return Ok(None) };
        operands.extend(rest);
        if is(op, &movement::PAD) {
            let fill = t.range.zero.clamp(t.range.low, t.range.high);
            let fill = into_data(t.dtype, vec![fill as u8])?;
            operands.push(b.constant("", Tensor::new([], fill).map_err(|e| e.to_string())?));
        }
        return b.emit1(op, attributes, &operands).map(Some);
    }
    if let Some(y) = weighted(b, v, t)? {
        return Ok(Some(y));
    }
    if let Some(y) = affine(b, op, &inputs, t)? {
        return Ok(Some(y));
    }
    if is(op, &ew::ADD) || is(op, &ew::SUB) || is(op, &ew::MUL) {
        return pair(b, op, inputs[0], inputs[1], t);
    }
    if is(op, &reduce::SUM) || is(op, &ew::DIV) {
        return mean(b, v, t);
    }
    let single = [&pool::AVERAGE_POOL, &normalize::SOFTMAX].iter().any(|known| is(op, known));
    let Some(x) = (if single { byte(b, inputs[0])? } else { None }) else { return Ok(None) };
    if is(op, &pool::AVERAGE_POOL) {
        let Ok(scale) = Scale::of(f64::from(x.scales[0]) / f64::from(t.scale)) else { return Ok(None) };
        let attributes = average::attributes(&attributes, x.zeros[0], scale, t.dtype, t.range);
        return b.emit1(&average::INTEGER_AVERAGE, attributes, &[x.stored]).map(Some);
    }
    let Ok(scale) = Scale::of(1.0 / (f64::from(t.scale) * f64::from(1u32 << PROBABILITY_BITS))) else {
        return Ok(None);
    };
    let entry = |d: i32| (math::exp(-(d as f32) * x.scales[0]) * ONE as f32).round_ties_even() as i32;
    let table = Tensor::from_i32([256], (0..256).map(entry).collect()).map_err(|e| e.to_string())?;
    let table = b.constant("", table);
    b.emit1(&INTEGER_SOFTMAX, softmax::attributes(scale, t.dtype, t.range), &[x.stored, table]).map(Some)
}

/// Relu, or a maximum or minimum with a number: what is inside, and the narrower range that stands for it.
fn clamped(b: &GraphBuilder, op: &OpSpec, inputs: &[Value], t: &Target) -> Option<OpResult<(Value, Target)>> {
    let (inner, bound) = if is(op, &ew::RELU) {
        (inputs[0], 0.0)
    } else if is(op, &ew::MAX) || is(op, &ew::MIN) {
        let number = |v: Value| b.tensor(v).filter(|t| t.len() == 1)?.as_f32().map(|v| v[0]);
        match (number(inputs[0]), number(inputs[1])) {
            (None, Some(bound)) => (inputs[0], bound),
            (Some(bound), None) => (inputs[1], bound),
            _ => return None,
        }
    } else {
        return None;
    };
    let (range, mut target) = (t.range, *t);
    let stored = ((bound / t.scale).round_ties_even() as i64).saturating_add(range.zero.into());
    let stored = stored.clamp(range.low.into(), range.high.into()) as i32;
    if is(op, &ew::MIN) {
        target.range.high = stored;
    } else {
        target.range.low = stored;
    }
    // NaN never comes from integers, but a bound may be one.
    (!bound.is_nan()).then_some(Ok((inner, target)))
}

/// Of an operator that gives some of its operands' elements, or their largest: those operands, and the others.
fn moved(b: &GraphBuilder, op: &OpSpec, inputs: &[Value]) -> Option<(Vec<Value>, Vec<Value>)> {
    if is(op, &movement::CONCAT) {
        return Some((inputs.to_vec(), Vec::new()));
    }
    if is(op, &movement::PAD) {
        let is_zero = b.tensor(inputs[1])?.as_f32().is_some_and(|fill| fill.iter().all(|&v| v == 0.0));
        return is_zero.then(|| (inputs[..1].to_vec(), Vec::new()));
    }
    let moving = [
        &movement::RESHAPE,
        &movement::TRANSPOSE,
        &movement::SLICE,
        &movement::EXPAND,
        &GATHER,
        &pool::MAX_POOL,
        &reduce::MAX,
    ];
    moving.iter().any(|known| is(op, known)).then(|| (inputs[..1].to_vec(), inputs[1..].to_vec()))
}

/// The integers behind a value, looked for through operators that only move elements.
fn linear(b: &mut GraphBuilder, v: Value, depth: usize) -> OpResult<Option<Linear>> {
    if let Some(known) = b.real(v) {
        return Ok(Some(known.clone()));
    }
    let Some((op, attributes, inputs)) = b.maker(v).filter(|_| depth <= DEPTH_MAX) else { return Ok(None) };
    if is(op, &ew::MUL) || is(op, &ew::DIV) {
        // A number only changes the scale.
        let number = b.tensor(inputs[1]).filter(|t| t.len() == 1).and_then(|t| t.as_f32()).map(|v| v[0]);
        let (Some(number), true) = (number, b.shape(inputs[0]) == b.shape(v)) else { return Ok(None) };
        let Some(mut inner) = linear(b, inputs[0], depth + 1)? else { return Ok(None) };
        let factor = |scale: &mut f32| if is(op, &ew::MUL) { *scale *= number } else { *scale /= number };
        inner.scales.iter_mut().for_each(factor);
        return Ok(check_scales(&inner.scales).ok().map(|()| inner));
    }
    let Some((data, rest)) = moved(b, op, &inputs).filter(|(data, _)| data.len() == 1) else { return Ok(None) };
    let Some(mut inner) = linear(b, data[0], depth + 1)? else { return Ok(None) };
    if inner.scales.len() > 1 {
        let (from, to) = (b.shape(data[0]), b.shape(v));
        let Some((axis, times)) = axis_after(op, &attributes, inner.axis, from, to) else { return Ok(None) };
        inner.axis = axis;
        inner.scales = inner.scales.iter().flat_map(|&scale| vec![scale; times]).collect();
        inner.zeros = inner.zeros.iter().flat_map(|&zero| vec![zero; times]).collect();
    }
    let mut operands = vec![inner.stored];
    operands.extend(rest);
    if is(op, &movement::PAD) {
        let dtype = b.dtype(inner.stored);
        let Ok(fill) = into_data(dtype, vec![inner.zeros[0] as u8]) else { return Ok(None) };
        operands.push(b.constant("", Tensor::new([], fill).map_err(|e| e.to_string())?));
    }
    inner.stored = b.emit1(op, attributes, &operands)?;
    b.note_real(v, inner.clone());
    Ok(Some(inner))
}

/// Where an axis lies after its tensor was transposed or reshaped, and how often each of its places is there, when it was
/// merged with what lies inside it.
fn axis_after(
    op: &OpSpec,
    attributes: &Attributes,
    axis: usize,
    from: &[usize],
    to: &[usize],
) -> Option<(usize, usize)> {
    if is(op, &movement::TRANSPOSE) {
        return attributes.read_sizes(0).ok()?.iter().position(|&source| source == axis).map(|at| (at, 1));
    }
    let outer = |shape: &[usize], axis: usize| shape[..axis].iter().product::<usize>();
    let same = |&at: &usize| to[at] > 0 && to[at].is_multiple_of(from[axis]) && outer(to, at) == outer(from, axis);
    (0..to.len()).rev().find(same).filter(|_| is(op, &movement::RESHAPE)).map(|at| (at, to[at] / from[axis]))
}

/// [`linear`] for 8-bit integers with one scale.
fn byte(b: &mut GraphBuilder, v: Value) -> OpResult<Option<Linear>> {
    let found = linear(b, v, 0)?;
    Ok(found.filter(|l| l.scales.len() == 1 && bounds(b.dtype(l.stored)).is_ok()))
}

/// A function of one quantised tensor as a table, computed by class F for its 256 integers.
fn table(b: &mut GraphBuilder, v: Value, t: &Target) -> OpResult<Option<Value>> {
    let (mut leaf, mut budget) = (None, TABLE_NODES_MAX);
    let Some(real) = evaluate(b, v, &mut leaf, &mut budget)? else { return Ok(None) };
    let Some(source) = leaf.filter(|leaf| b.ty(leaf.stored).elements() == b.ty(v).elements() && real.len() == 256)
    else {
        return Ok(None);
    };
    let Target { scale, dtype, range } = *t;
    let attributes = Attributes::none().float(scale).int(range.zero.into()).int(i64::from(dtype.code()));
    let entries = (QUANTIZE.run)(&attributes, &[&real])?.remove(0);
    let entries: Vec<u8> = entries.to_f64s().iter().map(|&v| (v as i32).clamp(range.low, range.high) as u8).collect();
    let is_identity = dtype == b.dtype(source.stored) && entries.iter().enumerate().all(|(i, &e)| i == usize::from(e));
    let mut y = source.stored;
    if !is_identity {
        let entries = Tensor::new([256], into_data(dtype, entries)?).map_err(|e| e.to_string())?;
        let entries = b.constant("", entries);
        y = b.emit1(&TABLE, Attributes::none(), &[y, entries])?;
    }
    let shape = b.shape(v).to_vec();
    b.reshape(y, &shape).map(Some)
}

/// The real values of `v` for each of the 256 stored bytes of the one quantised tensor that it is computed from element by
/// element, numbers aside.
fn evaluate(b: &mut GraphBuilder, v: Value, leaf: &mut Option<Linear>, budget: &mut usize) -> OpResult<Option<Tensor>> {
    let Some(left) = budget.checked_sub(1) else { return Ok(None) };
    *budget = left;
    if let Some(number) = b.tensor(v).filter(|t| t.len() == 1) {
        let number = Tensor::new([], number.data().clone()).map_err(|e| e.to_string())?;
        return Ok(Some(number));
    }
    let made = b.maker(v).filter(|(op, ..)| ew::is_elementwise(op) && b.dtype(v) == DType::F32);
    let Some((op, attributes, inputs)) = made else {
        let Some(found) = byte(b, v)?.filter(|found| b.tensor(found.stored).is_none()) else { return Ok(None) };
        if leaf.as_ref().is_some_and(|leaf| *leaf != found) {
            return Ok(None);
        }
        let stored = into_data(b.dtype(found.stored), (0..=255).collect())?;
        let stored = Tensor::new([256], stored).map_err(|e| e.to_string())?;
        let attributes = Attributes::none().float(found.scales[0]).int(found.zeros[0].into());
        *leaf = Some(found);
        return Ok(Some((DEQUANTIZE.run)(&attributes, &[&stored])?.remove(0)));
    };
    let mut operands = Vec::with_capacity(inputs.len());
    for input in inputs {
        match evaluate(b, input, leaf, budget)? {
            Some(tensor) => operands.push(tensor),
            None => return Ok(None),
        }
    }
    let operands: Vec<&Tensor> = operands.iter().collect();
    Ok(Some((op.run)(&attributes, &operands)?.remove(0)))
}

/// Exact sums with their real scales, one or one along an axis of the result.
struct Sums {
    value: Value,
    scales: Vec<f64>,
    axis: usize,
    /// Products in each sum.
    k: usize,
}

/// A zero point constant, or one for each of several.
fn zero_constant(b: &mut GraphBuilder, linear: &Linear) -> OpResult<Value> {
    let zeros = if linear.zeros.windows(2).all(|w| w[0] == w[1]) { &linear.zeros[..1] } else { &linear.zeros[..] };
    let data = into_data(b.dtype(linear.stored), zeros.iter().map(|&z| z as u8).collect())?;
    let shape = if zeros.len() == 1 { vec![] } else { vec![zeros.len()] };
    Ok(b.constant("", Tensor::new(shape, data).map_err(|e| e.to_string())?))
}

/// A convolution or matrix product of quantised tensors.
fn sums(b: &mut GraphBuilder, v: Value) -> OpResult<Option<Sums>> {
    let Some((op, attributes, inputs)) = b.maker(v) else { return Ok(None) };
    let is_conv = is(op, &CONV);
    if !is_conv && !is(op, &MATMUL) {
        return Ok(None);
    }
    let (Some(x), Some(w)) = (byte(b, inputs[0])?, linear(b, inputs[1], 0)?) else { return Ok(None) };
    let shape = b.shape(w.stored);
    let (along, k) = if is_conv { (0, shape[1..].iter().product()) } else { (shape.len() - 1, shape[shape.len() - 2]) };
    let axis_fits = w.scales.len() == 1 || w.axis == along;
    if bounds(b.dtype(w.stored)).is_err() || !axis_fits || k > K_MAX {
        return Ok(None);
    }
    let (x_zero, w_zero) = (zero_constant(b, &x)?, zero_constant(b, &w)?);
    let integer = if is_conv { &INTEGER_CONV } else { &INTEGER_MATMUL };
    let value = b.emit1(integer, attributes, &[x.stored, x_zero, w.stored, w_zero])?;
    let axis = if is_conv { 1 } else { b.shape(value).len() - 1 };
    let scales = w.scales.iter().map(|&s| f64::from(x.scales[0]) * f64::from(s)).collect();
    Ok(Some(Sums { value, scales, axis, k }))
}

/// Exact sums, a constant along their axis added where there is one, then one scale.
fn weighted(b: &mut GraphBuilder, v: Value, t: &Target) -> OpResult<Option<Value>> {
    let Some((op, _, inputs)) = b.maker(v) else { return Ok(None) };
    if !is(op, &ew::ADD) {
        let Some(sums) = sums(b, v)? else { return Ok(None) };
        return requantized(b, &sums, &[0.0], t);
    }
    for (from, bias) in [(inputs[0], inputs[1]), (inputs[1], inputs[0])] {
        let Some(bias) = b.tensor(bias).cloned() else { continue };
        let Some(sums) = sums(b, from)? else { continue };
        let shape = b.shape(sums.value).to_vec();
        let offset = shape.len().checked_sub(bias.rank());
        let along = |(i, &dim): (usize, &usize)| dim == 1 || offset.is_some_and(|offset| offset + i == sums.axis);
        if b.shape(v) == shape && bias.shape().iter().enumerate().all(along) && bias.as_f32().is_some() {
            return requantized(b, &sums, &bias.to_f64s(), t);
        }
    }
    Ok(None)
}

/// Sums plus real biases, stored as the target says.
fn requantized(b: &mut GraphBuilder, sums: &Sums, biases: &[f64], t: &Target) -> OpResult<Option<Value>> {
    let count = sums.scales.len().max(biases.len());
    let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
    let room = f64::from(i32::MAX) - (sums.k * 255 * 255) as f64;
    let mut rules = Vec::with_capacity(3 * count);
    for i in 0..count {
        let scale = at(&sums.scales, i);
        let bias = libm::rint(at(biases, i) / scale);
        let Ok(scale) = Scale::of(scale / f64::from(t.scale)) else { return Ok(None) };
        // The sum with its bias must stay in i32; a NaN does not.
        if bias.is_nan() || bias.abs() > room {
            return Ok(None);
        }
        rules.extend([bias as i32, scale.multiplier, scale.shift as i32]);
    }
    let rules = Tensor::from_i32([count, 3], rules).map_err(|e| e.to_string())?;
    let rules = b.constant("", rules);
    let attributes = put_range(Attributes::none().int(sums.axis as i64), t.dtype, t.range);
    b.emit1(&REQUANTIZE, attributes, &[sums.value, rules]).map(Some)
}

/// The weight that stands for a factor of 1: biases are rounded to so much finer steps than a quantum of the operand.
const AFFINE_ONE: i8 = 64;

/// A constant factor for each channel of a quantised tensor and a constant added to it, as a batch normalisation leaves them: a
/// convolution by single elements, whose weights have the factors' signs and whose scales have their sizes.
fn affine(b: &mut GraphBuilder, op: &OpSpec, inputs: &[Value], t: &Target) -> OpResult<Option<Value>> {
    let product = b.maker(inputs[0]).filter(|(inner, ..)| is(op, &ew::ADD) && is(inner, &ew::MUL));
    let Some((.., factors)) = product else { return Ok(None) };
    let shape = b.shape(factors[0]).to_vec();
    let ([_, channels, _, ..], true) = (&shape[..], b.shape(inputs[0]) == shape) else { return Ok(None) };
    // One number for each channel, behind at most the batch.
    let along = |v: Value| {
        let constant = b.tensor(v)?;
        let lies = [vec![*channels], vec![1; shape.len() - 2]].concat();
        let fits = constant.shape() == lies || constant.shape() == [&[1], &lies[..]].concat();
        constant.as_f32().filter(|_| fits).map(<[f32]>::to_vec)
    };
    let (Some(factors_of), Some(added)) = (along(factors[1]), along(inputs[1])) else { return Ok(None) };
    let Some(x) = byte(b, factors[0])? else { return Ok(None) };
    let weight = |&factor: &f32| match factor {
        0.0 => 0,
        factor if factor < 0.0 => -AFFINE_ONE,
        _ => AFFINE_ONE,
    };
    let single = [vec![*channels, 1], vec![1; shape.len() - 2]].concat();
    let weights = Tensor::from_i8(single, factors_of.iter().map(weight).collect()).map_err(|e| e.to_string())?;
    let (rank, group) = (shape.len() - 2, *channels);
    let (ones, zeros) = (vec![1; rank], vec![0; rank]);
    let geometry =
        Geometry { strides: ones.clone(), pads_before: zeros.clone(), pads_after: zeros, dilations: ones, group };
    let x_zero = zero_constant(b, &x)?;
    let (w, w_zero) = (b.constant("", weights), Tensor::from_i8([], vec![0]).map_err(|e| e.to_string())?);
    let w_zero = b.constant("", w_zero);
    let value = b.emit1(&INTEGER_CONV, geometry.attributes(), &[x.stored, x_zero, w, w_zero])?;
    let size = |&factor: &f32| if factor == 0.0 { 1.0 } else { f64::from(factor.abs()) };
    let scale = |factor: &f32| f64::from(x.scales[0]) * size(factor) / f64::from(AFFINE_ONE);
    let sums = Sums { value, scales: factors_of.iter().map(scale).collect(), axis: 1, k: 1 };
    requantized(b, &sums, &added.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), t)
}

fn pair(b: &mut GraphBuilder, op: &OpSpec, x: Value, y: Value, t: &Target) -> OpResult<Option<Value>> {
    let (Some(x), Some(y)) = (byte(b, x)?, byte(b, y)?) else { return Ok(None) };
    let zeros = [x.zeros[0], y.zeros[0]];
    let (left, right, scale) = (f64::from(x.scales[0]), f64::from(y.scales[0]), f64::from(t.scale));
    if is(op, &ew::MUL) {
        let Ok(scale) = Scale::of(left * right / scale) else { return Ok(None) };
        let attributes = Product { zeros, scale }.attributes(t.dtype, t.range);
        return b.emit1(&INTEGER_MUL, attributes, &[x.stored, y.stored]).map(Some);
    }
    let right = if is(op, &ew::SUB) { -right } else { right };
    let Ok(sum) = Sum::of(zeros, [left / scale, right / scale]) else { return Ok(None) };
    b.emit1(&INTEGER_ADD, sum.attributes(t.dtype, t.range), &[x.stored, y.stored]).map(Some)
}

/// A sum over axes, divided by a number where it is an average.
fn mean(b: &mut GraphBuilder, v: Value, t: &Target) -> OpResult<Option<Value>> {
    let (mut from, mut divisor) = (v, 1.0);
    if let Some((_, _, inputs)) = b.maker(v).filter(|(op, ..)| is(op, &ew::DIV)) {
        let number = b.tensor(inputs[1]).filter(|t| t.len() == 1).and_then(|t| t.as_f32());
        let Some(&[number]) = number else { return Ok(None) };
        (from, divisor) = (inputs[0], f64::from(number));
    }
    let Some((op, attributes, inputs)) = b.maker(from).filter(|(op, ..)| is(op, &reduce::SUM)) else {
        return Ok(None);
    };
    let Some(x) = byte(b, inputs[0])? else { return Ok(None) };
    let count = b.ty(x.stored).elements() / b.ty(from).elements().max(1);
    if count > K_MAX || b.shape(v) != b.shape(from) {
        return Ok(None);
    }
    let wide = b.cast(x.stored, DType::I32)?;
    let value = b.emit1(op, attributes, &[wide])?;
    if !(divisor > 0.0 && divisor.is_finite()) {
        return Ok(None);
    }
    // The bias takes the zero points away.
    let scale = f64::from(x.scales[0]) / divisor;
    let bias = -(count as f64) * f64::from(x.zeros[0]) * scale;
    requantized(b, &Sums { value, scales: vec![scale], axis: 0, k: count }, &[bias], t)
}

/// Sums of a quantised operator of another format with its own scales: i32 `bias` added, rescaled, stored. Nothing when a
/// scale or zero point is not known at import.
pub fn rescaled(
    b: &mut GraphBuilder,
    value: Value,
    axis: usize,
    bias: Option<Value>,
    scales: [Value; 2],
    (scale, zero, dtype): (Value, Option<Value>, DType),
    k: usize,
) -> OpResult<Option<Value>> {
    let known: Option<Vec<Vec<f32>>> =
        scales.iter().chain([&scale]).map(|&v| b.tensor(v)?.as_f32().map(<[f32]>::to_vec)).collect();
    let Some(known) = known else { return Ok(None) };
    known.iter().try_for_each(|scales| check_scales(scales))?;
    let Some(target) = target(b, scale, zero, dtype) else { return Ok(None) };
    let size = b.shape(value).get(axis).copied().unwrap_or(1);
    let [left, right, _] = &known[..] else { return Ok(None) };
    if left.len() != 1 || (right.len() != 1 && right.len() != size) || k > K_MAX {
        return Ok(None);
    }
    let scales: Vec<f64> = right.iter().map(|&s| f64::from(left[0]) * f64::from(s)).collect();
    let biases: Vec<f64> = match bias.map(|bias| b.tensor(bias)) {
        None => vec![0.0],
        Some(Some(bias)) if bias.len() == 1 || (bias.len() == size && bias.shape().last() == Some(&size)) => {
            let at = |i: usize| scales[if scales.len() == 1 { 0 } else { i }];
            bias.to_f64s().iter().enumerate().map(|(i, v)| v * at(i)).collect()
        }
        Some(_) => return Ok(None),
    };
    requantized(b, &Sums { value, scales, axis, k }, &biases, &target)
}
