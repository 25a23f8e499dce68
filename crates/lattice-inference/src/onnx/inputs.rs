//! Binding a graph input: its element type, and a static shape from the file and the options.

use super::ImportOptions;
use super::proto::ValueInfoProto;
use super::tensors::dtype_of;
use crate::error::ImportError;
use crate::graph::ValueInfo;
use crate::tensor::{Tensor, element_count};

/// One dimension as the file declares it.
enum Dimension {
    Fixed(usize),
    Open(String),
}

/// The input with a static shape, or what is missing and how to give it.
pub(super) fn bind(proto: &ValueInfoProto, options: &ImportOptions) -> Result<ValueInfo, ImportError> {
    let name = &proto.name;
    let wrong = |reason: String| ImportError::Input { name: name.clone(), reason };
    let tensor_type = proto.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor_type = tensor_type
        .ok_or_else(|| wrong("it is not a dense tensor (sequences, maps and optionals are not supported)".into()))?;
    let dtype = dtype_of(i64::from(tensor_type.elem_type)).map_err(wrong)?;
    let given = options.shapes.get(name);
    let shape = match (&tensor_type.shape, given) {
        (None, Some(shape)) => shape.clone(),
        (None, None) => {
            return Err(wrong(format!("its shape is not declared; give one with --shape {name}=1,2,3")));
        }
        (Some(declared), given) => {
            let mut dims = Vec::with_capacity(declared.dim.len());
            for (axis, dim) in declared.dim.iter().enumerate() {
                dims.push(match (dim.dim_value, &dim.dim_param) {
                    (Some(size), _) if size >= 0 && dim.dim_param.is_none() => Dimension::Fixed(size as usize),
                    (_, Some(param)) if !param.is_empty() => Dimension::Open(param.clone()),
                    _ => Dimension::Open(format!("dimension {axis}")),
                });
            }
            resolve(name, &dims, given.map(Vec::as_slice)).map_err(wrong)?
        }
    };
    element_count(dtype, &shape).map_err(|e| wrong(e.to_string()))?;
    Ok(ValueInfo { name: name.clone(), dtype, shape })
}

fn resolve(name: &str, dims: &[Dimension], given: Option<&[usize]>) -> Result<Vec<usize>, String> {
    let declared: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Open(param) => param.clone(),
        })
        .collect();
    let declared = declared.join(", ");
    if let Some(shape) = given {
        let fits = shape.len() == dims.len()
            && dims.iter().zip(shape).all(|(dim, &size)| !matches!(dim, Dimension::Fixed(fixed) if *fixed != size));
        return if fits {
            Ok(shape.to_vec())
        } else {
            Err(format!("the file declares [{declared}], the given shape is {shape:?}"))
        };
    }
    let mut shape = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        shape.push(match dim {
            Dimension::Fixed(size) => *size,
            Dimension::Open(_) if axis == 0 => 1,
            Dimension::Open(param) => {
                let example: Vec<String> = dims
                    .iter()
                    .enumerate()
                    .map(|(i, dim)| match dim {
                        Dimension::Fixed(size) => size.to_string(),
                        Dimension::Open(_) if i == 0 => "1".into(),
                        Dimension::Open(_) => "128".into(),
                    })
                    .collect();
                return Err(format!(
                    "dimension {axis} ('{param}' in [{declared}]) is dynamic; fix it, for example with --shape {name}={}",
                    example.join(",")
                ));
            }
        });
    }
    Ok(shape)
}

/// Checks a constant given for an input against its declaration.
pub(super) fn check_constant(proto: &ValueInfoProto, tensor: &Tensor) -> Result<(), ImportError> {
    let wrong = |reason: String| ImportError::Input { name: proto.name.clone(), reason };
    let Some(tensor_type) = proto.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else { return Ok(()) };
    let dtype = dtype_of(i64::from(tensor_type.elem_type)).map_err(wrong)?;
    if dtype != tensor.dtype() {
        return Err(wrong(format!("it is {dtype}, the given constant is {}", tensor.dtype())));
    }
    if let Some(shape) = &tensor_type.shape {
        let fits = shape.dim.len() == tensor.rank()
            && shape.dim.iter().zip(tensor.shape()).all(|(dim, &size)| match dim.dim_value {
                Some(fixed) if dim.dim_param.is_none() => fixed == size as i64,
                _ => true,
            });
        if !fits {
            return Err(wrong(format!("the given constant's shape {:?} does not fit its declaration", tensor.shape())));
        }
    }
    Ok(())
}
