//! What PEFT (<https://github.com/huggingface/peft>) saves: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Read: plain LoRA of linear layers and of convolutions in one group, rank and alpha patterns, rsLoRA's scale
//! (Kalajdzievski, 2023). Whatever would change the result in another way is refused by the name of its setting.

use super::{Adapter, AdapterError, Update, safetensors};
use lattice_inference::Tensor;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Settings that must be absent, null, false or empty, and what they ask for.
const REFUSED: &[(&str, &str)] = &[
    ("use_dora", "weight-decomposed adapters (DoRA)"),
    ("use_qalora", "quantisation-aware adapters (QALoRA)"),
    ("use_bdlora", "block-diagonal adapters"),
    ("lora_bias", "a bias beside factor B"),
    ("modules_to_save", "modules trained whole"),
    ("trainable_token_indices", "retrained tokens"),
    ("target_parameters", "adapters on bare parameters"),
    ("layer_replication", "replicated layers"),
    ("megatron_config", "Megatron's parallel layers"),
    ("alora_invocation_tokens", "adapters that begin at a token"),
    ("arrow_config", "routed adapters"),
    ("velora_config", "VeLoRA"),
    ("monteclora_config", "MonteCLoRA"),
    ("kasa_config", "KaSA"),
];
/// Ways to begin training that leave the base's weights as they are; the others subtract something from them.
const INITIALISATIONS: &[&str] = &["gaussian", "orthogonal", "eva"];
/// What PEFT puts before the path of a module.
const PREFIX: &str = "base_model.model.";

pub(super) fn read(config: &[u8], weights: &[u8]) -> Result<Adapter, AdapterError> {
    let config = Config::read(config).map_err(AdapterError::Config)?;
    let mut factors: BTreeMap<String, [Option<Tensor>; 2]> = BTreeMap::new();
    for (key, tensor) in safetensors::read(weights)? {
        let (module, second) = module_of(&key).map_err(AdapterError::Safetensors)?;
        factors.entry(module.to_owned()).or_default()[usize::from(second)] = Some(tensor);
    }
    let mut updates = Vec::with_capacity(factors.len());
    for (module, factors) in factors {
        let wrong = |reason: &str| AdapterError::Module { module: module.clone(), reason: reason.into() };
        let [Some(a), Some(b)] = factors else { return Err(wrong("it has one of lora_A and lora_B only")) };
        let (a, b) = (flat(a).map_err(|e| wrong(&e))?, flat(b).map_err(|e| wrong(&e))?);
        let scale = config.scale(&module, a.shape()[0]).map_err(|e| wrong(&e))?;
        updates.push(Update { module, scale, a, b });
    }
    if updates.is_empty() {
        return Err(AdapterError::Safetensors("the file holds no lora_A and lora_B".into()));
    }
    Adapter::new(updates)
}

/// The module of `base_model.model.<module>.lora_A[.<name>].weight`, and whether it is factor B.
fn module_of(key: &str) -> Result<(&str, bool), String> {
    for (what, meaning) in [
        ("lora_magnitude_vector", "weight-decomposed adapters (DoRA) are not supported"),
        ("lora_embedding_", "adapters on embeddings are not supported"),
        (".bias", "trained biases are not supported: train with bias=\"none\""),
    ] {
        if key.contains(what) {
            return Err(format!("'{key}': {meaning}"));
        }
    }
    let path = key.strip_prefix(PREFIX).unwrap_or(key);
    for (mark, second) in [(".lora_A.", false), (".lora_B.", true)] {
        if let Some((module, rest)) = path.split_once(mark)
            && (rest == "weight" || rest.ends_with(".weight"))
        {
            return Ok((module, second));
        }
    }
    Err(format!("'{key}' is no factor of an adapter: only lora_A.weight and lora_B.weight are supported"))
}

/// A factor as a matrix: the kernel of a convolution's A joins its inputs, that of B has one element.
fn flat(tensor: Tensor) -> Result<Tensor, String> {
    let (&rows, columns) = tensor.shape().split_first().ok_or("a factor is a scalar")?;
    let shape = [rows, columns.iter().product()];
    Tensor::new(shape, tensor.into_data()).map_err(|e| e.to_string())
}

struct Config {
    rank: f64,
    alpha: f64,
    ranks: BTreeMap<String, f64>,
    alphas: BTreeMap<String, f64>,
    rank_stabilised: bool,
}

