//! Numbers in even steps.

use lattice_inference::ops::{OpResult, cast};
use lattice_inference::{DType, Data, Tensor};

/// Most numbers of one range.
const ELEMENTS_MAX: usize = 1 << 26;

/// start, start + delta, ... below limit (above it when delta is negative), three tensors of one number each.
pub(crate) fn range(dtype: DType, [start, limit, delta]: [&Tensor; 3]) -> OpResult<Tensor> {
    let data = if dtype.is_float() {
        let [start, limit, delta] = [number(start, "start")?, number(limit, "limit")?, number(delta, "delta")?];
        let count = ((limit - start) / delta).ceil().max(0.0);
        if delta == 0.0 || count.is_nan() || count > ELEMENTS_MAX as f64 {
            return Err(format!("range {start}..{limit} by {delta} is not a reasonable length"));
        }
        // Each element is start + i * delta in the element type.
        let values: Vec<f64> = match dtype {
            DType::F32 => (0..count as usize).map(|i| f64::from(start as f32 + i as f32 * delta as f32)).collect(),
            _ => (0..count as usize).map(|i| start + i as f64 * delta).collect(),
        };
        Data::F64(values)
    } else {
        let [start, limit, delta] = [integer(start, "start")?, integer(limit, "limit")?, integer(delta, "delta")?];
        if delta == 0 {
            return Err("delta must not be zero".into());
        }
        let span = limit - start;
        let count = (span / delta + i128::from(span % delta != 0)).max(0);
        let count = if (span < 0) != (delta < 0) { 0 } else { count };
        if count > ELEMENTS_MAX as i128 {
            return Err(format!("range {start}..{limit} by {delta} is too long"));
        }
        Data::I64((0..count).map(|i| (start + i * delta) as i64).collect())
    };
    Tensor::new([data.len()], cast::cast(&data, dtype)).map_err(|e| e.to_string())
}

fn number(tensor: &Tensor, what: &str) -> OpResult<f64> {
    match tensor.to_f64s()[..] {
        [one] => Ok(one),
        ref many => Err(format!("its {what} must be one number, got {}", many.len())),
    }
}

fn integer(tensor: &Tensor, what: &str) -> OpResult<i128> {
    match tensor.to_i64s().as_deref() {
        Some([one]) => Ok(i128::from(*one)),
        _ => Err(format!("its {what} must be one integer")),
    }
}
