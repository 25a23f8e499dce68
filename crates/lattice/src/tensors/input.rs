//! `--input` arguments: `x.npy`, `name=x.npy`, `file.json` or `-`, turned into the tensors that a model declares.
//!
//! A .npy file has its own element type, so that must be the declared one. JSON has none: its numbers are converted,
//! and refused when the declared type cannot hold them. NaN and infinities are written as strings.

use super::{Slot, half, type_text};
use crate::failure::{Failure, read_file};
use lattice_inference::{DType, Data, Tensor, npy};
use serde_json::Value;
use std::{io::Read, path::Path};

/// Bytes that every .npy file begins with.
const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// One tensor as the user gave it, before a model's declaration is known.
#[derive(Debug, Clone)]
pub struct RawInput {
    /// Where it comes from, for messages.
    source: String,
    /// The input it is meant for; without one it takes the next free input in graph order.
    name: Option<String>,
    value: RawValue,
}

#[derive(Debug, Clone)]
enum RawValue {
    Npy(Tensor),
    Json(Value),
}

impl RawInput {
    /// The input it names, if it does.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same under a name.
    pub fn with_name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Number of its elements.
    pub fn element_count(&self) -> usize {
        match &self.value {
            RawValue::Npy(tensor) => tensor.len(),
            RawValue::Json(value) => {
                let mut flat = Vec::new();
                flatten(value, &mut flat);
                flat.len()
            }
        }
    }

    /// Its own shape.
    pub fn shape(&self) -> Result<Vec<usize>, Failure> {
        match &self.value {
            RawValue::Npy(tensor) => Ok(tensor.shape().to_vec()),
            RawValue::Json(value) => shape_of(value).map_err(|reason| self.failure(&reason)),
        }
    }

    /// As a tensor of its own type; JSON numbers without a fraction are i64, others f32.
    pub fn to_own_tensor(&self) -> Result<Tensor, Failure> {
        match &self.value {
            RawValue::Npy(tensor) => Ok(tensor.clone()),
            RawValue::Json(value) => {
                let mut flat = Vec::new();
                flatten(value, &mut flat);
                let dtype = match () {
                    () if !flat.is_empty() && flat.iter().all(|leaf| leaf.is_boolean()) => DType::Bool,
                    () if flat.iter().all(|leaf| leaf.is_i64() || leaf.is_u64()) => DType::I64,
                    () => DType::F32,
                };
                self.to_tensor(dtype, None)
            }
        }
    }

    /// As a tensor of the given type and shape, its own shape where `shape` is `None`.
    pub fn to_tensor(&self, dtype: DType, shape: Option<&[usize]>) -> Result<Tensor, Failure> {
        let own = self.shape()?;
        let shape = match shape {
            None => own,
            Some(want) if own == want || own_lacks_batch(&own, want) => want.to_vec(),
            Some(want) => {
                let want = type_text(dtype, want);
                return Err(self.failure(&format!("the model declares {want}, this has shape {own:?}")));
            }
        };
        let data = match &self.value {
            RawValue::Npy(tensor) => as_declared(tensor, dtype).ok_or_else(|| {
                let reason = format!("the model declares {dtype}, this .npy file holds {}", tensor.dtype());
                self.failure(&reason).next(format!("convert it with numpy's astype to {dtype}"))
            })?,
            RawValue::Json(value) => {
                let mut flat = Vec::new();
                flatten(value, &mut flat);
                convert(&flat, dtype).map_err(|reason| self.failure(&reason))?
            }
        };
        Tensor::new(shape, data).map_err(|error| self.failure(&error.to_string()))
    }

    fn failure(&self, reason: &str) -> Failure {
        match &self.name {
            Some(name) => Failure::new(format!("input '{name}' ({}): {reason}", self.source)),
            None => Failure::new(format!("input {}: {reason}", self.source)),
        }
    }
}

/// A leading dimension of 1 may be left out.
fn own_lacks_batch(own: &[usize], want: &[usize]) -> bool {
    want.split_first().is_some_and(|(&batch, rest)| batch == 1 && own == rest)
}

/// Reads every `--input`. A JSON object gives one named tensor a member.
pub fn read_all(args: &[String]) -> Result<Vec<RawInput>, Failure> {
    if args.iter().filter(|arg| path_of(arg).1 == "-").count() > 1 {
        return Err(Failure::usage("only one --input can read from stdin"));
    }
    let mut out = Vec::new();
    for arg in args {
        let (name, path) = path_of(arg);
        let bytes = if path == "-" { read_stdin()? } else { read_file(Path::new(path))? };
        let source = if path == "-" { "from stdin".to_owned() } else { path.to_owned() };
        parse(name, &source, &bytes, &mut out)?;
    }
    Ok(out)
}

