//! Files that must be refused, each with an error that names the place and the reason.

use crate::onnx_file::{Message, graph, graph_attribute, i64s, int, model, node, tensor, value};
use lattice_import::{ImportError, ImportOptions, import_onnx};
use lattice_inference::{Model, Tensor};

const F32: i64 = 1;

fn refusal(file: &[u8]) -> String {
    import_onnx(file, &ImportOptions::default()).unwrap_err().to_string()
}

/// One node from x f32[2, 3] to y, with initialisers.
fn one(n: Message, initializers: &[Message]) -> Vec<u8> {
    model(&graph(&[n], &[value("x", F32, &[2, 3])], &[value("y", F32, &[2, 3])], initializers))
}

#[track_caller]
fn assert_refused(file: &[u8], parts: &[&str]) {
    let got = refusal(file);
    assert!(parts.iter().all(|p| got.contains(p)), "{got}");
}

#[test]
fn a_plain_file_is_accepted() {
    import_onnx(&one(node("Relu", &["x"], &["y"], &[]), &[]), &ImportOptions::default()).unwrap();
}

#[test]
fn unknown_operators_and_domains_are_named() {
    assert_refused(
        &one(node("NonMaxSuppression", &["x"], &["y"], &[]), &[]),
        &["the_nonmaxsuppression", "operator NonMaxSuppression is not supported"],
    );
    assert_refused(
        &one(node("Relu", &["x"], &["y"], &[]).text(7, "my.domain"), &[]),
        &["my.domain.Relu is not supported"],
    );
}

#[test]
fn an_operand_that_nobody_reads_is_named() {
    assert_refused(&one(node("Relu", &["x", "x"], &["y"], &[]), &[]), &["the_relu", "operand 1 is given"]);
}

#[test]
fn truncated_files_never_pass() {
    let file = one(node("Add", &["x", "w"], &["y"], &[]), &[tensor("w", F32, &[3], &[0; 12])]);
    import_onnx(&file, &ImportOptions::default()).unwrap();
    // The last field is the operator set's version; cutting anywhere takes something that is needed.
    for end in 0..file.len() {
        import_onnx(&file[..end], &ImportOptions::default()).unwrap_err();
    }
    assert_refused(b"", &["no ONNX graph"]);
    assert_refused(b"PK\x03\x04 not a model", &["not a readable ONNX file"]);
}

#[test]
fn wrong_wiring_is_named() {
    let x = [value("x", F32, &[2, 3])];
    let y = [value("y", F32, &[2, 3])];
    let cycle =
        [node("Add", &["x", "b"], &["a"], &[]), node("Relu", &["a"], &["b"], &[]), node("Relu", &["b"], &["y"], &[])];
    assert_refused(&model(&graph(&cycle, &x, &y, &[])), &["cycle", "the_add"]);
    assert_refused(&one(node("Add", &["x", "nowhere"], &["y"], &[]), &[]), &["'nowhere'", "neither an input"]);
    let twice = [node("Relu", &["x"], &["y"], &[]), node("Tanh", &["x"], &["y"], &[])];
    assert_refused(&model(&graph(&twice, &x, &y, &[])), &["'y' is computed twice"]);
    let unsorted = [node("Relu", &["a"], &["y"], &[]), node("Tanh", &["x"], &["a"], &[])];
    import_onnx(&model(&graph(&unsorted, &x, &y, &[])), &ImportOptions::default()).unwrap();
    let missing = [node("Relu", &["x"], &["z"], &[])];
    assert_refused(&model(&graph(&missing, &x, &y, &[])), &["output 'y' is computed by no node"]);
    assert_refused(&model(&graph(&missing, &x, &[], &[])), &["no outputs"]);
}

#[test]
fn wrong_initialisers_are_named() {
    let add = || node("Add", &["x", "w"], &["y"], &[]);
    assert_refused(&one(add(), &[tensor("w", F32, &[3], &[0; 11])]), &["tensor 'w'", "expected 12 bytes, got 11"]);
    assert_refused(&one(add(), &[tensor("w", F32, &[1 << 40, 1 << 40], &[])]), &["tensor 'w'", "limit"]);
    assert_refused(&one(add(), &[tensor("w", F32, &[-3], &[])]), &["tensor 'w'", "negative"]);
    assert_refused(&one(add(), &[tensor("w", 8, &[3], &[])]), &["tensor 'w'", "strings"]);
    assert_refused(&one(add(), &[tensor("w", F32, &[4], &[0; 16])]), &["the_add", "do not broadcast"]);
    let location = Message::default().text(1, "location").text(2, "weights.bin");
    let external = Message::default().int(1, 3).int(2, F32).text(8, "w").message(13, &location).int(14, 1);
    assert_refused(&one(add(), &[external]), &["tensor 'w'", "weights.bin"]);
}

