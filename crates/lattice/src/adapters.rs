//! LoRA adapters from files: what PEFT saves, or an adapter in canonical form.

use crate::failure::{Failure, read_file};
use lattice_inference::Graph;
use lattice_training::{Adapter, AdapterError, Composition};
use std::path::{Path, PathBuf};

/// Bytes that every canonical adapter begins with.
const MAGIC: &[u8] = b"LATA";
/// The files of a folder that PEFT's `save_pretrained` writes.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// `DIR|FILE[:WEIGHT]`, or an id with a weight.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// Folder, file or id.
    pub source: String,
    /// Factor of the update.
    pub weight: f32,
}

impl std::str::FromStr for Weighted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, weight) = match text.rsplit_once(':') {
            // A colon may be part of a path.
            Some((source, weight)) if weight.parse::<f32>().is_ok() => (source, weight),
            _ => (text, "1"),
        };
        match weight.parse::<f32>() {
            Ok(weight) if weight.is_finite() && weight != 0.0 => Ok(Self { source: source.to_owned(), weight }),
            _ => Err(format!("{weight} is no weight: write one like 0.5 or -1")),
        }
    }
}

/// Whether a path is an adapter and not a model.
pub fn is_adapter(path: &Path) -> bool {
    let begins = || std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(MAGIC));
    path.is_dir() || path.extension().is_some_and(|end| end == "safetensors") || begins()
}

/// Reads an adapter: a folder as PEFT saves it, its safetensors file, or a canonical file.
pub fn read(path: &Path) -> Result<Adapter, Failure> {
    let folder_weights = |folder: &Path| -> Result<(PathBuf, PathBuf), Failure> {
        if folder.join("adapter_model.bin").exists() && !folder.join(WEIGHTS).exists() {
            let failure = Failure::new(format!("{}: adapter_model.bin is a pickle", folder.display()));
            return Err(failure.next("save the adapter with safe_serialization=True"));
        }
        Ok((folder.join(CONFIG), folder.join(WEIGHTS)))
    };
    let refused = |error: AdapterError| Failure::new(format!("{}: {error}", path.display()));
    let (config, weights) = if path.is_dir() {
        folder_weights(path)?
    } else {
        let bytes = read_file(path)?;
        if bytes.starts_with(MAGIC) {
            return Adapter::decode(&bytes).map_err(refused);
        }
        (path.with_file_name(CONFIG), path.to_owned())
    };
    Adapter::from_peft(&read_file(&config)?, &read_file(&weights)?).map_err(refused)
}

/// The graph with all of the adapters merged in, in their order, their ranks concatenated.
pub fn merge(graph: &Graph, adapters: &[Weighted]) -> Result<Graph, Failure> {
    let read: Vec<Adapter> = adapters.iter().map(|one| read(Path::new(&one.source))).collect::<Result<_, _>>()?;
    let parts: Vec<(&Adapter, f32)> = read.iter().zip(adapters.iter().map(|one| one.weight)).collect();
    let failed = |error: AdapterError| {
        Failure::new(error.to_string()).next("`lattice model inspect FILE` lists the modules that adapters can update")
    };
    let one = Adapter::compose(Composition::Cat, &parts).map_err(failed)?;
    one.merge(graph).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_weight_follows_the_last_colon() {
        let parse = |text: &str| text.parse::<Weighted>().map(|one| (one.source, one.weight));
        assert_eq!(parse("style"), Ok(("style".into(), 1.0)));
        assert_eq!(parse("a/style:0.5"), Ok(("a/style".into(), 0.5)));
        assert_eq!(parse("c:/style:-1"), Ok(("c:/style".into(), -1.0)));
        assert_eq!(parse("c:/style"), Ok(("c:/style".into(), 1.0)));
        for text in ["style:0", "style:nan", "style:inf"] {
            assert!(parse(text).unwrap_err().contains("no weight"), "{text}");
        }
    }
}
