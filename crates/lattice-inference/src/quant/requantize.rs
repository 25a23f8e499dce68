//! From i32 sums to 8-bit integers.

use super::isa::Isa;
use super::scale::{Columns, Range, Rounding, Scale, requantize_row};
use super::table;
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Data, Tensor};

/// clamp(zero + floor((x + bias) * multiplier / 2^shift + 1/2), low, high); x + bias wraps modulo 2^32.
///
/// Operands: x i32, and i32 rules [1 or the size of the axis, 3] with bias, multiplier (0 or more) and shift (1 to 62).
/// Attributes: axis, then those of the result: element type (i8 or u8), zero, low, high.
pub(crate) static REQUANTIZE: OpSpec =
    OpSpec { code: 0x0e03, name: "Requantize", infer, work: |_, _, results| Work::steps(4, &results[0]), run };

/// Errors unless every multiplier and shift is in its range.
pub(crate) fn check_rules(rules: &Tensor) -> OpResult<()> {
    columns(Range { zero: 0, low: 0, high: 255 }, rules, &[]).map(drop)
}

/// What alone reads some sums: a node of [`REQUANTIZE`] with constant rules, and a table that alone reads its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower<'a> {
    pub(crate) attributes: &'a Attributes,
    pub(crate) rules: &'a Tensor,
    pub(crate) table: Option<&'a Tensor>,
}

/// How the sums along one axis become stored integers.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) dtype: DType,
    pub(crate) columns: Columns,
    /// What stored integers are replaced by.
    table: Option<Box<[u8; 256]>>,
}

impl Rule {
    /// The rule of what follows, with `constants` added to the sums before: none, or one for each place along the axis.
    pub(crate) fn new(follower: Follower<'_>, constants: &[i32]) -> OpResult<Rule> {
        let (dtype, range) = read_range(follower.attributes, 1)?;
        let columns = columns(range, follower.rules, constants)?;
        let table = follower.table.map(table::entries).transpose()?;
        let dtype = follower.table.map_or(dtype, Tensor::dtype);
        Ok(Rule { dtype, columns, table: table.map(|entries| Box::new(*entries)) })
    }

    /// Replaces stored integers by their entries, if there is a table.
    pub(crate) fn look_up(&self, isa: Isa, bytes: &mut [u8]) {
        if let Some(table) = &self.table {
            table::look_up(isa, table, bytes);
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes() + if self.table.is_some() { 256 } else { 0 }
    }
}

fn columns(range: Range, rules: &Tensor, constants: &[i32]) -> OpResult<Columns> {
    let rows = rules.as_i32().ok_or("rules must be i32")?.as_chunks::<3>().0;
    let count = rows.len().max(constants.len());
    let rounding = |at: usize| {
        let [bias, multiplier, shift] = rows[if rows.len() == 1 { 0 } else { at }];
        let bias = bias.wrapping_add(constants.get(at).copied().unwrap_or(0));
        Ok(Rounding::new(bias, Scale::new(multiplier.into(), shift.into())?, range))
    };
    Ok(Columns::new((0..count).map(rounding).collect::<OpResult<_>>()?))
}

/// The attributes that say how results are stored.
pub(crate) fn put_range(attributes: Attributes, dtype: DType, range: Range) -> Attributes {
    let Range { zero, low, high } = range;
    attributes.int(i64::from(dtype.code())).int(zero.into()).int(low.into()).int(high.into())
}

/// Smallest and largest integer of an 8-bit type.
pub(crate) fn bounds(dtype: DType) -> OpResult<(i32, i32)> {
    match dtype {
        DType::U8 => Ok((0, 255)),
        DType::I8 => Ok((-128, 127)),
        other => Err(format!("results must be i8 or u8, got {other}")),
    }
}

/// Reads what [`put_range`] wrote from attribute `at` on.
pub(crate) fn read_range(attributes: &Attributes, at: usize) -> OpResult<(DType, Range)> {
    let code = attributes.read_int(at)?;
    let dtype =
        u8::try_from(code).ok().and_then(DType::from_code).ok_or_else(|| format!("type {code} is not known"))?;
    let (least, most) = bounds(dtype)?;
    let mut values = [0; 3];
    for (i, value) in values.iter_mut().enumerate() {
        let read = attributes.read_int(at + 1 + i)?;
        *value = i32::try_from(read)
            .ok()
            .filter(|v| (least..=most).contains(v))
            .ok_or_else(|| format!("{read} is no {dtype}"))?;
    }
    let [zero, low, high] = values;
    if low > high {
        return Err(format!("the range {low}..={high} is empty"));
    }
    Ok((dtype, Range { zero, low, high }))
}

/// Bytes as elements of an 8-bit type.
pub(crate) fn into_data(dtype: DType, bytes: Vec<u8>) -> OpResult<Data> {
    match dtype {
        DType::U8 => Ok(Data::U8(bytes)),
        DType::I8 => Ok(Data::I8(bytes.into_iter().map(|b| b as i8).collect())),
        other => Err(format!("results must be i8 or u8, got {other}")),
    }
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(5)?;
    let [x, rules] = operands(types)?;
    let axis = attributes.read_axis(0, x.shape.len().max(1))?;
    let size = x.shape.get(axis).copied().unwrap_or(1);
    let fits = matches!(rules.shape[..], [count, 3] if count == 1 || count == size);
    if x.dtype != DType::I32 || rules.dtype != DType::I32 || !fits {
        return Err(format!("{x} and rules {rules} do not fit along axis {axis}"));
    }
    Ok(vec![TensorType::new(read_range(attributes, 1)?.0, x.shape.clone())])
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, rules] = operands(inputs)?;
    let rule = Rule::new(Follower { attributes, rules, table: None }, &[])?;
    let axis = attributes.read_axis(0, x.rank().max(1))?;
    let sums = x.as_i32().ok_or("sums must be i32")?;
    let (size, inner) = match x.shape().get(axis..) {
        Some([size, inner @ ..]) => (*size, inner.iter().product::<usize>()),
        _ => (1, 1),
    };
    let (isa, mut y) = (Isa::detect(), vec![0; sums.len()]);
    if inner == 1 {
        let rows = sums.chunks_exact(size.max(1)).zip(y.chunks_exact_mut(size.max(1)));
        rows.for_each(|(x, y)| rule.columns.row(isa, x, 0, 0..size, y));
    } else {
        let rows = sums.chunks_exact(inner.max(1)).zip(y.chunks_exact_mut(inner.max(1))).enumerate();
        rows.for_each(|(i, (x, y))| requantize_row(isa, x, rule.columns.at(i % size), y));
    }
    Ok(vec![tensor(x.shape(), into_data(rule.dtype, y)?)?])
}
