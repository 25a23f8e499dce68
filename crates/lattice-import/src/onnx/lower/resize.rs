//! Resizing images: each axis in turn becomes a weighted sum of gathered rows, with positions and weights known at import.

use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use crate::patterns::{Tap, resample};
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::OpResult;

pub(super) const TABLE: &[Entry] = &[computes("Resize", resize), computes("Upsample", upsample)];

/// How one axis is resampled.
struct Rule {
    mode: String,
    coordinates: String,
    rounding: String,
    cubic: f64,
    exclude_outside: bool,
}

fn upsample(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let scales = match (c.floats("scales")?, c.optional(1)) {
        (Some(scales), _) => scales.iter().map(|&s| f64::from(s)).collect(),
        (None, Some(operand)) => c.constant(operand, "scales")?.to_f64s(),
        (None, None) => return Err("its scales are missing".into()),
    };
    let rule = Rule {
        mode: c.text("mode", "nearest")?,
        coordinates: "asymmetric".into(),
        rounding: "floor".into(),
        cubic: -0.75,
        exclude_outside: false,
    };
    let shape = c.shape(x);
    let sizes = scaled_sizes(&shape, &scales)?;
    Ok(vec![resample_all(c, x, &sizes, &scales, &rule)?])
}

fn scaled_sizes(shape: &[usize], scales: &[f64]) -> OpResult<Vec<usize>> {
    if scales.len() != shape.len() || scales.iter().any(|s| !(*s > 0.0 && *s < 1e6)) {
        return Err(format!("scales {scales:?} do not fit shape {shape:?}"));
    }
    Ok(shape.iter().zip(scales).map(|(&d, s)| (d as f64 * s).floor() as usize).collect())
}

fn resize(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    if c.flag("antialias", false)? {
        return Err("antialias is not supported".into());
    }
    let old = c.opset < 11;
    let rule = Rule {
        mode: c.text("mode", "nearest")?,
        coordinates: c.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?,
        rounding: c.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?,
        cubic: f64::from(c.float("cubic_coeff_a", -0.75)?),
        exclude_outside: c.flag("exclude_outside", false)?,
    };
    let axes = match c.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| c.axis(a, shape.len())).collect::<OpResult<Vec<_>>>()?,
        None => (0..shape.len()).collect(),
    };
    let (scales_at, sizes_at) = if old { (1, 3) } else { (2, 3) };
    if !old {
        // The region of interest belongs to a coordinate mode that is refused.
        c.mark_read(1);
    }
    let given = |c: &NodeContext<'_>, at: usize, what| match c.optional(at) {
        Some(v) if c.shape(v) != [0] => c.constant(v, what).map(|t| Some(t.to_f64s())),
        _ => Ok(None),
    };
    let (mut scales, mut sizes) = (vec![1.0; shape.len()], shape.clone());
    match (given(c, scales_at, "scales")?, given(c, sizes_at, "sizes")?) {
        (Some(values), _) if values.len() == axes.len() => {
            axes.iter().zip(&values).for_each(|(&a, &s)| scales[a] = s);
            sizes = scaled_sizes(&shape, &scales)?;
        }
        (None, Some(values)) if values.len() == axes.len() => {
            if values.iter().any(|&v| !(1.0..1e9).contains(&v)) {
                return Err(format!("sizes {values:?} are not positive"));
            }
            let wanted: Vec<f64> = fit_aspect(c, &axes, &shape, &values)?;
            for (&axis, &size) in axes.iter().zip(&wanted) {
                sizes[axis] = size as usize;
                scales[axis] = size / shape[axis] as f64;
            }
            if c.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
                let ratio = |(&a, &v): (&usize, &f64)| v / shape[a] as f64;
                let smaller = c.text("keep_aspect_ratio_policy", "")? == "not_larger";
                let ratios = axes.iter().zip(&values).map(ratio);
                let scale = ratios.reduce(if smaller { f64::min } else { f64::max }).unwrap_or(1.0);
                axes.iter().for_each(|&a| scales[a] = scale);
            }
        }
        _ => return Err("it needs scales or sizes, one for each axis".into()),
    }
    Ok(vec![resample_all(c, x, &sizes, &scales, &rule)?])
}