/// Reads `name=value`, where the value is JSON itself or a file.
pub fn inline_or_file(arg: &str) -> Result<RawInput, Failure> {
    let named = arg.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, text) =
        named.ok_or_else(|| Failure::usage(format!("{arg:?} is not of the form NAME=FILE or NAME=JSON")))?;
    let mut out = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(_) => parse(Some(name), "on the command line", text.as_bytes(), &mut out)?,
        Err(_) => parse(Some(name), text, &read_file(Path::new(text))?, &mut out)?,
    }
    Ok(out.swap_remove(0))
}

/// Splits `name=path`. A file whose own name holds '=' is taken as it stands when it exists.
fn path_of(arg: &str) -> (Option<&str>, &str) {
    match arg.split_once('=') {
        Some((name, path)) if !name.is_empty() && !Path::new(arg).exists() => (Some(name), path),
        _ => (None, arg),
    }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("cannot read stdin: {error}")))?;
    Ok(bytes)
}

fn parse(name: Option<&str>, source: &str, bytes: &[u8], out: &mut Vec<RawInput>) -> Result<(), Failure> {
    let make = |name: Option<&str>, value| RawInput { source: source.to_owned(), name: name.map(str::to_owned), value };
    if bytes.starts_with(NPY_MAGIC) || source.ends_with(".npy") {
        let tensor = npy::read(bytes).map_err(|error| Failure::new(format!("input {source}: {error}")))?;
        out.push(make(name, RawValue::Npy(tensor)));
        return Ok(());
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(format!("input {source} is neither a .npy file nor JSON: {error}"))
            .next("write NaN and infinities as the strings \"NaN\", \"Infinity\" and \"-Infinity\"")
    })?;
    match value {
        Value::Object(_) if name.is_some() => {
            return Err(Failure::new(format!("input {source}: a named input needs a list or a number, not an object")));
        }
        Value::Object(members) => {
            out.extend(members.into_iter().map(|(name, value)| make(Some(&name), RawValue::Json(value))));
        }
        value => out.push(make(name, RawValue::Json(value))),
    }
    Ok(())
}

/// Gives every declared input its tensor: named ones first, then the others in graph order.
pub fn bind(raw: &[RawInput], slots: &[Slot]) -> Result<Vec<Tensor>, Failure> {
    let order = assign(raw, &slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>())?;
    let mut out = Vec::with_capacity(slots.len());
    for (slot, index) in slots.iter().zip(order) {
        let Some(index) = index else {
            let all: Vec<String> = slots.iter().map(Slot::to_string).collect();
            return Err(Failure::new(format!("input '{}' is missing; the model wants {}", slot.name, all.join(", ")))
                .next(format!("add --input {}=FILE", slot.name)));
        };
        out.push(raw[index].to_tensor(slot.dtype, Some(&slot.shape))?);
    }
    Ok(out)
}

/// Which raw input serves each of the named model inputs.
pub fn assign(raw: &[RawInput], names: &[&str]) -> Result<Vec<Option<usize>>, Failure> {
    let mut out = vec![None; names.len()];
    for (index, input) in raw.iter().enumerate() {
        let Some(name) = input.name() else { continue };
        let Some(at) = names.iter().position(|known| *known == name) else {
            return Err(Failure::new(format!("the model has no input '{name}'; its inputs are {}", names.join(", "))));
        };
        if out[at].replace(index).is_some() {
            return Err(Failure::new(format!("input '{name}' is given twice")));
        }
    }
    for index in (0..raw.len()).filter(|&index| raw[index].name.is_none()) {
        let Some(free) = out.iter_mut().find(|slot| slot.is_none()) else {
            return Err(Failure::new(format!(
                "{} inputs are given, the model has {}: {}",
                raw.len(),
                names.len(),
                names.join(", ")
            )));
        };
        *free = Some(index);
    }
    Ok(out)
}

/// The elements when the file's type is the declared one. A .npy file has no bfloat16: its bits come as u16.
fn as_declared(tensor: &Tensor, dtype: DType) -> Option<Data> {
    match (tensor.data(), dtype) {
        (Data::U16(bits), DType::BF16) => Some(Data::BF16(bits.clone())),
        (data, _) if data.dtype() == dtype => Some(data.clone()),
        _ => None,
    }
}

