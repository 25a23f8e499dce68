//! A small writer of ONNX's protobuf, so that tests can make files no exporter would.

/// Bytes of a message under construction.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub fn int(mut self, field: u64, v: i64) -> Message {
        self.varint(field << 3);
        self.varint(v as u64);
        self
    }

    pub fn bytes(mut self, field: u64, v: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend_from_slice(v);
        self
    }

    pub fn text(self, field: u64, v: &str) -> Message {
        self.bytes(field, v.as_bytes())
    }

    pub fn message(self, field: u64, v: &Message) -> Message {
        self.bytes(field, &v.0)
    }

    pub fn messages(self, field: u64, list: &[Message]) -> Message {
        list.iter().fold(self, |m, v| m.message(field, v))
    }
}

/// A node with its operands, results and attributes (as messages).
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    let m = outputs.iter().fold(m, |m, o| m.text(2, o));
    m.text(3, &format!("the_{}", op.to_lowercase())).text(4, op).messages(5, attributes)
}

/// An integer attribute.
pub fn int(name: &str, v: i64) -> Message {
    Message::default().text(1, name).int(3, v).int(20, 2)
}

/// A graph attribute.
pub fn graph_attribute(name: &str, graph: &Message) -> Message {
    Message::default().text(1, name).message(6, graph).int(20, 5)
}

/// An input or output: element type code and dimensions; a negative one is dynamic, named after its absolute value.
pub fn value(name: &str, dtype: i64, dims: &[i64]) -> Message {
    let dim = |&d: &i64| match d {
        d if d < 0 => Message::default().text(2, &format!("dim{}", -d)),
        d => Message::default().int(1, d),
    };
    let shape = Message::default().messages(1, &dims.iter().map(dim).collect::<Vec<_>>());
    let tensor = Message::default().int(1, dtype).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// A tensor of raw bytes.
pub fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Message {
    let m = dims.iter().fold(Message::default(), |m, &d| m.int(1, d));
    m.int(2, dtype).text(8, name).bytes(9, raw)
}

/// i64 values as a tensor.
pub fn i64s(name: &str, values: &[i64]) -> Message {
    tensor(name, 7, &[values.len() as i64], &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

pub fn graph(nodes: &[Message], inputs: &[Message], outputs: &[Message], initializers: &[Message]) -> Message {
    let m = Message::default().messages(1, nodes).text(2, "g").messages(5, initializers);
    m.messages(11, inputs).messages(12, outputs)
}

/// A file of operator set 17.
pub fn model(graph: &Message) -> Vec<u8> {
    Message::default().int(1, 8).message(7, graph).message(8, &Message::default().text(1, "").int(2, 17)).0
}
