//! The inputs that an ONNX file declares, read before it is imported: dynamic shapes are taken from the tensors at hand,
//! and a tensor without a name needs to know whose it is.
//!
//! Only the protobuf wire format is walked, down to names, element types and ranks (onnx.proto: ModelProto.graph = 7,
//! GraphProto.initializer = 5 and input = 11, ValueInfoProto.name = 1 and type = 2, TypeProto.tensor_type = 1, its
//! elem_type = 1 and shape = 2, TensorShapeProto.dim = 1, TensorProto.name = 8). The importer judges everything else.

use lattice_inference::DType;
use std::collections::BTreeSet;

/// An input as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredInput {
    /// Its name.
    pub name: String,
    /// Element type; none when it is no tensor of a type that we know.
    pub dtype: Option<DType>,
    /// Number of dimensions; none when the shape is not declared.
    pub rank: Option<usize>,
}

/// The inputs in order, without those that have an initial value. `None`: the bytes are no protobuf.
pub fn declared_inputs(bytes: &[u8]) -> Option<Vec<DeclaredInput>> {
    let mut inputs = Vec::new();
    let mut initialised = BTreeSet::new();
    for graph in messages(bytes, 7)? {
        for initializer in messages(graph, 5)? {
            initialised.extend(text(initializer, 8)?);
        }
        for input in messages(graph, 11)? {
            inputs.push(declared(input)?);
        }
    }
    inputs.retain(|input| !initialised.contains(&input.name));
    Some(inputs)
}

fn declared(input: &[u8]) -> Option<DeclaredInput> {
    let mut out = DeclaredInput { name: text(input, 1)?.unwrap_or_default(), dtype: None, rank: None };
    for ty in messages(input, 2)? {
        for tensor in messages(ty, 1)? {
            for (number, field) in fields(tensor)? {
                match (number, field) {
                    (1, Field::Number(code)) => out.dtype = dtype_of(code),
                    (2, Field::Bytes(shape)) => out.rank = Some(messages(shape, 1)?.len()),
                    _ => {}
                }
            }
        }
    }
    Some(out)
}

/// TensorProto.DataType.
const fn dtype_of(code: u64) -> Option<DType> {
    Some(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => return None,
    })
}

/// A field's content, as far as it matters here.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message in order.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Field::Fixed)?,
            2 => {
                let length = varint(&mut rest)?;
                Field::Bytes(take(&mut rest, usize::try_from(length).ok()?)?)
            }
            5 => take(&mut rest, 4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        out.push((tag >> 3, field));
    }
    Some(out)
}

fn messages(message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let wanted = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    Some(fields(message)?.into_iter().filter_map(wanted).collect())
}

/// A text field; the outer `None` is malformed, the inner one absent.
#[expect(clippy::option_option, reason = "malformed and absent are different answers")]
fn text(message: &[u8], number: u64) -> Option<Option<String>> {
    let Some(bytes) = messages(message, number)?.pop() else { return Some(None) };
    String::from_utf8(bytes.to_vec()).ok().map(Some)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

/// A base-128 number, at most 64 bits.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGITS: &[u8] = include_bytes!("../../../models/digits.onnx");

    #[test]
    fn the_bundled_models_input_is_found() {
        let image = DeclaredInput { name: "image".into(), dtype: Some(DType::F32), rank: Some(2) };
        assert_eq!(declared_inputs(DIGITS), Some(vec![image]));
    }

    #[test]
    fn an_input_with_an_initial_value_is_none() {
        let field = |number: u8, body: &[u8]| [&[number << 3 | 2, body.len() as u8], body].concat();
        let (input, initializer) = (|name: &[u8]| field(11, &field(1, name)), field(5, &field(8, b"w")));
        let model = field(7, &[input(b"x"), input(b"w"), initializer].concat());
        let x = DeclaredInput { name: "x".into(), dtype: None, rank: None };
        assert_eq!(declared_inputs(&model), Some(vec![x]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(cut in 0..DIGITS.len(), at in 0..DIGITS.len(), byte: u8) {
            let mut bytes = DIGITS.to_vec();
            bytes[at] = byte;
            let _whole = declared_inputs(&bytes);
            let _part = declared_inputs(&bytes[..cut]);
        }
    }
}
