//! Tiny ONNX files, written as protobuf by hand.

/// Element types of onnx.proto.
pub const FLOAT: u8 = 1;
pub const INT64: u8 = 7;

/// A length-delimited field.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 0x4000, "two bytes of length are enough for tests");
    let length = [(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8];
    [&[number << 3 | 2], length.as_slice(), body].concat()
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// A dimension: fixed, or a name.
pub enum Dim {
    Fixed(u8),
    Open(&'static str),
}

/// A graph input or output.
pub fn value(name: &str, dtype: u8, dims: &[Dim]) -> Vec<u8> {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(size) => field(1, &number(1, *size)),
        Dim::Open(name) => field(1, &field(2, name.as_bytes())),
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, dtype), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A model of one node.
pub fn model(operator: &str, inputs: &[&str], values: &[Vec<u8>]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    node.extend(field(2, b"y"));
    node.extend(field(4, operator.as_bytes()));
    let mut graph = field(1, &node);
    graph.extend(field(2, b"test"));
    graph.extend(values.iter().flat_map(|value| field(11, value)));
    graph.extend(field(12, &field(1, b"y")));
    [number(1, 8), field(8, &number(2, 17)), field(7, &graph)].concat()
}

/// A node: operator, operands, result, and graphs as attributes by their names.
fn node(operator: &str, inputs: &[&str], output: &str, graphs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    node.extend(field(2, output.as_bytes()));
    node.extend(field(4, operator.as_bytes()));
    for (name, graph) in graphs {
        // Attribute: name, graph, and its kind (field 20, GRAPH = 5).
        let attribute = [field(1, name.as_bytes()), field(6, graph), vec![0xa0, 0x01, 5]].concat();
        node.extend(field(5, &attribute));
    }
    node
}

/// Inputs x f32[N] and rate, a scalar i64. Outputs `rest` and then `y`: x + x when the rate is 7 and x * x otherwise. Both
/// branches are there, and only a rate that is known at import tells which one is meant.
pub fn branches() -> Vec<u8> {
    let branch = |operator: &str, result: &str| {
        let graph = [field(1, &node(operator, &["x", "x"], result, &[])), field(2, b"branch")].concat();
        [graph, field(12, &field(1, result.as_bytes()))].concat()
    };
    let seven = [number(2, INT64), field(8, b"seven"), field(9, &7i64.to_le_bytes())].concat();
    let arms = [("then_branch", branch("Add", "a")), ("else_branch", branch("Mul", "b"))];
    let nodes = [
        node("Equal", &["rate", "seven"], "is_seven", &[]),
        node("If", &["is_seven"], "y", &arms),
        node("Neg", &["x"], "rest", &[]),
    ];
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| field(1, node)).collect();
    graph.extend(field(2, b"test"));
    graph.extend(field(5, &seven));
    graph.extend(field(11, &value("x", FLOAT, &[Dim::Open("N")])));
    graph.extend(field(11, &value("rate", INT64, &[])));
    graph.extend(field(12, &field(1, b"rest")));
    graph.extend(field(12, &field(1, b"y")));
    [number(1, 8), field(8, &number(2, 17)), field(7, &graph)].concat()
}
