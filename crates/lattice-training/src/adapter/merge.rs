//! Merging: which constant a module's weight is, and the new weight.

use super::{Adapter, AdapterError, Update};
use lattice_inference::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use lattice_inference::{Constant, DType, Data, Graph, Isa, Tensor, check_float_mode, dual_kernel, matrix_product};
use std::sync::Arc;

/// How a weight lies in its constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `[inputs, outputs]`: the right operand of a matrix product.
    Columns,
    /// `[outputs, inputs..]`: the weights of a convolution.
    Rows,
}

/// A constant of a frozen graph that an adapter can update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterTarget {
    /// Path of the module: the constant's name without `.weight`.
    pub module: String,
    /// Inputs of the module; of a convolution, channels times kernel elements.
    pub inputs: usize,
    /// Outputs of the module.
    pub outputs: usize,
    /// Index among the graph's constants.
    constant: usize,
    layout: Layout,
}

impl Adapter {
    /// The graph with this adapter merged into its weights: W' = fma(scale, (B A), W), in f32; half-precision weights are
    /// widened and the result rounded back.
    pub fn merge(&self, graph: &Graph) -> Result<Graph, AdapterError> {
        check_float_mode()?;
        let mut constants = graph.constants().to_vec();
        for update in self.updates() {
            let wrong = |reason: String| AdapterError::Module { module: update.module.clone(), reason };
            for target in AdapterTarget::named(graph, &update.module).map_err(wrong)? {
                let constant = &mut constants[target.constant];
                constant.tensor = Arc::new(merged(&constant.tensor, &target, update).map_err(wrong)?);
            }
        }
        Ok(graph.with_constants(constants))
    }
}

impl AdapterTarget {
    /// The weights that adapters can update, in the order of the graph's constants. This is the map from modules to
    /// initialisers: a frozen graph keeps the names.
    pub fn all(graph: &Graph) -> Vec<AdapterTarget> {
        (0..graph.constants().len()).filter_map(|index| Self::of(graph, index).ok()).collect()
    }

    /// The constants that are the weight of a module: those named like it; failing that, those whose name ends with it.
    fn named(graph: &Graph, module: &str) -> Result<Vec<AdapterTarget>, String> {
        let indices = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let named = |(index, constant): (usize, &Constant)| fits(module_of(&constant.name)).then_some(index);
            graph.constants().iter().enumerate().filter_map(named).collect()
        };
        let mut found = indices(&|name| name == module);
        if found.is_empty() {
            let ending = format!(".{module}");
            found = indices(&|name| name.ends_with(&ending));
        }
        let Some(&first) = found.first() else {
            let known: Vec<String> = Self::all(graph).into_iter().take(8).map(|t| t.module).collect();
            return Err(format!("the model has no such weight; some that it has: {}", known.join(", ")));
        };
        let name = &graph.constants()[first].name;
        if let Some(&other) = found.iter().find(|&&index| graph.constants()[index].name != *name) {
            let other = &graph.constants()[other].name;
            return Err(format!("both '{name}' and '{other}' could be meant: write the whole path"));
        }
        found.into_iter().map(|index| Self::of(graph, index)).collect()
    }

    /// How constant `index` is used; an error when that is not as the weight of a linear layer or a convolution.
    fn of(graph: &Graph, index: usize) -> Result<AdapterTarget, String> {
        let constant = &graph.constants()[index];
        let shape = constant.tensor.shape();
        if !matches!(constant.tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            return Err(format!("the weight is {}: adapters need f32, f16 or bf16", constant.tensor.dtype()));
        }
        let mut layout = None;
        // A half-precision weight reaches its operator through a cast.
        let mut names = vec![(graph.inputs().len() + index) as u32];
        for node in graph.nodes() {
            for position in 0..node.inputs.len() {
                if !names.contains(&node.inputs[position]) {
                    continue;
                }
                let here = match (node.op.name, position, shape) {
                    ("Cast", 0, _) => {
                        names.push(node.first_output);
                        continue;
                    }
                    ("MatMul", 1, [_, _]) => Layout::Columns,
                    ("Conv", 1, [_, _, ..]) => Layout::Rows,
                    _ => return Err(format!("the weight is read by {}, which adapters do not update", node.op.name)),
                };
                if layout.replace(here).is_some_and(|other| other != here) {
                    return Err("the weight is read both by products and by convolutions".into());
                }
            }
        }
        let layout = layout.ok_or("nothing reads the weight")?;
        let (first, rest) = (shape[0], shape[1..].iter().product());
        let (inputs, outputs) = if layout == Layout::Columns { (first, rest) } else { (rest, first) };
        Ok(AdapterTarget { module: module_of(&constant.name).to_owned(), inputs, outputs, constant: index, layout })
    }
}

