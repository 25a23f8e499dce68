//! The safetensors container (<https://huggingface.co/docs/safetensors>): a JSON header with types, shapes and offsets,
//! then the elements. Tensors must fill the data part without gap or overlap, as the format says.

use super::AdapterError;
use lattice_inference::{DType, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest header, as the reference implementation has it.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The tensors of a file by name.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, AdapterError> {
    parse(bytes).map_err(AdapterError::Safetensors)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("the file has no header length: is it complete?")?;
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX || length > rest.len() as u64 {
        return Err(format!("the header is said to have {length} bytes, the file has {}", rest.len()));
    }
    let (header, data) = rest.split_at(length as usize);
    let header: Value = serde_json::from_slice(header).map_err(|e| format!("the header is no JSON: {e}"))?;
    let entries = header.as_object().ok_or("the header is no JSON object")?;
    let mut tensors = BTreeMap::new();
    let mut spans = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let (tensor, span) = tensor(entry, data).map_err(|reason| format!("tensor '{name}': {reason}"))?;
        tensors.insert(name.clone(), tensor);
        spans.push(span);
    }
    spans.sort_unstable();
    let mut end = 0;
    for (from, to) in spans {
        if from != end {
            return Err(format!("the tensors do not fill the data: byte {end} is followed by byte {from}"));
        }
        end = to;
    }
    match data.len() - end {
        0 => Ok(tensors),
        left => Err(format!("{left} bytes belong to no tensor")),
    }
}

fn tensor(entry: &Value, data: &[u8]) -> Result<(Tensor, (usize, usize)), String> {
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let numbers = |field: &str| -> Result<Vec<usize>, String> {
        let list = entry[field].as_array().ok_or_else(|| format!("'{field}' is no list"))?;
        list.iter()
            .map(number)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("'{field}' holds something else than sizes"))
    };
    let dtype = match entry["dtype"].as_str() {
        Some("F32") => DType::F32,
        Some("F16") => DType::F16,
        Some("BF16") => DType::BF16,
        Some(other) => return Err(format!("element type {other} is not supported: save it as F32, F16 or BF16")),
        None => return Err("'dtype' is missing".into()),
    };
    let offsets = numbers("data_offsets")?;
    let &[from, to] = offsets.as_slice() else { return Err("'data_offsets' must hold two numbers".into()) };
    let bytes = data.get(from..to).ok_or_else(|| format!("bytes {from} to {to} lie outside of {}", data.len()))?;
    let tensor = Tensor::from_bytes(dtype, numbers("shape")?, bytes).map_err(|e| e.to_string())?;
    Ok((tensor, (from, to)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn tensors_are_read_and_lies_are_refused() {
        let entry = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        };
        let good = format!(
            r#"{{"__metadata__":{{"format":"pt"}},"b":{},"a":{}}}"#,
            entry("F16", "[1]", "[8,10]"),
            entry("F32", "[2,1]", "[0,8]")
        );
        let data = [&1.5f32.to_le_bytes()[..], &(-2.0f32).to_le_bytes(), &[0x00, 0x3c]].concat();
        let tensors = read(&file(&good, &data)).unwrap();
        assert_eq!(tensors["a"].as_f32().unwrap(), [1.5, -2.0]);
        assert_eq!((tensors["b"].dtype(), tensors["a"].shape()), (DType::F16, &[2, 1][..]));
        let one =
            |entry: String, data: &[u8]| read(&file(&format!(r#"{{"a":{entry}}}"#), data)).unwrap_err().to_string();
        for (entry, data, reason) in [
            (entry("F64", "[1]", "[0,8]"), &data[..8], "F64 is not supported"),
            (entry("F32", "[3]", "[0,8]"), &data[..8], "expected 12 bytes"),
            (entry("F32", "[2]", "[0,12]"), &data[..8], "lie outside"),
            (entry("F32", "[2]", "[8,0]"), &data[..8], "lie outside"),
            (entry("F32", "[1]", "[4,8]"), &data[..8], "do not fill"),
            (entry("F32", "[1]", "[0,4]"), &data[..8], "belong to no tensor"),
            (entry("F32", "[-1]", "[0,4]"), &data[..4], "something else than sizes"),
            (entry("F32", "[18446744073709551615,4]", "[0,4]"), &data[..4], "limit"),
        ] {
            let got = one(entry.clone(), data);
            assert!(got.contains(reason), "{entry}: {got}");
        }
        assert!(read(&[1, 2, 3]).unwrap_err().to_string().contains("complete"));
        assert!(read(&u64::MAX.to_le_bytes()).unwrap_err().to_string().contains("said to have"));
        assert!(read(&file("[]", &[])).unwrap_err().to_string().contains("no JSON object"));
        // Two tensors over the same bytes.
        let twice = format!(r#"{{"a":{},"b":{}}}"#, entry("F32", "[1]", "[0,4]"), entry("F32", "[1]", "[0,4]"));
        assert!(read(&file(&twice, &data[..4])).unwrap_err().to_string().contains("do not fill"));
    }
}
