//! Whole models keep their bits: one line a model, the same on every CPU.
//!
//! The models are those of [`crate::oracle_models`], with inputs of our own; `tests/fixtures/models.txt` holds their lines. After a
//! change that is meant: `LATTICE_BLESS=1 cargo test -p lattice-import bits`. Where a CPU is emulated, `LATTICE_MACS_MAX`
//! leaves out the models that would take minutes there.

use crate::oracle_models::{folders, open};
use crate::support::{keeps, numbers};
use alloy_primitives::keccak256;
use lattice_inference::{Model, Tensor};

#[test]
fn models_keep_their_bits() {
    let Some(folders) = folders() else { return };
    let macs_max = std::env::var("LATTICE_MACS_MAX").map_or(u64::MAX, |max| max.parse().unwrap());
    let mut lines = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy();
        // Quantised on this machine, by scales that its own float runtime measured: not the same bytes everywhere.
        if name.ends_with("_qdq") || name.ends_with("_operators") {
            continue;
        }
        let (graph, _) = open(&folder).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        if graph.cost().macs > macs_max {
            continue;
        }
        let id = graph.model_id();
        let inputs = |special| graph.inputs().iter().map(|i| numbers(i.dtype, &i.shape, special)).collect::<Vec<_>>();
        let (plain, special) = (inputs(false), inputs(true));
        let model = Model::load(graph).unwrap();
        let hash = |inputs: &[Tensor]| {
            keccak256(model.run(inputs).unwrap().iter().flat_map(Tensor::to_bytes).collect::<Vec<u8>>())
        };
        lines.push(format!("{name} graph {id} output {} special {}", hash(&plain), hash(&special)));
    }
    assert!(!lines.is_empty(), "no model is small enough for LATTICE_MACS_MAX={macs_max}");
    keeps("models.txt", &lines);
}
