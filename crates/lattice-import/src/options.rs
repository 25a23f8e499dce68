//! What all importers share: options, declared inputs, open dimensions made static.

use crate::error::ImportError;
use lattice_inference::{DType, Tensor, element_count};
use std::collections::BTreeMap;

/// How to import a file.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Static shapes for inputs whose dimensions the file leaves open. A leading open dimension without an entry becomes 1.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs to fix to a value; they vanish from the model's inputs.
    pub constants: BTreeMap<String, Tensor>,
    /// Largest file in bytes.
    pub file_bytes_max: usize,
}

impl Default for ImportOptions {
    /// No shapes, no constants, files up to 1 GiB.
    fn default() -> Self {
        ImportOptions { shapes: BTreeMap::new(), constants: BTreeMap::new(), file_bytes_max: 1 << 30 }
    }
}

/// An input as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredInput {
    /// Its name.
    pub name: String,
    /// Element type; none when it is no tensor of a type that we know.
    pub dtype: Option<DType>,
    /// Number of dimensions; none when the shape is not declared.
    pub rank: Option<usize>,
}

/// Errors when the file is larger than the options allow.
pub(crate) fn check_file_size(bytes: &[u8], options: &ImportOptions) -> Result<(), ImportError> {
    let (size, max) = (bytes.len(), options.file_bytes_max);
    if size <= max {
        return Ok(());
    }
    Err(ImportError::Model(format!("the file has {size} bytes; the limit is {max}")))
}

/// Errors when the options name an input that the model does not have.
pub(crate) fn check_names(options: &ImportOptions, names: &[&str]) -> Result<(), ImportError> {
    let mut given = options.shapes.keys().chain(options.constants.keys());
    match given.find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let reason = format!("the model has no such input; its inputs are: {}", names.join(", "));
            Err(ImportError::Input { name: name.clone(), reason })
        }
    }
}

/// One dimension as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Fixed(usize),
    Open(String),
}

/// The static shape of an input, or what is missing and how to give it.
pub(crate) fn resolve(
    name: &str,
    dtype: DType,
    dims: &[Dimension],
    given: Option<&[usize]>,
) -> Result<Vec<usize>, String> {
    let declared = declaration(dims);
    if let Some(shape) = given {
        return if fits(dims, shape) {
            element_count(dtype, shape).map_err(|e| e.to_string())?;
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
    element_count(dtype, &shape).map_err(|e| e.to_string())?;
    Ok(shape)
}

fn declaration(dims: &[Dimension]) -> String {
    let text = |dim: &Dimension| match dim {
        Dimension::Fixed(size) => size.to_string(),
        Dimension::Open(param) => param.clone(),
    };
    dims.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn fits(dims: &[Dimension], shape: &[usize]) -> bool {
    let differs = |(dim, &size): (&Dimension, &usize)| matches!(dim, Dimension::Fixed(fixed) if *fixed != size);
    shape.len() == dims.len() && !dims.iter().zip(shape).any(differs)
}

/// Checks a constant given for an input against its declaration; without dimensions any shape will do.
pub(crate) fn check_constant(tensor: &Tensor, dtype: DType, dims: Option<&[Dimension]>) -> Result<(), String> {
    if dtype != tensor.dtype() {
        return Err(format!("it is {dtype}, the given constant is {}", tensor.dtype()));
    }
    match dims.filter(|dims| !fits(dims, tensor.shape())) {
        None => Ok(()),
        Some(dims) => {
            let declared = declaration(dims);
            Err(format!("the file declares [{declared}], the given constant's shape is {:?}", tensor.shape()))
        }
    }
}
