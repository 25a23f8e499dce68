//! Loops whose course is known at import become straight graphs; others are refused.

use crate::onnx_file::{Message, graph, graph_attribute, int, model, node, tensor, value};
use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Model, Tensor};

const F32: i64 = 1;
const I64: i64 = 7;
const BOOL: i64 = 9;

/// Adds the turn's number to what is carried and stacks its square; goes on as `condition` says.
fn body(condition: Message) -> Message {
    let nodes = [
        condition,
        node("Cast", &["i"], &["f"], &[int("to", F32)]),
        node("Add", &["a", "f"], &["sum"], &[]),
        node("Mul", &["sum", "sum"], &["square"], &[]),
    ];
    let inputs = [value("i", I64, &[]), value("c", BOOL, &[]), value("a", F32, &[2])];
    let outputs = [value("c1", BOOL, &[]), value("sum", F32, &[2]), value("square", F32, &[2])];
    graph(&nodes, &inputs, &outputs, &[tensor("two", I64, &[], &2i64.to_le_bytes())])
}

/// A loop over x f32[2] with initialisers `n` = 3, `yes` and `no`.
fn looping(inputs: &[&str], condition: Message) -> Vec<u8> {
    let attribute = graph_attribute("body", &body(condition));
    let nodes = [node("Loop", inputs, &["y", "squares"], &[attribute])];
    let outputs = [value("y", F32, &[2]), value("squares", F32, &[-1, 2])];
    let constants =
        [tensor("n", I64, &[], &3i64.to_le_bytes()), tensor("yes", BOOL, &[], &[1]), tensor("no", BOOL, &[], &[0])];
    model(&graph(&nodes, &[value("x", F32, &[2])], &outputs, &constants))
}

fn keep_on() -> Message {
    node("Identity", &["c"], &["c1"], &[])
}

fn run(file: &[u8]) -> Vec<Tensor> {
    let graph = import_onnx(file, &ImportOptions::default()).unwrap();
    Model::load(graph).unwrap().run(&[Tensor::from_f32([2], vec![1.0, 2.0]).unwrap()]).unwrap()
}

#[test]
fn counted_and_conditional_loops_unroll() {
    let squares = [1.0, 4.0, 4.0, 9.0, 16.0, 25.0];
    let less = || node("Less", &["i", "two"], &["c1"], &[]);
    let stops_at_once = || node("Not", &["c"], &["c1"], &[]);
    for file in [
        looping(&["n", "", "x"], keep_on()),
        looping(&["n", "yes", "x"], keep_on()),
        looping(&["", "yes", "x"], less()),
        // No condition to start with: the body's does not count.
        looping(&["n", "", "x"], stops_at_once()),
    ] {
        let results = run(&file);
        assert_eq!(results[0].as_f32().unwrap(), [4.0, 5.0]);
        assert_eq!((results[1].shape(), results[1].as_f32().unwrap()), (&[3usize, 2][..], &squares[..]));
    }
    assert_eq!(run(&looping(&["n", "yes", "x"], stops_at_once()))[1].shape(), [1, 2]);
}

#[test]
fn endless_and_data_dependent_loops_are_refused() {
    let refused = |file: &[u8]| import_onnx(file, &ImportOptions::default()).unwrap_err().to_string();
    let endless = refused(&looping(&["", "yes", "x"], keep_on()));
    assert!(endless.contains("Loop") && endless.contains("unroll to more than"), "{endless}");
    let never = refused(&looping(&["n", "no", "x"], keep_on()));
    assert!(never.contains("no turn"), "{never}");
    let by_data = node("Cast", &["a0"], &["c1"], &[int("to", BOOL)]);
    let first = node("ReduceMax", &["a"], &["a0"], &[int("keepdims", 0)]);
    let mut nested = body(by_data);
    nested.0.splice(0..0, Message::default().message(1, &first).0);
    let nodes = [node("Loop", &["n", "yes", "x"], &["y", "squares"], &[graph_attribute("body", &nested)])];
    let constants = [tensor("n", I64, &[], &3i64.to_le_bytes()), tensor("yes", BOOL, &[], &[1])];
    let outputs = [value("y", F32, &[2])];
    let depends = refused(&model(&graph(&nodes, &[value("x", F32, &[2])], &outputs, &constants)));
    assert!(depends.contains("condition depends on the input data"), "{depends}");
}