/// The shape of nested lists; ragged ones have none.
fn shape_of(value: &Value) -> Result<Vec<usize>, String> {
    let Value::Array(items) = value else { return Ok(Vec::new()) };
    let Some((first, rest)) = items.split_first() else { return Ok(vec![0]) };
    let inner = shape_of(first)?;
    for item in rest {
        let other = shape_of(item)?;
        if other != inner {
            return Err(format!("the list is ragged: parts of shape {inner:?} and {other:?}"));
        }
    }
    Ok([&[items.len()], inner.as_slice()].concat())
}

fn flatten<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, out)),
        leaf => out.push(leaf),
    }
}

fn convert(flat: &[&Value], dtype: DType) -> Result<Data, String> {
    macro_rules! integers {
        ($variant:ident, $t:ty) => {
            Data::$variant(each(flat, dtype, |value| <$t>::try_from(integer(value)?).ok())?)
        };
    }
    Ok(match dtype {
        DType::F32 => Data::F32(each(flat, dtype, |v| kept_finite(v, |x| f64::from(x as f32)).map(|x| x as f32))?),
        DType::F64 => Data::F64(each(flat, dtype, float)?),
        DType::F16 => Data::F16(each(flat, dtype, |v| {
            let round = |x| f64::from(half::f16_to_f32(half::f64_to_f16(x)));
            kept_finite(v, round).map(half::f64_to_f16)
        })?),
        DType::BF16 => Data::BF16(each(flat, dtype, |v| {
            let round = |x| f64::from(half::bf16_to_f32(half::f64_to_bf16(x)));
            kept_finite(v, round).map(half::f64_to_bf16)
        })?),
        DType::I8 => integers!(I8, i8),
        DType::I16 => integers!(I16, i16),
        DType::I32 => integers!(I32, i32),
        DType::I64 => integers!(I64, i64),
        DType::U8 => integers!(U8, u8),
        DType::U16 => integers!(U16, u16),
        DType::U32 => integers!(U32, u32),
        DType::U64 => integers!(U64, u64),
        DType::Bool => Data::Bool(each(flat, dtype, |v| match integer(v)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })?),
    })
}

