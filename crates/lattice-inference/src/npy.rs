//! NumPy's .npy format, versions 1 to 3 (NEP 1): one array a file, little-endian, C or Fortran order.

use crate::error::NpyError;
use crate::tensor::{DType, Tensor, element_count, map_data};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads one array. Fortran order is turned into C order; big-endian and structured arrays are refused.
pub fn read(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let truncated = || NpyError::Header("the file is truncated".into());
    let [major, minor, rest @ ..] = rest else { return Err(truncated()) };
    let (header_len, rest) = match (major, rest) {
        (1, [a, b, rest @ ..]) => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        (2 | 3, [a, b, c, d, rest @ ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        (1..=3, _) => return Err(truncated()),
        _ => return Err(NpyError::Version(*major, *minor)),
    };
    let header = rest.get(..header_len).ok_or_else(truncated)?;
    let header = core::str::from_utf8(header).map_err(|_| NpyError::Header("it is not text".into()))?;
    let (dtype, fortran, shape) = parse_header(header)?;
    let data = &rest[header_len..];
    if !fortran || shape.len() < 2 {
        return Ok(Tensor::from_bytes(dtype, shape, data)?);
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let tensor = Tensor::from_bytes(dtype, reversed, data)?;
    Ok(Tensor::new(shape.clone(), map_data!(tensor.into_data(), v => from_fortran(&v, &shape)))?)
}

/// Writes one array as version 1.0, C order, every NaN canonical. f16 is written as `<f2`, bf16 as its bits in `<u2`.
pub fn write(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::F16 => "<f2",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 | DType::BF16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
    };
    let dims: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let shape = match dims.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // The elements begin at a multiple of 64 bytes, as the format asks.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(core::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut out = Vec::with_capacity(MAGIC.len() + 4 + header.len() + tensor.size_bytes());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    let header_len = u16::try_from(header.len()).expect("a header of at most eight dimensions is short");
    out.extend_from_slice(&header_len.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    tensor.append_bytes(&mut out);
    out
}

/// Reads the Python dict literal of a header: only the three keys of the format, in any order.
fn parse_header(header: &str) -> Result<(DType, bool, Vec<usize>), NpyError> {
    let value = |key: &str| -> Result<&str, NpyError> {
        let missing = || NpyError::Header(format!("'{key}' is missing"));
        let start = header.find(&format!("'{key}'")).ok_or_else(missing)? + key.len() + 2;
        let rest = header[start..].trim_start().strip_prefix(':').ok_or_else(missing)?;
        Ok(rest.trim_start())
    };
    let descr = value("descr")?;
    let descr = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')).map(|(d, _)| d);
    let descr = descr.ok_or_else(|| NpyError::DType("a structured type".into()))?;
    let dtype = parse_descr(descr)?;
    let fortran = match value("fortran_order")? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => return Err(NpyError::Header("fortran_order must be True or False".into())),
    };
    let bad_shape = || NpyError::Header("shape must be a tuple of integers".into());
    let shape =
        value("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(s, _)| s).ok_or_else(bad_shape)?;
    let dims = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape: Vec<usize> = dims.map(|d| d.parse().map_err(|_| bad_shape())).collect::<Result<_, _>>()?;
    element_count(dtype, &shape)?;
    Ok((dtype, fortran, shape))
}

fn parse_descr(descr: &str) -> Result<DType, NpyError> {
    let refused = || NpyError::DType(descr.into());
    let (order, code) = descr.split_at_checked(1).ok_or_else(refused)?;
    let dtype = match code {
        "f4" => DType::F32,
        "f8" => DType::F64,
        "f2" => DType::F16,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        _ => return Err(refused()),
    };
    let order_fits = match order {
        "<" | "=" => true,
        "|" => dtype.size_bytes() == 1,
        _ => false,
    };
    if order_fits { Ok(dtype) } else { Err(refused()) }
}

/// Turns column-major elements of `shape` into row-major ones.
fn from_fortran<T: Copy>(v: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for i in 1..shape.len() {
        strides[i] = strides[i - 1] * shape[i - 1].max(1);
    }
    (0..v.len())
        .map(|mut index| {
            let mut at = 0;
            for (dim, stride) in shape.iter().zip(&strides).rev() {
                at += index % dim * stride;
                index /= dim;
            }
            v[at]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0]);
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn writes_and_reads_every_shape_and_type() {
        for shape in [vec![], vec![3], vec![2, 3], vec![0, 4], vec![1, 2, 3]] {
            for dtype in DType::ALL.into_iter().filter(|d| *d != DType::BF16) {
                let len = element_count(dtype, &shape).unwrap() * dtype.size_bytes();
                let bytes: Vec<u8> = (0..len).map(|i| (i % 2) as u8).collect();
                let tensor = Tensor::from_bytes(dtype, shape.clone(), &bytes).unwrap();
                let npy = write(&tensor);
                assert_eq!((npy.len() - tensor.size_bytes()) % 64, 0);
                assert_eq!(read(&npy).unwrap(), tensor);
            }
        }
    }

    #[test]
    fn fortran_order_is_turned() {
        // numpy: np.asfortranarray([[1,2,3],[4,5,6]]) is stored 1 4 2 5 3 6.
        let npy = file("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", &[1, 4, 2, 5, 3, 6]);
        assert_eq!(read(&npy).unwrap(), Tensor::from_u8([2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap());
    }

    #[test]
    fn bad_files_are_named() {
        assert_eq!(read(b"PK\x03\x04"), Err(NpyError::Magic));
        assert_eq!(read(b"\x93NUMPY\x09\x00\x01"), Err(NpyError::Version(9, 0)));
        let refused = |header: &str| read(&file(header, &[0; 8])).unwrap_err().to_string();
        assert!(refused("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }").contains(">f4"));
        assert!(refused("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }").contains("<c8"));
        assert!(refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }").contains("structured"));
        assert!(
            refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }").contains("expected 12 bytes, got 8")
        );
        assert!(refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }").contains("tuple"));
        assert!(refused("{'descr': '<f4', 'shape': (2,), }").contains("fortran_order"));
        let whole = write(&Tensor::from_f32([4], vec![1.0; 4]).unwrap());
        for end in 0..whole.len() {
            read(&whole[..end]).unwrap_err();
        }
    }
}