#[test]
fn huge_shapes_cost_an_error_and_no_memory() {
    let expand = |dims: &[i64]| one(node("Expand", &["x", "s"], &["y"], &[]), &[i64s("s", dims)]);
    assert_refused(&expand(&[1 << 30, 2, 3]), &["the_expand", "limit"]);
    assert_refused(&expand(&[i64::MAX, i64::MAX, 2, 3]), &["the_expand"]);
    assert_refused(&expand(&[-5, 2, 3]), &["the_expand", "negative"]);
    let tile = one(node("Tile", &["x", "s"], &["y"], &[]), &[i64s("s", &[1 << 40, 1 << 40])]);
    assert_refused(&tile, &["the_tile"]);
    let pad = one(node("Pad", &["x", "s"], &["y"], &[]), &[i64s("s", &[i64::MAX, 0, i64::MAX, 0])]);
    assert_refused(&pad, &["the_pad"]);
    // Each tensor is within the limit, their sum at one step is not.
    let dims = [1 << 27];
    let nodes: Vec<Message> = (0..6).map(|i| node("Expand", &["x", "s"], &[&format!("a{i}")], &[])).collect();
    let sum = node("Sum", &["a0", "a1", "a2", "a3", "a4", "a5"], &["y"], &[]);
    let nodes: Vec<Message> = nodes.into_iter().chain([sum]).collect();
    let file = model(&graph(&nodes, &[value("x", F32, &[1])], &[value("y", F32, &dims)], &[i64s("s", &dims)]));
    assert_refused(&file, &["activation memory", "limit"]);
}

#[test]
fn open_dimensions_say_how_to_close_them() {
    let file = model(&graph(
        &[node("Relu", &["tokens"], &["y"], &[])],
        &[value("tokens", F32, &[-1, -2, 8])],
        &[value("y", F32, &[-1, -2, 8])],
        &[],
    ));
    assert_refused(&file, &["input 'tokens'", "dimension 1 ('dim2'", "--shape tokens=1,128,8"]);
    let with = |shape: &[usize]| {
        let mut options = ImportOptions::default();
        options.shapes.insert("tokens".into(), shape.to_vec());
        import_onnx(&file, &options)
    };
    assert_eq!(with(&[2, 5, 8]).unwrap().inputs()[0].shape, [2, 5, 8]);
    assert!(with(&[2, 5, 9]).unwrap_err().to_string().contains("the file declares [dim1, dim2, 8]"));
    let mut options = ImportOptions::default();
    options.shapes.insert("token".into(), vec![1]);
    assert!(import_onnx(&file, &options).unwrap_err().to_string().contains("its inputs are: tokens"));
}

#[test]
fn inputs_may_be_fixed_to_constants() {
    let file = model(&graph(
        &[node("Reshape", &["x", "s"], &["y"], &[])],
        &[value("x", F32, &[2, 3]), value("s", 7, &[2])],
        &[value("y", F32, &[-1, -2])],
        &[],
    ));
    assert_refused(&file, &["the_reshape", "depends on the input data"]);
    let mut options = ImportOptions::default();
    options.constants.insert("s".into(), Tensor::from_i64([2], vec![3, -1]).unwrap());
    let graph = import_onnx(&file, &options).unwrap();
    assert_eq!((graph.inputs().len(), graph.outputs()[0].shape.as_slice()), (1, [3, 2].as_slice()));
    options.constants.insert("s".into(), Tensor::from_i32([2], vec![3, 2]).unwrap());
    assert!(matches!(import_onnx(&file, &options), Err(ImportError::Input { .. })));
}

#[test]
fn wrong_attributes_and_types_are_named() {
    assert_refused(&one(node("Softmax", &["x"], &["y"], &[int("axis", 7)]), &[]), &["the_softmax", "axis 7"]);
    assert_refused(&one(node("Cast", &["x"], &["y"], &[int("to", 99)]), &[]), &["the_cast", "99"]);
    assert_refused(&one(node("Cast", &["x"], &["y"], &[int("to", 7)]), &[]), &["declared f32, but computed as i64"]);
    assert_refused(&one(node("MatMul", &["x", "x"], &["y"], &[]), &[]), &["the_matmul", "inner dimensions differ"]);
    assert_refused(&one(node("Add", &["x"], &["y"], &[]), &[]), &["the_add", "operand 1 is missing"]);
    let weights = tensor("w", F32, &[1, 1, 1], &[0; 4]);
    assert_refused(&one(node("Conv", &["x", "w"], &["y"], &[]), &[weights]), &["the_conv"]);
}