fn each<T>(flat: &[&Value], dtype: DType, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, String> {
    flat.iter()
        .enumerate()
        .map(|(index, value)| {
            read(value).ok_or_else(|| format!("element {index} is {value}, which {dtype} cannot hold"))
        })
        .collect()
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(text) => match text.as_str() {
            "NaN" | "nan" => Some(f64::NAN),
            "Infinity" | "+Infinity" | "inf" | "+inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A float that does not turn into an infinity by rounding to the narrower type.
fn kept_finite(value: &Value, round: impl Fn(f64) -> f64) -> Option<f64> {
    float(value).filter(|&x| !x.is_finite() || round(x).is_finite())
}

/// An integer of any width; a float counts when it has no fraction and is exact.
fn integer(value: &Value) -> Option<i128> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    match value {
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            whole.or_else(|| number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= EXACT_MAX).map(|x| x as i128))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn raw(name: Option<&str>, value: Value) -> RawInput {
        RawInput { source: "x.json".into(), name: name.map(str::to_owned), value: RawValue::Json(value) }
    }

    fn slot(name: &str, dtype: DType, shape: &[usize]) -> Slot {
        Slot { name: name.into(), dtype, shape: shape.into() }
    }

    fn refused(value: Value, dtype: DType, shape: &[usize]) -> String {
        bind(&[raw(None, value)], &[slot("x", dtype, shape)]).unwrap_err().to_string()
    }

    #[test]
    fn json_numbers_take_the_declared_type() {
        let bound =
            |value, dtype, shape: &[usize]| bind(&[raw(None, value)], &[slot("x", dtype, shape)]).unwrap().remove(0);
        let floats = bound(json!([[1, 2.5, true], ["NaN", "Infinity", "-Infinity"]]), DType::F32, &[2, 3]);
        let got = floats.as_f32().unwrap();
        assert_eq!(got[..3], [1.0, 2.5, 1.0]);
        assert!(got[3].is_nan() && got[4] == f32::INFINITY && got[5] == f32::NEG_INFINITY);
        let ints = bound(json!([i64::MIN, -1, 2.0, u64::MAX >> 1]), DType::I64, &[4]);
        assert_eq!(ints.as_i64().unwrap(), [i64::MIN, -1, 2, i64::MAX]);
        assert_eq!(bound(json!(u64::MAX), DType::U64, &[]).as_u64().unwrap(), [u64::MAX]);
        assert_eq!(bound(json!([true, 0, 1.0]), DType::Bool, &[3]).as_bool().unwrap(), [true, false, true]);
        assert_eq!(bound(json!([1.0]), DType::F16, &[1]).data(), &Data::F16(vec![0x3c00]));
        assert_eq!(bound(json!([1.0]), DType::BF16, &[1]).data(), &Data::BF16(vec![0x3f80]));
        assert_eq!(bound(json!([[], []]), DType::F32, &[2, 0]).len(), 0);
    }

    #[test]
    fn what_the_declared_type_cannot_hold_is_refused() {
        for (value, dtype) in [
            (json!([1.5]), DType::I32),
            (json!([256]), DType::U8),
            (json!([-1]), DType::U64),
            (json!([2]), DType::Bool),
            (json!(["NaN"]), DType::I64),
            (json!(["one"]), DType::F32),
            (json!([null]), DType::F64),
            (json!([{}]), DType::F32),
            (json!([1e39]), DType::F32),
            (json!([70000.0]), DType::F16),
        ] {
            let cause = refused(value.clone(), dtype, &[1]);
            assert!(cause.contains("element 0") && cause.contains(dtype.name()), "{value}: {cause}");
        }
    }

    #[test]
    fn shapes_are_checked_and_a_batch_of_one_is_added() {
        let slots = [slot("x", DType::I32, &[1, 2])];
        for value in [json!([[1, 2]]), json!([1, 2])] {
            assert_eq!(bind(&[raw(None, value)], &slots).unwrap()[0].shape(), [1, 2]);
        }
        assert!(refused(json!([1, 2, 3]), DType::I32, &[1, 2]).contains("shape [3]"));
        assert!(refused(json!([1, 2]), DType::I32, &[2, 1]).contains("i32[2,1]"));
        assert!(refused(json!([[1], [1, 2]]), DType::I32, &[2, 1]).contains("ragged"));
        assert!(refused(json!([[1], 2]), DType::I32, &[2, 1]).contains("ragged"));
    }

    #[test]
    fn names_go_first_and_the_rest_in_order() {
        let slots = [slot("a", DType::I8, &[]), slot("b", DType::I8, &[]), slot("c", DType::I8, &[])];
        let tensors = bind(&[raw(None, json!(1)), raw(Some("a"), json!(2)), raw(None, json!(3))], &slots).unwrap();
        let values: Vec<i8> = tensors.iter().map(|t| t.as_i8().unwrap()[0]).collect();
        assert_eq!(values, [2, 1, 3]);
        for (inputs, expected) in [
            (vec![raw(Some("d"), json!(1))], "no input 'd'"),
            (vec![raw(Some("a"), json!(1)), raw(Some("a"), json!(1))], "given twice"),
            (vec![raw(None, json!(1)); 4], "4 inputs are given"),
            (vec![raw(None, json!(1)); 2], "input 'c' is missing"),
        ] {
            let cause = bind(&inputs, &slots).unwrap_err().to_string();
            assert!(cause.contains(expected), "{cause}");
        }
    }

    #[test]
    fn files_are_told_apart_by_their_bytes() {
        let tensor = Tensor::from_i32([2], vec![7, 8]).unwrap();
        let mut out = Vec::new();
        parse(Some("x"), "from stdin", &npy::write(&tensor), &mut out).unwrap();
        parse(None, "all.json", br#"{"y": [1], "z": 2}"#, &mut out).unwrap();
        let names: Vec<_> = out.iter().map(RawInput::name).collect();
        assert_eq!(names, [Some("x"), Some("y"), Some("z")]);
        assert_eq!(out[0].to_tensor(DType::I32, None).unwrap(), tensor);
        assert!(out[0].to_tensor(DType::I64, None).unwrap_err().to_string().contains("holds i32"));
        for (name, source, bytes) in [
            (None, "x.npy", b"[1]".as_slice()),
            (None, "x.json", b"[NaN]"),
            (Some("x"), "x.json", b"{}"),
            (None, "-", b""),
        ] {
            assert!(parse(name, source, bytes, &mut Vec::new()).is_err(), "{source}");
        }
    }

    proptest! {
        #[test]
        fn a_shape_is_the_one_the_list_was_built_with(shape in prop::collection::vec(1usize..4, 0..4)) {
            fn build(shape: &[usize]) -> Value {
                match shape.split_first() {
                    Some((&n, rest)) => Value::Array(vec![build(rest); n]),
                    None => json!(0),
                }
            }
            prop_assert_eq!(shape_of(&build(&shape)), Ok(shape));
        }
    }
}
