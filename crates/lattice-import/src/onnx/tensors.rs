//! ONNX element types, and tensors stored in a file.

use super::proto::TensorProto;
use lattice_inference::{DType, Data, Tensor, element_count};

/// The element type behind an ONNX code, or the name of what is not supported.
pub(crate) fn dtype_of(code: i64) -> Result<DType, String> {
    Ok(match code {
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
        0 => return Err("the element type is not set".into()),
        8 => return Err("strings are not supported".into()),
        14 | 15 => return Err("complex numbers are not supported".into()),
        17..=20 => return Err("8-bit floats are not supported".into()),
        21 | 22 => return Err("4-bit integers are not supported".into()),
        other => return Err(format!("element type {other} is not known")),
    })
}

/// Reads a stored tensor; its elements may be raw bytes or one of the typed lists.
pub(crate) fn tensor_of(proto: &TensorProto) -> Result<Tensor, String> {
    if proto.data_location == 1 || !proto.external_data.is_empty() {
        let location =
            proto.external_data.iter().find(|e| e.key == "location").map_or("another file", |e| e.value.as_str());
        return Err(format!("its data lies outside the file, in '{location}'; save the model as one file"));
    }
    let dtype = dtype_of(i64::from(proto.data_type))?;
    let shape = proto.dims.iter().map(|&d| usize::try_from(d).map_err(|_| format!("dimension {d} is negative")));
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    let count = element_count(dtype, &shape).map_err(|e| e.to_string())?;
    if !proto.raw_data.is_empty() {
        let mut tensor = Tensor::from_bytes(dtype, shape, &proto.raw_data).map_err(|e| e.to_string())?;
        tensor.canonicalize_nan();
        return Ok(tensor);
    }
    let narrow = |name: &str| format!("a stored value does not fit {name}");
    macro_rules! from_i32 {
        ($t:ty) => {
            proto
                .int32_data
                .iter()
                .map(|&v| <$t>::try_from(v))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| narrow(dtype.name()))?
        };
    }
    let data = match dtype {
        DType::F32 => Data::F32(proto.float_data.clone()),
        DType::F64 => Data::F64(proto.double_data.clone()),
        DType::I8 => Data::I8(from_i32!(i8)),
        DType::I16 => Data::I16(from_i32!(i16)),
        DType::I32 => Data::I32(proto.int32_data.clone()),
        DType::I64 => Data::I64(proto.int64_data.clone()),
        DType::U8 => Data::U8(from_i32!(u8)),
        DType::U16 => Data::U16(from_i32!(u16)),
        DType::Bool => Data::Bool(proto.int32_data.iter().map(|&v| v != 0).collect()),
        DType::F16 => Data::F16(from_i32!(u16)),
        DType::BF16 => Data::BF16(from_i32!(u16)),
        DType::U32 => {
            let values = proto.uint64_data.iter().map(|&v| u32::try_from(v));
            Data::U32(values.collect::<Result<_, _>>().map_err(|_| narrow("u32"))?)
        }
        DType::U64 => Data::U64(proto.uint64_data.clone()),
    };
    if data.len() != count {
        return Err(format!("shape {shape:?} has {count} elements, but {} are stored", data.len()));
    }
    let mut tensor = Tensor::new(shape, data).map_err(|e| e.to_string())?;
    tensor.canonicalize_nan();
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn raw_and_typed_storage() {
        let raw = TensorProto {
            dims: vec![2],
            data_type: 1,
            raw_data: vec![0, 0, 128, 63, 0, 0, 0, 64],
            ..Default::default()
        };
        assert_eq!(tensor_of(&raw).unwrap(), Tensor::from_f32([2], vec![1.0, 2.0]).unwrap());
        let typed = TensorProto { dims: vec![2], data_type: 1, float_data: vec![1.0, 2.0], ..Default::default() };
        assert_eq!(tensor_of(&typed).unwrap(), tensor_of(&raw).unwrap());
        let half = TensorProto { dims: vec![1], data_type: 10, int32_data: vec![0x3c00], ..Default::default() };
        assert_eq!(tensor_of(&half).unwrap().to_f64s(), [1.0]);
    }

    #[test]
    fn wrong_tensors_are_named() {
        let refused = |t: TensorProto| tensor_of(&t).unwrap_err();
        let base = TensorProto { dims: vec![3], data_type: 1, ..Default::default() };
        assert!(refused(TensorProto { raw_data: vec![0; 8], ..base.clone() }).contains("expected 12 bytes, got 8"));
        assert!(refused(TensorProto { float_data: vec![0.0; 2], ..base.clone() }).contains("3 elements, but 2"));
        assert!(refused(TensorProto { dims: vec![-1], ..base.clone() }).contains("negative"));
        assert!(refused(TensorProto { dims: vec![1 << 40, 1 << 40], ..base.clone() }).contains("limit"));
        assert!(refused(TensorProto { data_type: 8, ..base.clone() }).contains("strings"));
        assert!(refused(TensorProto { data_location: 1, ..base.clone() }).contains("outside the file"));
        assert!(
            refused(TensorProto { dims: vec![1], data_type: 3, int32_data: vec![300], ..base })
                .contains("does not fit i8")
        );
    }
}