fn module_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

dual_kernel! {
    /// `w = fma(scale, delta, w)`.
    fn add_scaled(scale: f32, delta: &[f32], w: &mut [f32]) {
        for (w, d) in w.iter_mut().zip(delta) {
            *w = scale.mul_add(*d, *w);
        }
    }
}

/// The updated weight.
fn merged(weight: &Tensor, target: &AdapterTarget, update: &Update) -> Result<Tensor, String> {
    let (inputs, outputs, rank) = (update.inputs(), update.outputs(), update.rank());
    if (inputs, outputs) != (target.inputs, target.outputs) {
        let (wi, wo) = (target.inputs, target.outputs);
        return Err(format!("the update is for {inputs} inputs and {outputs} outputs, the weight has {wi} and {wo}"));
    }
    let (a, b) = (widened(&update.a), widened(&update.b));
    let delta = match target.layout {
        Layout::Rows => matrix_product(&b, &a, (outputs, rank, inputs)),
        Layout::Columns => matrix_product(&transposed(&a, rank), &transposed(&b, outputs), (inputs, rank, outputs)),
    };
    let mut values = widened(weight);
    add_scaled(Isa::detect(), update.scale, &delta, &mut values);
    let mut data = match weight.dtype() {
        DType::F16 => Data::F16(values.into_iter().map(f32_to_f16).collect()),
        DType::BF16 => Data::BF16(values.into_iter().map(f32_to_bf16).collect()),
        _ => Data::F32(values),
    };
    data.canonicalize_nan();
    Tensor::new(weight.shape(), data).map_err(|e| e.to_string())
}

/// The transpose of a row-major matrix with `rows` rows.
pub(crate) fn transposed(x: &[f32], rows: usize) -> Vec<f32> {
    let columns = x.len() / rows.max(1);
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// The elements as f32, exactly; empty for types that are no storage of numbers here.
pub(super) fn widened(tensor: &Tensor) -> Vec<f32> {
    match tensor.data() {
        Data::F32(v) => v.clone(),
        Data::F16(v) => v.iter().copied().map(f16_to_f32).collect(),
        Data::BF16(v) => v.iter().copied().map(bf16_to_f32).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lattice_import::{ImportOptions, import_model};
    use lattice_inference::Isa;

    #[test]
    fn portable_and_accelerated_kernels_merge_to_the_same_bits() {
        let file = include_bytes!("../../../../models/digits.onnx");
        let graph = import_model(file, &ImportOptions::default()).unwrap();
        let targets = AdapterTarget::all(&graph);
        assert_eq!(targets.len(), 3);
        let mix = |i: usize| ((i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 8) as f32 / 8_388_608.0 - 1.0;
        let factor = |shape: [usize; 2]| Tensor::from_f32(shape, (0..shape[0] * shape[1]).map(mix).collect()).unwrap();
        let update = |t: &AdapterTarget| Update {
            module: t.module.clone(),
            scale: 0.3,
            a: factor([7, t.inputs]),
            b: factor([t.outputs, 7]),
        };
        let adapter = Adapter::new(targets.iter().map(update).collect()).unwrap();
        let merged = adapter.merge(&graph).unwrap();
        assert_eq!(Isa::Portable.run(|| adapter.merge(&graph)).unwrap().model_id(), merged.model_id());
        // One weight by the definition: an ascending chain over the rank, then one fused multiply-add.
        let (target, update) = (&targets[1], &adapter.updates()[1]);
        assert_eq!(target.module, update.module);
        let (a, b) = (update.a.as_f32().unwrap(), update.b.as_f32().unwrap());
        let (i, o) = (5, 9);
        let chain = (0..7).fold(0.0f32, |sum, r| b[o * 7 + r].mul_add(a[r * target.inputs + i], sum));
        let weight =
            |graph: &Graph| graph.constants()[target.constant].tensor.as_f32().unwrap()[i * target.outputs + o];
        assert_eq!(weight(&merged).to_bits(), 0.3f32.mul_add(chain, weight(&graph)).to_bits());
    }
}
