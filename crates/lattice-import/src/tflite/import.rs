//! Reading a file, binding its inputs and lowering its operators one by one.

use super::context::{Forms, Layout, OperatorContext, plain};
use super::lower;
use super::schema::{Graph as FileGraph, Model, OPERATORS, Operator, TensorInfo};
use super::tensors::dtype_of;
use crate::error::ImportError;
use crate::options::{DeclaredInput, Dimension, ImportOptions, check_constant, check_file_size, check_names, resolve};
use lattice_inference::{Graph, GraphBuilder, ValueInfo};

/// Code of an operator that is not built in.
const CUSTOM: i32 = 32;

/// Imports a TensorFlow Lite file: one frozen graph with static shapes, or the reason why not. Images keep the file's layout at
/// the inputs and outputs: [batch, height, width, channels].
pub fn import_tflite(bytes: &[u8], options: &ImportOptions) -> Result<Graph, ImportError> {
    check_file_size(bytes, options)?;
    let model = Model::read(bytes).map_err(ImportError::Flatbuffer)?;
    if model.graph.outputs.is_empty() {
        return Err(ImportError::Model("the graph has no outputs".into()));
    }
    let mut builder = GraphBuilder::default();
    let mut forms = vec![Forms::default(); model.graph.tensors.len()];
    bind_inputs(&model.graph, options, &mut builder, &mut forms)?;
    for (position, operator) in model.graph.operators.iter().enumerate() {
        lower_operator(&model, operator, position, &mut builder, &mut forms)?;
    }
    let mut outputs = Vec::with_capacity(model.graph.outputs.len());
    for &tensor in &model.graph.outputs {
        let name = model.graph.tensors[tensor].name;
        // Nothing but the layout is asked of it: an output that no operator makes is an input or a stored tensor.
        let nothing = Operator::passing(tensor);
        let mut context = OperatorContext {
            builder: &mut builder,
            model: &model,
            forms: &mut forms,
            operator: &nothing,
            is_raw: true,
        };
        let value = context.plain(0).map_err(|e| ImportError::Model(format!("output '{name}': {e}")))?;
        outputs.push((name.to_string(), value));
    }
    builder.finish(outputs).map_err(|e| ImportError::Model(e.to_string()))
}

/// The inputs of a file in order.
pub(crate) fn declared_inputs(bytes: &[u8]) -> Result<Vec<DeclaredInput>, ImportError> {
    let model = Model::read(bytes).map_err(ImportError::Flatbuffer)?;
    let declared = |(name, info): (String, &TensorInfo<'_>)| DeclaredInput {
        name,
        dtype: dtype_of(info.kind).ok(),
        rank: Some(info.shape.len()),
    };
    Ok(named_inputs(&model.graph).map(declared).collect())
}

/// Inputs with their names; one without a name is called by its position.
fn named_inputs<'a>(graph: &'a FileGraph<'a>) -> impl Iterator<Item = (String, &'a TensorInfo<'a>)> {
    graph.inputs.iter().enumerate().map(|(position, &tensor)| {
        let info = &graph.tensors[tensor];
        (if info.name.is_empty() { format!("input{position}") } else { info.name.to_string() }, info)
    })
}

fn bind_inputs(
    graph: &FileGraph<'_>,
    options: &ImportOptions,
    builder: &mut GraphBuilder,
    forms: &mut [Forms],
) -> Result<(), ImportError> {
    let names: Vec<String> = named_inputs(graph).map(|(name, _)| name).collect();
    check_names(options, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (&tensor, (name, info)) in graph.inputs.iter().zip(named_inputs(graph)) {
        let wrong = |reason| ImportError::Input { name: name.clone(), reason };
        let dtype = dtype_of(info.kind).map_err(wrong)?;
        let dims = dimensions(info).map_err(wrong)?;
        let value = match options.constants.get(&name) {
            Some(constant) => {
                check_constant(constant, dtype, Some(&dims)).map_err(wrong)?;
                builder.constant(&name, constant.clone())
            }
            None => {
                let given = options.shapes.get(&name).map(Vec::as_slice);
                let shape = resolve(&name, dtype, &dims, given).map_err(wrong)?;
                builder.input(ValueInfo { name: name.clone(), dtype, shape })
            }
        };
        if forms[tensor].stored[Layout::Plain as usize].is_some() {
            return Err(wrong("it is declared twice".into()));
        }
        forms[tensor] = Forms::of(plain(value));
    }
    Ok(())
}

/// Dimensions of an input: those that the signature leaves open may be given.
fn dimensions(info: &TensorInfo<'_>) -> Result<Vec<Dimension>, String> {
    let declared = info.signature.as_ref().filter(|signature| signature.len() == info.shape.len());
    let dims = declared.unwrap_or(&info.shape).iter().enumerate().map(|(axis, &size)| match usize::try_from(size) {
        Ok(size) => Ok(Dimension::Fixed(size)),
        Err(_) if size == -1 => Ok(Dimension::Open(format!("dimension {axis}"))),
        Err(_) => Err(format!("dimension {axis} is {size}")),
    });
    dims.collect()
}

fn lower_operator(
    model: &Model<'_>,
    operator: &Operator<'_>,
    position: usize,
    builder: &mut GraphBuilder,
    forms: &mut [Forms],
) -> Result<(), ImportError> {
    let code = model.code(operator);
    let is_custom = code.builtin == CUSTOM;
    let built_in = usize::try_from(code.builtin).ok().and_then(|at| OPERATORS.get(at)).copied();
    let name = if is_custom { Some(code.custom) } else { built_in };
    let node = match operator.outputs.first().map(|&tensor| model.graph.tensors[tensor].name) {
        Some(name) if !name.is_empty() => format!("#{position}, which makes '{name}'"),
        _ => format!("#{position}"),
    };
    let shown = name.map_or_else(|| format!("number {}", code.builtin), str::to_string);
    let Some(entry) = name.and_then(|name| lower::find(name, is_custom)) else {
        return Err(ImportError::UnsupportedOperator { node, operator: shown });
    };
    let is_raw = entry.moves && moves_integers(model, operator);
    let mut context = OperatorContext { builder, model, forms, operator, is_raw };
    let lowered = (entry.lower)(&mut context).and_then(|results| context.keep(&results));
    lowered.and_then(|()| context.check_size()).map_err(|reason| ImportError::Node { node, operator: shown, reason })
}

/// Whether all quantised tensors of an operator have the same scale and zero point, so that its elements can move as they are.
fn moves_integers(model: &Model<'_>, operator: &Operator<'_>) -> bool {
    let tensors = operator.inputs.iter().flatten().chain(&operator.outputs);
    let mut quantizations = tensors.filter_map(|&tensor| model.graph.tensors[tensor].quantization.as_ref());
    let Some(first) = quantizations.next() else { return true };
    quantizations.all(|other| other == first)
        && operator.outputs.iter().all(|&tensor| model.graph.tensors[tensor].quantization.is_some())
}