#[test]
fn deep_nesting_is_refused() {
    // If inside If inside If...
    let mut inner = graph(&[node("Relu", &["x"], &["y"], &[])], &[], &[value("y", F32, &[2, 3])], &[]);
    let condition = tensor("c", 9, &[], &[1]);
    for _ in 0..20 {
        let branches = [graph_attribute("then_branch", &inner), graph_attribute("else_branch", &inner)];
        inner = graph(&[node("If", &["c"], &["y"], &branches[..1])], &[], &[value("y", F32, &[2, 3])], &[]);
    }
    let file = one(node("If", &["c"], &["y"], &[graph_attribute("then_branch", &inner)]), &[condition]);
    let got = refusal(&file);
    assert!(got.contains("nest") || got.contains("recursion"), "{got}");
}

#[test]
fn functions_that_multiply_are_refused() {
    // f0 calls f1 sixteen times, f1 calls f2 sixteen times, ...
    let function = |i: usize| {
        let call = |k: usize| {
            let input = if k == 0 { "a".to_string() } else { format!("t{k}") };
            node(&format!("f{}", i + 1), &[&input], &[&format!("t{}", k + 1)], &[]).text(7, "local")
        };
        let nodes: Vec<Message> = match i {
            9 => vec![node("Relu", &["a"], &["t16"], &[])],
            _ => (0..16).map(call).collect(),
        };
        let f = Message::default().text(1, &format!("f{i}")).text(4, "a").text(5, "t16").messages(7, &nodes);
        f.text(10, "local").message(9, &Message::default().text(1, "").int(2, 17))
    };
    let main = one(node("f0", &["x"], &["y"], &[]).text(7, "local"), &[]);
    let functions: Vec<Message> = (0..10).map(function).collect();
    let file = Message(main).messages(25, &functions).0;
    assert_refused(&file, &["more than", "nodes"]);
    // One level of the same is fine.
    let main = one(node("f8", &["x"], &["y"], &[]).text(7, "local"), &[]);
    let file = Message(main).messages(25, &[function(8), function(9)]).0;
    assert_eq!(import_onnx(&file, &ImportOptions::default()).unwrap().operators()["Relu"], 16);
}

#[test]
fn hostile_scales_are_named() {
    let scales = [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for bytes in scales.map(f32::to_le_bytes) {
        for (operator, from, to) in [("QuantizeLinear", F32, 2), ("DequantizeLinear", 2, F32)] {
            let node = node(operator, &["x", "s"], &["y"], &[]);
            let graph = graph(
                &[node],
                &[value("x", from, &[2, 3])],
                &[value("y", to, &[2, 3])],
                &[tensor("s", F32, &[], &bytes)],
            );
            let name = format!("the_{}", operator.to_lowercase());
            assert_refused(&model(&graph), &[&name, "scale must be above 0 and finite"]);
        }
    }
    // Far apart, but each of them good: what integers cannot hold stays in floats.
    for (s, t) in [(f32::MAX, f32::MIN_POSITIVE), (f32::MIN_POSITIVE, f32::MAX), (1e-45, 1e-45)] {
        let nodes = [
            node("DequantizeLinear", &["x", "s"], &["a"], &[]),
            node("Mul", &["a", "a"], &["b"], &[]),
            node("QuantizeLinear", &["b", "t"], &["y"], &[]),
        ];
        let scales = [tensor("s", F32, &[], &s.to_le_bytes()), tensor("t", F32, &[], &t.to_le_bytes())];
        let file = model(&graph(&nodes, &[value("x", 2, &[4])], &[value("y", 2, &[4])], &scales));
        let graph = import_onnx(&file, &ImportOptions::default()).unwrap();
        let x = Tensor::from_u8([4], vec![0, 1, 2, 255]).unwrap();
        let y = Model::load(graph).unwrap().run(&[x]).unwrap().remove(0);
        let square = |v: f32| ((v * s) * (v * s) / t).round_ties_even().min(255.0) as u8;
        assert_eq!(y.as_u8().unwrap(), [0.0, 1.0, 2.0, 255.0].map(square), "{s:e} {t:e}");
    }
}
