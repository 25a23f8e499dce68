//! The inputs that a file declares, read before it is imported: dynamic shapes are taken from the tensors at hand, and a
//! tensor without a name needs to know whose it is.
//!
//! Only names, element types and ranks are read; weights are stepped over. The importer judges everything else.

use super::proto::ValueInfoProto;
use super::tensors::dtype_of;
use crate::error::ImportError;
use crate::options::DeclaredInput;
use prost::Message;
use std::collections::BTreeSet;

/// ModelProto, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelOutline {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphOutline>,
}

/// GraphProto, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct GraphOutline {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorOutline>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
}

/// TensorProto, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct TensorOutline {
    #[prost(string, tag = "8")]
    name: String,
}

/// The inputs of an ONNX file in order, without those that have an initial value; none when there is no graph.
pub(crate) fn declared_inputs(bytes: &[u8]) -> Result<Vec<DeclaredInput>, ImportError> {
    let model = ModelOutline::decode(bytes).map_err(|e| ImportError::Protobuf(e.to_string()))?;
    let graph = model.graph.unwrap_or_default();
    let stored: BTreeSet<String> = graph.initializer.into_iter().map(|t| t.name).collect();
    Ok(graph.input.into_iter().filter(|input| !stored.contains(&input.name)).map(declared).collect())
}

fn declared(input: ValueInfoProto) -> DeclaredInput {
    let tensor = input.r#type.and_then(|t| t.tensor_type);
    let dtype = tensor.as_ref().and_then(|t| dtype_of(i64::from(t.elem_type)).ok());
    DeclaredInput { name: input.name, dtype, rank: tensor.and_then(|t| t.shape).map(|shape| shape.dim.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_inference::DType;
    use proptest::prelude::*;

    const DIGITS: &[u8] = include_bytes!("../../../../models/digits.onnx");

    #[test]
    fn the_bundled_models_input_is_found() {
        let image = DeclaredInput { name: "image".into(), dtype: Some(DType::F32), rank: Some(2) };
        assert_eq!(declared_inputs(DIGITS), Ok(vec![image]));
    }

    #[test]
    fn an_input_with_an_initial_value_is_none() {
        let input = |name: &str| ValueInfoProto { name: name.into(), ..Default::default() };
        let initializer = vec![TensorOutline { name: "w".into() }];
        let graph = GraphOutline { initializer, input: vec![input("x"), input("w")] };
        let bytes = ModelOutline { graph: Some(graph) }.encode_to_vec();
        assert_eq!(declared_inputs(&bytes), Ok(vec![DeclaredInput { name: "x".into(), dtype: None, rank: None }]));
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