/// Sizes after the aspect-ratio policy.
fn fit_aspect(c: &NodeContext<'_>, axes: &[usize], shape: &[usize], sizes: &[f64]) -> OpResult<Vec<f64>> {
    let ratios = axes.iter().zip(sizes).map(|(&a, &s)| s / shape[a] as f64);
    let scale = match c.text("keep_aspect_ratio_policy", "stretch")?.as_str() {
        "stretch" => return Ok(sizes.to_vec()),
        "not_larger" => ratios.reduce(f64::min),
        "not_smaller" => ratios.reduce(f64::max),
        other => return Err(format!("aspect-ratio policy '{other}' is not known")),
    };
    let scale = scale.unwrap_or(1.0);
    Ok(axes.iter().map(|&a| (scale * shape[a] as f64 + 0.5).floor()).collect())
}

fn resample_all(c: &mut NodeContext<'_>, x: Value, sizes: &[usize], scales: &[f64], rule: &Rule) -> OpResult<Value> {
    let dtype = c.dtype(x);
    let exact = rule.mode == "nearest";
    let mut result = if exact { x } else { c.cast(x, DType::F32)? };
    for axis in 0..sizes.len() {
        let size = c.shape(result)[axis];
        if size == 0 || sizes[axis] > 1 << 24 {
            return Err(format!("axis {axis} cannot be resized from {size} to {}", sizes[axis]));
        }
        if sizes[axis] == size && scales[axis] == 1.0 {
            continue;
        }
        let taps = taps(size, sizes[axis], scales[axis], rule)?;
        result = resample(c, result, axis, &taps)?;
    }
    if exact { Ok(result) } else { c.cast(result, dtype) }
}

/// For each output position the input positions and weights that make it; equally many for all.
fn taps(size: usize, output: usize, scale: f64, rule: &Rule) -> OpResult<Vec<Vec<Tap>>> {
    let last = size as f64 - 1.0;
    let clamp = |p: f64| p.clamp(0.0, last) as usize;
    let mut all = Vec::with_capacity(output);
    for o in 0..output {
        let o = o as f64;
        // The length that coordinates are taken from is scale * size, which need not be whole.
        let length = scale * size as f64;
        let p = match rule.coordinates.as_str() {
            "half_pixel" => (o + 0.5) / scale - 0.5,
            "asymmetric" => o / scale,
            "align_corners" if output == 1 => 0.0,
            "align_corners" => o * last / (length - 1.0),
            "pytorch_half_pixel" if output == 1 => 0.0,
            "pytorch_half_pixel" => (o + 0.5) / scale - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = output as f64 / length;
                let centre = size as f64 / 2.0;
                centre * (1.0 - adjustment) + (o + 0.5) / scale - 0.5
            }
            other => return Err(format!("coordinate transformation '{other}' is not supported")),
        };
        all.push(match rule.mode.as_str() {
            "nearest" => {
                let index = match rule.rounding.as_str() {
                    "round_prefer_floor" => (p - 0.5).ceil(),
                    "round_prefer_ceil" => (p + 0.5).floor(),
                    "floor" => p.floor(),
                    "ceil" => p.ceil(),
                    other => return Err(format!("nearest mode '{other}' is not known")),
                };
                vec![(clamp(index), 1.0)]
            }
            "linear" | "bilinear" => {
                let p = p.clamp(0.0, last);
                let (floor, part) = (p.floor(), p - p.floor());
                vec![(clamp(floor), (1.0 - part) as f32), (clamp(floor + 1.0), part as f32)]
            }
            "cubic" => cubic_taps(p, size, rule, clamp),
            other => return Err(format!("mode '{other}' is not known")),
        });
    }
    Ok(all)
}

fn cubic_taps(p: f64, size: usize, rule: &Rule, clamp: impl Fn(f64) -> usize) -> Vec<Tap> {
    let (floor, a) = (p.floor(), rule.cubic);
    let weight = |t: f64| {
        let t = t.abs();
        if t <= 1.0 {
            ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
        } else {
            ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
        }
    };
    let positions = [-1.0, 0.0, 1.0, 2.0].map(|i| floor + i);
    let mut weights = positions.map(|q| weight(p - q));
    if rule.exclude_outside {
        for (w, q) in weights.iter_mut().zip(positions) {
            if q < 0.0 || q >= size as f64 {
                *w = 0.0;
            }
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    positions.iter().zip(weights).map(|(&q, w)| (clamp(q), w as f32)).collect()
}
