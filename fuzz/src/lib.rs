//! What the fuzzers run: one function a door that takes bytes from strangers.
//!
//! A function returns when all is well and panics when a rule is broken. Refusing the input is well; panicking on it,
//! running out of the declared bounds or accepting it in two different ways is not.

mod decode;
pub mod disputes;
mod evm;
mod models;

/// A target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. `fuzz_targets/` has one file for each, `seeds/` a folder.
pub const TARGETS: &[Target] = &[
    ("transaction", decode::transaction),
    ("ai_payload", decode::ai_payload),
    ("dag_block", decode::dag_block),
    ("message", decode::message),
    ("state_diff", decode::state_diff),
    ("artifact_manifest", decode::artifact_manifest),
    ("onnx", models::onnx),
    ("tflite", models::tflite),
    ("graph", models::graph),
    ("npy", models::npy),
    ("opening", disputes::opening),
    ("door", evm::door),
    ("container", evm::container),
    ("assembler", evm::assembler),
];

/// Runs the target with that name.
///
/// # Panics
/// When there is none, or when the input breaks a rule.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("the target is in TARGETS");
    target(data);
}
