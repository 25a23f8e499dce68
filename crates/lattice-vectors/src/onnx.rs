//! ONNX's vectors: folders with a `model.onnx` and data sets beside it (`test_data_set_N/input_I.pb` and `output_I.pb`), as
//! the node tests of the onnx package and the ONNX model zoo have them.
//!
//! Every case either agrees within the tolerance of ONNX's own runner, or the importer refuses it: that is a skip, listed by
//! operator and reason. What it imports must also survive its own encoding.

use crate::{
    files,
    report::{Report, Verdict},
};
use alloy_primitives::{B256, b256, keccak256};
use lattice_import::{ImportError, ImportOptions, declared_inputs, import_onnx, read_onnx_tensor};
use lattice_inference::{DType, Data, Graph, Model, Tensor, Tolerance};
use rayon::prelude::*;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The name that makes a folder a case.
const MODEL_FILE: &str = "model.onnx";

/// Cases of the onnx package whose stored results are not followed, by the hashes of their models.
const NOT_FOLLOWED: &[(B256, &str)] = &[
    // A window that reaches past the padding; ONNX Runtime and PyTorch divide by the part inside.
    (b256!("aa46ab89991d980a44e9a65e0fe246a768182dfbca66c2c99f4e3b41bb0aea87"), UNDIVIDED),
    // int8, two and three dimensions, scales of f16 and f32; -236 is stored as 20.
    (b256!("872e1f7296ae24d82277e57773875eabed8cf279e802197e024dfa10bb289afb"), WRAPPED),
    (b256!("bd1316ad2f223fd854cf4a1834e6a7c5702c1addf4bd443aa3a48f9e68d767c3"), WRAPPED),
    (b256!("32fc22be20d2ac1955a4df6b10664f0528ea15907c9006de2b8aef03b0298cbc"), WRAPPED),
    (b256!("d71f2f32742be63f991595162de336a4a100c97b2b717adc75b2bd6a2dacbbbd"), WRAPPED),
];
const UNDIVIDED: &str = "AveragePool: the stored result divides by more than the padded window";
const WRAPPED: &str = "QLinearMatMul: the stored result wraps around where the definition saturates";

/// An integer operand with more elements is data, not a parameter such as axes, a shape or a count.
const PARAMETER_ELEMENTS_MAX: usize = 16;

/// Named tensors in graph order.
type Tensors = Vec<(String, Tensor)>;

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Report {
    let mut report = Report::default();
    let found = match files::below(dir) {
        Ok(found) => found,
        Err(error) => {
            report.note("onnx", dir.display(), Verdict::Failed(error.to_string()));
            return report;
        }
    };
    let models = found.into_par_iter().filter(|path| path.file_name().is_some_and(|name| name == MODEL_FILE));
    let verdicts: Vec<(PathBuf, Verdict)> = models
        .map(|model| {
            let folder = model.parent().unwrap_or(dir).to_path_buf();
            let verdict = catch_unwind(AssertUnwindSafe(|| case(&model, &folder)));
            (folder, verdict.unwrap_or_else(|_| Verdict::Failed("panicked; its message is above".into())))
        })
        .collect();
    for (folder, verdict) in verdicts {
        report.note("onnx", files::shown(&folder, dir), verdict);
    }
    report
}

/// A case passes when each of its data sets does.
fn case(model: &Path, folder: &Path) -> Verdict {
    let read = fs::read(model).and_then(|bytes| Ok((bytes, data_sets(folder)?)));
    let (bytes, sets) = match read {
        Ok(read) => read,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    if sets.is_empty() {
        return Verdict::Skipped("no data set (test_data_set_N) beside the model".into());
    }
    for set in sets {
        match data_set(&bytes, &set) {
            Verdict::Passed => {}
            Verdict::Failed(cause) => {
                let hash = keccak256(&bytes);
                let known = NOT_FOLLOWED.iter().find(|(model, _)| *model == hash);
                return known.map_or(Verdict::Failed(cause), |(_, reason)| Verdict::Skipped((*reason).into()));
            }
            skipped @ Verdict::Skipped(_) => return skipped,
        }
    }
    Verdict::Passed
}

fn data_sets(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("test_data_set_") && entry.path().is_dir() {
            sets.push(entry.path());
        }
    }
    sets.sort();
    Ok(sets)
}