impl Config {
    fn read(text: &[u8]) -> Result<Config, String> {
        let value: Value = serde_json::from_slice(text).map_err(|e| format!("it is no JSON: {e}"))?;
        let config = value.as_object().ok_or("it is no JSON object")?;
        match config.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => return Err(format!("peft_type is {}; only LORA is supported", other.unwrap_or("missing"))),
        }
        if let Some((key, what)) = REFUSED.iter().find(|(key, _)| config.get(*key).is_some_and(is_set)) {
            return Err(format!("'{key}' is set: {what} are not supported"));
        }
        match config.get("bias").and_then(Value::as_str) {
            None | Some("none") => {}
            Some(other) => return Err(format!("'bias' is \"{other}\": trained biases are not supported")),
        }
        match config.get("init_lora_weights") {
            Some(Value::String(how)) if !INITIALISATIONS.contains(&how.as_str()) => {
                return Err(format!(
                    "'init_lora_weights' is \"{how}\", which changes the base's weights: convert the adapter to plain LoRA when you save it"
                ));
            }
            _ => {}
        }
        let number = |key: &str| positive(config.get(key)).ok_or_else(|| format!("'{key}' must be a positive number"));
        let pattern = |key: &str| pattern(config, key);
        Ok(Config {
            rank: number("r")?,
            alpha: number("lora_alpha")?,
            ranks: pattern("rank_pattern")?,
            alphas: pattern("alpha_pattern")?,
            rank_stabilised: config.get("use_rslora").is_some_and(is_set),
        })
    }

    /// alpha / rank, or alpha / sqrt(rank): computed in f64 by correctly rounded operations, then rounded to f32.
    fn scale(&self, module: &str, rank: usize) -> Result<f32, String> {
        let stated = matching(&self.ranks, module).unwrap_or(self.rank);
        if stated != rank as f64 {
            return Err(format!("the configuration says rank {stated}, factor A has {rank}"));
        }
        let alpha = matching(&self.alphas, module).unwrap_or(self.alpha);
        Ok((alpha / if self.rank_stabilised { stated.sqrt() } else { stated }) as f32)
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn positive(value: Option<&Value>) -> Option<f64> {
    value?.as_f64().filter(|number| *number > 0.0 && number.is_finite())
}

/// A pattern from module names to numbers. PEFT takes regular expressions; plain names are what everybody writes.
fn pattern(config: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, f64>, String> {
    let empty = Map::new();
    let entries = match config.get(key) {
        None | Some(Value::Null) => &empty,
        Some(value) => value.as_object().ok_or_else(|| format!("'{key}' is no JSON object"))?,
    };
    let mut out = BTreeMap::new();
    for (name, value) in entries {
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') {
            return Err(format!("'{key}': \"{name}\" is a regular expression: write the modules' names instead"));
        }
        let number = positive(Some(value)).ok_or_else(|| format!("'{key}': \"{name}\" must be a positive number"))?;
        out.insert(name.clone(), number);
    }
    Ok(out)
}

/// The number of the longest name that the module's path ends with.
fn matching(pattern: &BTreeMap<String, f64>, module: &str) -> Option<f64> {
    let ends = |name: &str| module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    pattern.iter().filter(|(name, _)| ends(name)).max_by_key(|(name, _)| name.len()).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(extra: &str) -> Result<Config, String> {
        Config::read(format!(r#"{{"peft_type":"LORA","r":4,"lora_alpha":16{extra}}}"#).as_bytes())
    }

    #[test]
    fn scales_follow_rank_alpha_and_patterns() {
        assert_eq!(config("").unwrap().scale("a.q_proj", 4), Ok(4.0));
        assert_eq!(config(r#","use_rslora":true"#).unwrap().scale("q", 4), Ok(8.0));
        let c = config(r#","rank_pattern":{"q_proj":8},"alpha_pattern":{"q_proj":2,"b.q_proj":24}"#).unwrap();
        assert_eq!(c.scale("a.q_proj", 8), Ok(0.25));
        assert_eq!(c.scale("b.q_proj", 8), Ok(3.0));
        assert_eq!(c.scale("a.seq_proj", 4), Ok(4.0));
        assert!(c.scale("a.q_proj", 4).unwrap_err().contains("says rank 8"));
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_name() {
        for (extra, reason) in [
            (r#","use_dora":true"#, "DoRA"),
            (r#","bias":"all""#, "biases"),
            (r#","init_lora_weights":"pissa_niter_4""#, "changes the base"),
            (r#","modules_to_save":["head"]"#, "modules_to_save"),
            (r#","rank_pattern":{"^q.*":8}"#, "regular expression"),
            (r#","lora_alpha":0"#, "lora_alpha"),
        ] {
            let got = config(extra).err().unwrap();
            assert!(got.contains(reason), "{extra}: {got}");
        }
        assert!(config(r#","use_dora":false,"modules_to_save":null,"bias":"none","init_lora_weights":true"#).is_ok());
        assert!(Config::read(br#"{"peft_type":"IA3"}"#).err().unwrap().contains("only LORA"));
        for (key, reason) in [
            ("base_model.model.q.lora_magnitude_vector.weight", "DoRA"),
            ("base_model.model.emb.lora_embedding_A", "embeddings"),
            ("base_model.model.head.weight", "no factor"),
            ("base_model.model.q.lora_B.bias", "biases"),
        ] {
            assert!(module_of(key).unwrap_err().contains(reason), "{key}");
        }
        assert_eq!(module_of("base_model.model.a.q.lora_B.default.weight"), Ok(("a.q", true)));
    }
}
