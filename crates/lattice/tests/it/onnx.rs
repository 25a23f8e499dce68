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
