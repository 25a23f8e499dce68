//! What a run gave, for programs and for people.

use super::type_text;
use lattice_inference::{Data, Tensor};
use serde::{Serialize, Serializer, ser::SerializeSeq};

/// Elements that [`summary`] shows.
const SHOWN_MAX: usize = 10;

/// A tensor with its name. As JSON: `{"name", "dtype", "shape", "data"}`, the data flat and row-major, each float in the
/// shortest digits that give its bits back, NaN and infinities as strings.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name of the model's output.
    pub name: String,
    /// Its value.
    pub tensor: Tensor,
}

impl Serialize for NamedTensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            name: &'a str,
            dtype: &'static str,
            shape: &'a [usize],
            data: Elements<'a>,
        }
        let Self { name, tensor } = self;
        let data = Elements(tensor);
        Json { name, dtype: tensor.dtype().name(), shape: tensor.shape(), data }.serialize(serializer)
    }
}

struct Elements<'a>(&'a Tensor);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        match self.0.data() {
            Data::F32(v) => v.iter().try_for_each(|&x| float(&mut seq, x, f64::from(x)))?,
            Data::F64(v) => v.iter().try_for_each(|&x| float(&mut seq, x, x))?,
            // Exact in f32, and shorter there.
            Data::F16(_) | Data::BF16(_) => {
                self.0.to_f64s().into_iter().try_for_each(|x| float(&mut seq, x as f32, x))?;
            }
            Data::I8(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::I16(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::I32(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::I64(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::U8(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::U16(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::U32(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::U64(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
            Data::Bool(v) => v.iter().try_for_each(|x| seq.serialize_element(x))?,
        }
        seq.end()
    }
}

fn float<Q: SerializeSeq, T: Serialize>(seq: &mut Q, value: T, wide: f64) -> Result<(), Q::Error> {
    match not_finite(wide) {
        Some(word) => seq.serialize_element(word),
        None => seq.serialize_element(&value),
    }
}

/// The word for a float that JSON has no number for.
fn not_finite(x: f64) -> Option<&'static str> {
    match x {
        _ if x.is_finite() => None,
        _ if x.is_nan() => Some("NaN"),
        _ if x > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

/// Index of the greatest element, the first of equals; NaN never wins.
pub fn argmax(tensor: &Tensor) -> Option<usize> {
    let values = tensor.to_f64s();
    let mut best = None;
    for (index, &value) in values.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|at: usize| value > values[at]) {
            best = Some(index);
        }
    }
    best
}

/// One line about an output: its type, its first elements and, for one row of floats, the greatest.
pub fn summary(output: &NamedTensor) -> String {
    let tensor = &output.tensor;
    let shown: Vec<String> = match tensor.to_i64s() {
        Some(values) => values.iter().take(SHOWN_MAX).map(ToString::to_string).collect(),
        None => tensor.to_f64s().iter().take(SHOWN_MAX).map(|x| format!("{x:.6}")).collect(),
    };
    let more = if tensor.len() > shown.len() { ", …" } else { "" };
    let mut line =
        format!("{} {} = [{}{more}]", output.name, type_text(tensor.dtype(), tensor.shape()), shown.join(", "));
    let one_row = tensor.shape().last().is_some_and(|&last| last == tensor.len() && last > 1);
    if let (true, true, Some(at)) = (one_row, tensor.dtype().is_float(), argmax(tensor)) {
        line.push_str(&format!("\n  greatest: {:.6} at index {at}", tensor.to_f64s()[at]));
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn named(tensor: Tensor) -> NamedTensor {
        NamedTensor { name: "y".into(), tensor }
    }

    #[test]
    fn json_has_flat_data_beside_the_shape() {
        let tensor = Tensor::from_f32([1, 4], vec![0.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).unwrap();
        let text = serde_json::to_string(&named(tensor)).unwrap();
        assert_eq!(text, r#"{"name":"y","dtype":"f32","shape":[1,4],"data":[0.1,"NaN","Infinity","-Infinity"]}"#);
        let text = serde_json::to_string(&named(Tensor::from_u64([1], vec![u64::MAX]).unwrap())).unwrap();
        assert!(text.contains("18446744073709551615"), "{text}");
        let text = serde_json::to_string(&named(Tensor::new([1], Data::F16(vec![0x3c00])).unwrap())).unwrap();
        assert!(text.ends_with(r#""data":[1.0]}"#), "{text}");
    }

    #[test]
    fn the_greatest_is_the_first_and_never_nan() {
        let of = |v: Vec<f32>| argmax(&Tensor::from_f32([v.len()], v).unwrap());
        assert_eq!(of(vec![f32::NAN, 1.0, 3.0, 3.0]), Some(2));
        assert_eq!(of(vec![f32::NEG_INFINITY]), Some(0));
        assert_eq!(of(vec![]), None);
        let line = summary(&named(Tensor::from_f32([1, 2], vec![0.25, 0.75]).unwrap()));
        assert_eq!(line, "y f32[1,2] = [0.250000, 0.750000]\n  greatest: 0.750000 at index 1");
        assert!(summary(&named(Tensor::from_i64([20], vec![5; 20]).unwrap())).ends_with("5, …]"));
    }

    proptest! {
        #[test]
        fn printed_floats_give_their_bits_back(bits: u32) {
            let x = f32::from_bits(bits);
            let text = serde_json::to_string(&Elements(&Tensor::from_f32([1], vec![x]).unwrap())).unwrap();
            let back: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            match back[0].as_f64() {
                Some(back) => prop_assert_eq!((back as f32).to_bits(), bits),
                None => prop_assert!(!x.is_finite()),
            }
        }
    }
}