/// The tensors `PREFIX_0.pb`, `PREFIX_1.pb`, ...; the inner error is a tensor that we do not read.
fn tensors(set: &Path, prefix: &str) -> std::io::Result<Result<Tensors, ImportError>> {
    let paths = (0..).map(|i| set.join(format!("{prefix}_{i}.pb"))).take_while(|path| path.exists());
    let mut tensors = Vec::new();
    for path in paths {
        match read_onnx_tensor(&fs::read(path)?) {
            Ok(tensor) => tensors.push(tensor),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(tensors))
}

fn data_set(bytes: &[u8], set: &Path) -> Verdict {
    let read = tensors(set, "input").and_then(|inputs| Ok((inputs, tensors(set, "output")?)));
    let (mut inputs, outputs) = match read {
        Ok((Ok(inputs), Ok(outputs))) => (inputs, outputs),
        // The importer's refusal names the operator; where it has none, the tensor is what is refused.
        Ok((Err(error), _) | (_, Err(error))) => {
            return Verdict::Skipped(reason_of(&import_onnx(bytes, &ImportOptions::default()).err().unwrap_or(error)));
        }
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    if outputs.is_empty() {
        return Verdict::Failed(format!("{} holds no output_0.pb", set.display()));
    }
    match declared_inputs(bytes) {
        Ok(declared) => name_by_position(&mut inputs, &declared.into_iter().map(|d| d.name).collect::<Vec<_>>()),
        Err(error) => return Verdict::Skipped(reason_of(&error)),
    }
    match import(bytes, &inputs) {
        Ok((graph, inputs)) => compare(graph, &inputs, &outputs).map_or(Verdict::Passed, Verdict::Failed),
        Err(error) => Verdict::Skipped(reason_of(&error)),
    }
}

/// A tensor whose own name is no input of the model serves the input at its position.
fn name_by_position(inputs: &mut Tensors, declared: &[String]) {
    for (position, (name, _)) in inputs.iter_mut().enumerate() {
        if !declared.contains(name)
            && let Some(own) = declared.get(position)
        {
            own.clone_into(name);
        }
    }
}

/// The frozen graph, and the inputs that are left to give it.
///
/// Parameters that ONNX makes operands (axes, shapes, counts) must be known at import. So nothing is bound at first; then
/// small integers; then everything but the first operand; then all.
fn import(bytes: &[u8], inputs: &Tensors) -> Result<(Graph, Vec<Tensor>), ImportError> {
    let is_parameter = |i: usize, t: &Tensor| i > 0 && t.len() <= PARAMETER_ELEMENTS_MAX && !t.dtype().is_float();
    let attempt = |binds: &dyn Fn(usize, &Tensor) -> bool| {
        let (bound, left): (Vec<_>, Vec<_>) = inputs.iter().enumerate().partition(|(i, (_, t))| binds(*i, t));
        let constants = bound.into_iter().map(|(_, input)| input.clone()).collect();
        let shapes = left.iter().map(|(_, (name, t))| (name.clone(), t.shape().to_vec())).collect();
        let graph = import_onnx(bytes, &ImportOptions { shapes, constants, ..ImportOptions::default() })?;
        let left = left.iter().map(|(_, (_, t))| t);
        let left = graph.inputs().iter().zip(left).map(|(info, t)| from_test_data(t, info.dtype)).collect();
        Ok((graph, left))
    };
    let parameters = attempt(&|_, _| false).or_else(|_| attempt(&is_parameter));
    // The last refusal is not for want of a constant.
    parameters.or_else(|_| attempt(&|i, _| i > 0)).or_else(|_| attempt(&|_, _| true))
}

/// The package's data store bfloat16 as u16.
fn from_test_data(tensor: &Tensor, dtype: DType) -> Tensor {
    match tensor.data() {
        Data::U16(bits) if dtype == DType::BF16 => retyped(tensor, Data::BF16(bits.clone())),
        _ => tensor.clone(),
    }
}

fn as_test_data(tensor: &Tensor, stored: DType) -> Tensor {
    match tensor.data() {
        Data::BF16(bits) if stored == DType::U16 => retyped(tensor, Data::U16(bits.clone())),
        _ => tensor.clone(),
    }
}

fn retyped(tensor: &Tensor, data: Data) -> Tensor {
    Tensor::new(tensor.shape(), data).expect("as many elements as before, of the same size")
}

/// What differs, if something does.
fn compare(graph: Graph, inputs: &[Tensor], wanted: &Tensors) -> Option<String> {
    let encoded = graph.encode();
    match Graph::decode(&encoded) {
        Ok(decoded) if decoded == graph && decoded.encode() == encoded => {}
        other => return Some(format!("the frozen graph's encoding does not round-trip: {:?}", other.err())),
    }
    let run = |model: Model| model.run(inputs).map_err(|error| error.to_string());
    let got = match Model::load(graph).map_err(|error| error.to_string()).and_then(run) {
        Ok(got) => got,
        Err(cause) => return Some(cause),
    };
    if got.len() != wanted.len() {
        return Some(format!("the model has {} outputs, the data set {}", got.len(), wanted.len()));
    }
    got.iter().zip(wanted).find_map(|(got, (name, wanted))| {
        let is_half = wanted.dtype().size_bytes() == 2 && wanted.dtype().is_float();
        let tolerance = Tolerance { absolute: 1e-6, relative: if is_half { 1e-2 } else { 1e-3 } };
        let difference = as_test_data(got, wanted.dtype()).difference(wanted, tolerance)?;
        Some(format!("output '{name}': {difference}"))
    })
}

/// A refusal by operator first, without the names of nodes and tensors, so that equal ones are counted together.
fn reason_of(error: &ImportError) -> String {
    match error {
        ImportError::UnsupportedOperator { operator, .. } => format!("{operator}: the operator is not supported"),
        ImportError::Node { operator, reason, .. } => format!("{operator}: {reason}"),
        ImportError::Input { reason, .. } => format!("an input: {reason}"),
        ImportError::Initializer { reason, .. } => format!("a tensor: {reason}"),
        other => other.to_string(),
    }
}
