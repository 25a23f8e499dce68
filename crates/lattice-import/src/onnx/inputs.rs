//! Binding a graph input: its element type, and a static shape from the file and the options.

use super::proto::ValueInfoProto;
use super::tensors::dtype_of;
use crate::error::ImportError;
use crate::options::{self, Dimension, ImportOptions, resolve};
use lattice_inference::ValueInfo;
use lattice_inference::{DType, Tensor};

/// Element type and dimensions as the file declares them.
fn declaration(proto: &ValueInfoProto) -> Result<(DType, Option<Vec<Dimension>>), String> {
    let tensor_type = proto.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor_type =
        tensor_type.ok_or("it is not a dense tensor (sequences, maps and optionals are not supported)")?;
    let dtype = dtype_of(i64::from(tensor_type.elem_type))?;
    let Some(shape) = &tensor_type.shape else { return Ok((dtype, None)) };
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match (dim.dim_value, &dim.dim_param) {
        (Some(size), None) if size >= 0 => Dimension::Fixed(size as usize),
        (_, Some(param)) if !param.is_empty() => Dimension::Open(param.clone()),
        _ => Dimension::Open(format!("dimension {axis}")),
    });
    Ok((dtype, Some(dims.collect())))
}

/// The input with a static shape, or what is missing and how to give it.
pub(super) fn bind(proto: &ValueInfoProto, options: &ImportOptions) -> Result<ValueInfo, ImportError> {
    let name = &proto.name;
    let given = options.shapes.get(name).map(Vec::as_slice);
    let bound = declaration(proto).and_then(|(dtype, dims)| {
        // What is not declared is taken as it is given.
        let any = || given.map(|shape| shape.iter().map(|&size| Dimension::Fixed(size)).collect());
        let dims = dims.or_else(any);
        let dims = dims.ok_or_else(|| format!("its shape is not declared; give one with --shape {name}=1,2,3"))?;
        Ok(ValueInfo { name: name.clone(), dtype, shape: resolve(name, dtype, &dims, given)? })
    });
    bound.map_err(|reason| ImportError::Input { name: name.clone(), reason })
}

/// Checks a constant given for an input against its declaration.
pub(super) fn check_constant(proto: &ValueInfoProto, tensor: &Tensor) -> Result<(), ImportError> {
    let checked = match proto.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) {
        None => Ok(()),
        Some(_) => declaration(proto).and_then(|(dtype, dims)| options::check_constant(tensor, dtype, dims.as_deref())),
    };
    checked.map_err(|reason| ImportError::Input { name: proto.name.clone(), reason })
}
