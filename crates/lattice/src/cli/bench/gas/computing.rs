//! AI work: TENSOR_OP, MODEL_LOAD, MODEL_EXEC.

use super::{
    Plan, Row, calling,
    lab::{Lab, timed},
    turn,
};
use crate::failure::Failure;
use lattice_chain::ModelStore;
use lattice_execution::ai::load_gas;
use lattice_inference::{DType, Graph};
use lattice_storage::ArtifactStore;
use lattice_types::{limits::ARTIFACT_BYTES_MAX, system};
use std::sync::Arc;

const I8: u8 = 1;
const I32: u8 = 2;
const F32: u8 = 3;

/// Operation, its code, its types.
const OPERATIONS: [(&str, u8, &[u8]); 10] = [
    ("add", 1, &[I8, I32, F32]),
    ("mul", 2, &[I8, I32, F32]),
    ("matmul", 3, &[I8, I32, F32]),
    ("dot", 4, &[I8, I32, F32]),
    ("relu", 5, &[I8, I32, F32]),
    ("softmax", 6, &[F32]),
    ("layernorm", 7, &[F32]),
    ("argmax", 8, &[I8, I32, F32]),
    ("quantise", 9, &[F32]),
    ("dequantise", 10, &[I8, I32]),
];
/// Shapes of products: square, a row by a matrix, thin ones, a long chain.
const PRODUCTS: [[u32; 3]; 6] = [[1, 1, 1], [64, 64, 64], [1, 256, 256], [256, 1, 256], [3, 4096, 1], [128, 128, 128]];
/// Shapes of everything else: one element, a vector, a matrix, many short rows, a long row.
const ROWS: [[u32; 3]; 5] = [[1, 1, 1], [1, 64, 1], [64, 64, 1], [16_384, 1, 1], [1, 16_384, 1]];

/// Which numbers the operands are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// Between -1 and 1.
    Ordinary,
    /// Below f32's normal range: many cores take a hundred cycles for what takes one otherwise.
    Subnormal,
}

impl Numbers {
    fn at(self, index: usize) -> [u8; 4] {
        let mixed = (index as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 9;
        match self {
            Self::Ordinary => (mixed as f32 / 4_194_304.0 - 1.0).to_le_bytes(),
            Self::Subnormal => f32::from_bits(mixed | 1).to_le_bytes(),
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Ordinary => "",
            Self::Subnormal => ", subnormal",
        }
    }
}

/// The input of a TENSOR_OP.
fn input(code: u8, ty: u8, [m, k, n]: [u32; 3], numbers: Numbers) -> Vec<u8> {
    let mut input = vec![code, ty, 0, 0];
    input.extend([m, k, n].iter().flat_map(|dim| dim.to_le_bytes()));
    match code {
        7 => input.extend(1e-5f32.to_le_bytes()),
        9 | 10 => input.extend([0.037f32.to_le_bytes(), 3i32.to_le_bytes()].concat()),
        _ => {}
    }
    let size = if ty == I8 { 1 } else { 4 };
    let elements = match code {
        3 => m * k + k * n,
        1 | 2 | 4 => 2 * m * k,
        _ => m * k,
    } as usize;
    input.extend(
        (0..elements).flat_map(|index| numbers.at(index).into_iter().skip(if size == 1 { 1 } else { 0 }).take(size)),
    );
    input
}

/// TENSOR_OP: every operation, type and shape.
pub(super) fn tensors(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let lab = Lab::new(Vec::new())?;
    let mut rows = Vec::new();
    for (operation, code, types) in OPERATIONS {
        for &ty in types {
            for shape in if code == 3 { &PRODUCTS[..] } else { &ROWS[..] } {
                let kind = ["i8", "i32", "f32"][usize::from(ty) - 1];
                let small = *shape == [1, 1, 1];
                let both = [Numbers::Ordinary, Numbers::Subnormal];
                for numbers in if ty == F32 && !small { &both[..] } else { &both[..1] } {
                    let [m, k, n] = shape;
                    let name = format!("TENSOR_OP {operation} {kind} {m}x{k}x{n}{}", numbers.suffix());
                    if plan.wants(&name) {
                        let input = input(code, ty, *shape, *numbers);
                        let body = calling(system::TENSOR_OP, input.len());
                        rows.push(turn(plan, &lab, "compute", name, &body, &input)?);
                    }
                }
            }
        }
    }
    Ok(rows)
}

/// MODEL_LOAD and MODEL_EXEC of each model.
pub(super) fn models(plan: &Plan, graphs: &[(String, Graph)]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (name, graph) in graphs {
        let mut lab = Lab::new(vec![graph.clone()])?;
        lab.deploy(graph, name)?;
        let id = graph.model_id();
        for numbers in [Numbers::Ordinary, Numbers::Subnormal] {
            let exec = format!("MODEL_EXEC {name}{}", numbers.suffix());
            if plan.wants(&exec) {
                let input = [id.as_slice(), &tensors_of(graph, numbers)].concat();
                rows.push(turn(plan, &lab, "compute", exec, &calling(system::MODEL_EXEC, input.len()), &input)?);
            }
        }
        let warm = format!("MODEL_LOAD {name}, again");
        if plan.wants(&warm) {
            rows.push(turn(plan, &lab, "load", warm, &calling(system::MODEL_LOAD, 32), id.as_slice())?);
        }
        let cold = format!("MODEL_LOAD {name}, cold");
        if plan.wants(&cold) {
            rows.push(cold_load(plan, cold, graph)?);
        }
    }
    Ok(rows)
}

/// Input bytes that every model takes: zeros where numbers may mean positions, which have to be in range.
fn tensors_of(graph: &Graph, numbers: Numbers) -> Vec<u8> {
    let bytes = graph.inputs().iter().flat_map(|input| match input.dtype {
        DType::F32 => (0..input.elements()).flat_map(|index| numbers.at(index)).collect(),
        _ => vec![0; input.bytes()],
    });
    bytes.collect()
}

/// What a node does that holds the artifact on disk and not the model in memory.
fn cold_load(plan: &Plan, name: String, graph: &Graph) -> Result<Row, Failure> {
    let dir = tempfile::tempdir().map_err(|error| Failure::new(format!("no temporary directory: {error}")))?;
    let failure = |error: &dyn std::fmt::Display| Failure::new(format!("{name}: {error}"));
    let store = ArtifactStore::open(dir.path(), ARTIFACT_BYTES_MAX).map_err(|error| failure(&error))?;
    let bytes = graph.encode();
    let (cid, _) = store.put(&bytes).map_err(|error| failure(&error))?;
    let id = graph.model_id();
    let models = ModelStore::new(Arc::new(store));
    models.signature(&id, &cid).map_err(|error| failure(&error))?;
    let ms = plan.samples(|| {
        models.forget();
        let (loaded, cpu) = timed(|| models.signature(&id, &cid));
        loaded.map(|_| cpu).map_err(|error| failure(&error))
    })?;
    let gas = load_gas(bytes.len() as u64);
    Ok(Row::new("load", name, gas, ms))
}
