//! Tensors at the edge: files and JSON in, JSON and text out, checked against a model's declared inputs.

mod half;
mod input;
mod output;

pub use input::{RawInput, assign, bind, inline_or_file, read_all};
pub use output::{NamedTensor, argmax, summary};

use crate::failure::Failure;
use lattice_inference::{DType, Tensor, ValueInfo, element_count};
use serde_json::Value;

/// One declared input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Static shape, outermost first.
    pub shape: Vec<usize>,
}

impl Slot {
    /// A graph's input or output.
    pub fn of(info: &ValueInfo) -> Self {
        Self { name: info.name.clone(), dtype: info.dtype, shape: info.shape.clone() }
    }

    /// Bytes of a tensor that fits.
    pub fn size_bytes(&self) -> Result<usize, Failure> {
        let count = element_count(self.dtype, &self.shape)
            .map_err(|error| Failure::new(format!("'{}' is declared impossibly: {error}", self.name)))?;
        Ok(count * self.dtype.size_bytes())
    }

    /// Reads `{"name", "dtype", "shape"}` as nodes send it.
    pub fn from_json(value: &Value) -> Option<Self> {
        let dims = value["shape"].as_array()?.iter();
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            dtype: DType::from_name(value["dtype"].as_str()?)?,
            shape: dims.map(|dim| usize::try_from(dim.as_u64()?).ok()).collect::<Option<_>>()?,
        })
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, type_text(self.dtype, &self.shape))
    }
}

/// An element type and a shape as text: `f32[1,10]`.
pub fn type_text(dtype: DType, shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("{dtype}[{}]", dims.join(","))
}

/// All tensors one behind the other, little endian: how transactions and contracts carry them.
pub fn concat_bytes(tensors: &[Tensor]) -> Vec<u8> {
    let mut out = Vec::with_capacity(tensors.iter().map(Tensor::size_bytes).sum());
    for tensor in tensors {
        tensor.append_bytes(&mut out);
    }
    out
}

/// The reverse of [`concat_bytes()`] for tensors of these types and shapes.
pub fn split_bytes(bytes: &[u8], slots: &[Slot]) -> Result<Vec<NamedTensor>, Failure> {
    let mut rest = bytes;
    let mut out = Vec::with_capacity(slots.len());
    for slot in slots {
        let size = slot.size_bytes()?;
        let (head, tail) = rest.split_at_checked(size).ok_or_else(|| {
            Failure::new(format!("the output ends within '{}': {} of {size} bytes are there", slot.name, rest.len()))
        })?;
        let tensor = Tensor::from_bytes(slot.dtype, slot.shape.clone(), head)
            .map_err(|error| Failure::new(format!("output '{}': {error}", slot.name)))?;
        out.push(NamedTensor { name: slot.name.clone(), tensor });
        rest = tail;
    }
    if rest.is_empty() { Ok(out) } else { Err(Failure::new(format!("{} bytes follow the outputs", rest.len()))) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn slot(name: &str, dtype: DType, shape: &[usize]) -> Slot {
        Slot { name: name.into(), dtype, shape: shape.into() }
    }

    #[test]
    fn bytes_of_several_tensors_split_where_they_were_joined() {
        let a = Tensor::from_f32([2], vec![1.0, f32::NAN]).unwrap();
        let b = Tensor::from_i64([1, 1], vec![-3]).unwrap();
        let bytes = concat_bytes(&[a, b.clone()]);
        let slots = [slot("a", DType::F32, &[2]), slot("b", DType::I64, &[1, 1])];
        let back = split_bytes(&bytes, &slots).unwrap();
        assert_eq!(back[1].tensor, b);
        assert!(split_bytes(&bytes[1..], &slots).unwrap_err().to_string().contains("'b'"));
        assert!(split_bytes(&bytes, &slots[..1]).unwrap_err().to_string().contains("8 bytes follow"));
    }

    #[test]
    fn slots_are_read_from_json() {
        let read = Slot::from_json(&json!({"name": "x", "dtype": "i32", "shape": [1, 2048]})).unwrap();
        assert_eq!(read.to_string(), "x i32[1,2048]");
        for bad in [
            json!({}),
            json!({"name": "x", "dtype": "i9", "shape": []}),
            json!({"name": "x", "dtype": "i8", "shape": [-1]}),
        ] {
            assert_eq!(Slot::from_json(&bad), None, "{bad}");
        }
    }
}
