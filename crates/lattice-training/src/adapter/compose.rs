//! Several adapters as one, by PEFT's rules, in the order in which they are listed.
//!
//! `cat` stacks the ranks: A = [c1 A1; c2 A2; ..], B = [B1 B2 ..], with c = weight * scale, so the update is the weighted
//! sum of the updates, as one chain over all ranks. `linear` adds the factors: A = sum of sign(c) sqrt(|c|) A, B = sum of
//! sqrt(|c|) B, each an ascending chain of fused multiply-adds from +0. A list of one is that adapter, its scale times
//! the weight. The result of more has f32 factors and the scale 1.

use super::merge::widened;
use super::{Adapter, AdapterError, Update};
use lattice_inference::Tensor;
use std::collections::BTreeSet;

/// How adapters are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composition {
    /// Ranks are concatenated: the sum of the weighted updates.
    Cat,
    /// Factors are added with weights; ranks must be equal.
    Linear,
}

impl Composition {
    /// The method with this name.
    pub fn from_name(name: &str) -> Result<Composition, AdapterError> {
        match name {
            "cat" => Ok(Composition::Cat),
            "linear" => Ok(Composition::Linear),
            other => Err(AdapterError::Compose(format!("method '{other}' is not supported: use cat or linear"))),
        }
    }
}

impl Adapter {
    /// One adapter that acts as all of the parts with their weights.
    pub fn compose(method: Composition, parts: &[(&Adapter, f32)]) -> Result<Adapter, AdapterError> {
        if let [(only, weight)] = parts {
            return only.scaled(*weight);
        }
        let modules: BTreeSet<&str> =
            parts.iter().flat_map(|(adapter, _)| &adapter.updates).map(|update| update.module.as_str()).collect();
        let mut updates = Vec::with_capacity(modules.len());
        for module in modules {
            let of_module = |(adapter, weight): &(&Adapter, f32)| {
                let found = adapter.updates.iter().position(|update| update.module == module)?;
                Some((adapter.updates[found].clone(), *weight))
            };
            let found: Vec<(Update, f32)> = parts.iter().filter_map(of_module).collect();
            updates.push(combine(method, module, &found)?);
        }
        Adapter::new(updates)
    }
}

impl Adapter {
    /// [`Adapter::compose`] with weights in units of 1/65,536, as records keep them; each is rounded to f32.
    pub fn compose_units(method: Composition, parts: &[(&Adapter, i32)]) -> Result<Adapter, AdapterError> {
        let parts: Vec<(&Adapter, f32)> =
            parts.iter().map(|(adapter, units)| (*adapter, (f64::from(*units) / 65_536.0) as f32)).collect();
        Adapter::compose(method, &parts)
    }
}

fn combine(method: Composition, module: &str, parts: &[(Update, f32)]) -> Result<Update, AdapterError> {
    let wrong = |reason: String| AdapterError::Module { module: module.to_owned(), reason };
    let first = &parts[0].0;
    let (inputs, outputs) = (first.inputs(), first.outputs());
    if let Some((other, _)) = parts.iter().find(|(u, _)| (u.inputs(), u.outputs()) != (inputs, outputs)) {
        let got = (other.outputs(), other.inputs());
        return Err(wrong(format!(
            "one adapter updates [{outputs}, {inputs}], another {got:?}: they have other bases"
        )));
    }
    let rank: usize = match method {
        Composition::Cat => parts.iter().map(|(update, _)| update.rank()).sum(),
        Composition::Linear => first.rank(),
    };
    if let (Composition::Linear, Some((other, _))) = (method, parts.iter().find(|(u, _)| u.rank() != rank)) {
        return Err(wrong(format!("the ranks are {rank} and {}: use the method cat", other.rank())));
    }
    if rank > super::RANK_MAX {
        return Err(wrong(format!("the ranks add up to {rank}; at most {} are supported", super::RANK_MAX)));
    }
    let (mut a, mut b) = (vec![0.0f32; rank * inputs], vec![0.0f32; outputs * rank]);
    let mut row = 0;
    for (update, weight) in parts {
        let factor = weight * update.scale;
        let (from_a, from_b) = (widened(&update.a), widened(&update.b));
        match method {
            Composition::Cat => {
                let into = &mut a[row * inputs..][..from_a.len()];
                into.iter_mut().zip(&from_a).for_each(|(a, v)| *a = factor * v);
                let own = update.rank();
                for (to, from) in b.chunks_exact_mut(rank).zip(from_b.chunks_exact(own)) {
                    to[row..row + own].copy_from_slice(from);
                }
                row += own;
            }
            Composition::Linear => {
                let root = factor.abs().sqrt();
                let signed = if factor < 0.0 { -root } else { root };
                a.iter_mut().zip(&from_a).for_each(|(a, v)| *a = signed.mul_add(*v, *a));
                b.iter_mut().zip(&from_b).for_each(|(b, v)| *b = root.mul_add(*v, *b));
            }
        }
    }
    let matrix = |shape: [usize; 2], values| Tensor::from_f32(shape, values).map_err(|e| wrong(e.to_string()));
    Ok(Update { module: module.to_owned(), scale: 1.0, a: matrix([rank, inputs], a)?, b: matrix([outputs, rank], b)? })
}
