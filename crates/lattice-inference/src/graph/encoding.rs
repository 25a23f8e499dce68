//! Canonical bytes of a frozen graph.
//!
//! Little-endian throughout:
//! ```text
//! "LATG" | version u16 | class u8 ('F' or 'Q', as the nodes make it)
//! inputs:    count u32, each: name, dtype u8, dims
//! constants: count u32, each: name, dtype u8, dims, elements raw
//! nodes:     count u32, each: operator u16, attributes, operands (count u16, value number u32 each)
//! outputs:   count u32, each: name, value number u32
//! name:       length u16, UTF-8        dims: rank u8, u64 each
//! attributes: count u8, each: tag u8 (0 int, 1 float, 2 ints), i64 | f32 bits | count u16, i64 each
//! ```
//! There is one way to write each part, so decoding and encoding again gives the same bytes.

use super::{Constant, Graph, NumericClass, ValueInfo};
use crate::error::DecodeError;
use crate::limits::{ATTRIBUTE_INTS_MAX, NAME_BYTES_MAX, RANK_MAX};
use crate::ops::{Attribute, Attributes, spec_by_code};
use crate::tensor::{DType, Data, Tensor, element_count};
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"LATG";
/// Version of the encoding that this build writes and reads.
pub const VERSION: u16 = 1;

pub(super) fn encode(graph: &Graph) -> Vec<u8> {
    let weights: usize = graph.constants.iter().map(|c| c.tensor.size_bytes() + 64).sum();
    let mut out = Vec::with_capacity(256 + weights + graph.nodes.len() * 32);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.push(graph.class.code());
    put_count(&mut out, graph.inputs.len());
    for input in &graph.inputs {
        put_name(&mut out, &input.name);
        put_type(&mut out, input.dtype, &input.shape);
    }
    put_count(&mut out, graph.constants.len());
    for constant in &graph.constants {
        put_name(&mut out, &constant.name);
        put_type(&mut out, constant.tensor.dtype(), constant.tensor.shape());
        constant.tensor.data().append_le_bytes(&mut out);
    }
    put_count(&mut out, graph.nodes.len());
    for node in &graph.nodes {
        out.extend_from_slice(&node.op.code.to_le_bytes());
        put_attributes(&mut out, &node.attributes);
        out.extend_from_slice(&(node.inputs.len() as u16).to_le_bytes());
        node.inputs.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
    }
    put_count(&mut out, graph.outputs.len());
    for (output, value) in graph.outputs.iter().zip(&graph.output_values) {
        put_name(&mut out, &output.name);
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn put_type(out: &mut Vec<u8>, dtype: DType, shape: &[usize]) {
    out.push(dtype.code());
    out.push(shape.len() as u8);
    shape.iter().for_each(|&dim| out.extend_from_slice(&(dim as u64).to_le_bytes()));
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    out.push(attributes.as_slice().len() as u8);
    for attribute in attributes.as_slice() {
        match attribute {
            Attribute::Int(v) => {
                out.push(0);
                out.extend_from_slice(&v.to_le_bytes());
            }
            Attribute::Float(v) => {
                out.push(1);
                out.extend_from_slice(&v.to_bits().to_le_bytes());
            }
            Attribute::Ints(values) => {
                out.push(2);
                out.extend_from_slice(&(values.len() as u16).to_le_bytes());
                values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
            }
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Graph, DecodeError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Magic)?;
    let mut r = Reader { bytes, at: bytes.len() - rest.len() };
    match r.u16("version")? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let code = r.u8("numeric class")?;
    let class = NumericClass::from_code(code)
        .ok_or_else(|| r.wrong("numeric class", format!("{code:#x} is not known; this build knows 'F' and 'Q'")))?;
    let inputs = r.list("input", 4, |r| {
        let name = r.name()?;
        let (dtype, shape) = r.tensor_type()?;
        Ok(ValueInfo { name, dtype, shape })
    })?;
    let constants = r.list("constant", 4, |r| {
        let name = r.name()?;
        let (dtype, shape) = r.tensor_type()?;
        Ok(Constant { name, tensor: Arc::new(r.elements(dtype, shape)?) })
    })?;
    let parts = r.list("node", 5, |r| {
        let code = r.u16("operator code")?;
        let op = spec_by_code(code).ok_or_else(|| r.wrong("operator code", format!("{code:#06x} is not known")))?;
        let attributes = r.attributes()?;
        let count = r.u16("operand count")?;
        let operands = (0..count).map(|_| r.u32("operand")).collect::<Result<Vec<_>, _>>()?;
        Ok((op, attributes, operands))
    })?;
    let outputs = r.list("output", 6, |r| Ok((r.name()?, r.u32("output value")?)))?;
    if r.at != bytes.len() {
        return Err(DecodeError::TrailingBytes(bytes.len() - r.at));
    }
    let graph = Graph::assemble(inputs, constants, parts, outputs)?;
    if graph.class != class {
        let reason = format!("it says {class}, but its nodes are of class {}", graph.class);
        return Err(r.wrong("numeric class", reason));
    }
    Ok(graph)
}

/// A cursor that never reads past the end and never allocates more than the bytes left could fill.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str, reason: String) -> DecodeError {
        DecodeError::Field { what, offset: self.at, reason }
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(DecodeError::Truncated {
            offset: self.at,
            wanted: len - rest.len().min(len),
            what,
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N, what)?.try_into().expect("take gives the length asked for"))
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A counted list whose items take at least `bytes_min` each.
    fn list<T>(
        &mut self,
        what: &'static str,
        bytes_min: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32(what)? as usize;
        let left = self.bytes.len() - self.at;
        let wanted = count.saturating_mul(bytes_min);
        if wanted > left {
            return Err(DecodeError::Truncated { offset: self.at, wanted: wanted - left, what });
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn name(&mut self) -> Result<String, DecodeError> {
        let len = usize::from(self.u16("name length")?);
        if len > NAME_BYTES_MAX {
            return Err(self.wrong("name", format!("{len} bytes; at most {NAME_BYTES_MAX} are allowed")));
        }
        let bytes = self.take(len, "name")?;
        core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| self.wrong("name", "it is not UTF-8".into()))
    }

    fn tensor_type(&mut self) -> Result<(DType, Vec<usize>), DecodeError> {
        let code = self.u8("element type")?;
        let dtype =
            DType::from_code(code).ok_or_else(|| self.wrong("element type", format!("code {code} is not known")))?;
        let rank = usize::from(self.u8("rank")?);
        if rank > RANK_MAX {
            return Err(self.wrong("rank", format!("{rank}; at most {RANK_MAX} is allowed")));
        }
        let mut shape = Vec::with_capacity(rank);
        for _ in 0..rank {
            let dim = self.u64("dimension")?;
            shape.push(usize::try_from(dim).map_err(|_| self.wrong("dimension", format!("{dim} is too large")))?);
        }
        element_count(dtype, &shape).map_err(|e| self.wrong("shape", e.to_string()))?;
        Ok((dtype, shape))
    }

    fn elements(&mut self, dtype: DType, shape: Vec<usize>) -> Result<Tensor, DecodeError> {
        let len = element_count(dtype, &shape).map_err(|e| self.wrong("shape", e.to_string()))?;
        let bytes = self.take(len * dtype.size_bytes(), "constant elements")?;
        let data = Data::from_le_bytes(dtype, bytes).map_err(|e| self.wrong("constant elements", e.to_string()))?;
        Tensor::new(shape, data).map_err(|e| self.wrong("constant", e.to_string()))
    }

    fn attributes(&mut self) -> Result<Attributes, DecodeError> {
        let count = self.u8("attribute count")?;
        let mut attributes = Attributes::none();
        for _ in 0..count {
            attributes = match self.u8("attribute tag")? {
                0 => attributes.int(i64::from_le_bytes(self.array("integer attribute")?)),
                1 => attributes.float(f32::from_bits(self.u32("number attribute")?)),
                2 => {
                    let len = usize::from(self.u16("attribute length")?);
                    if len > ATTRIBUTE_INTS_MAX {
                        return Err(self
                            .wrong("attribute", format!("{len} integers; at most {ATTRIBUTE_INTS_MAX} are allowed")));
                    }
                    let bytes = self.take(len * 8, "integers attribute")?;
                    let read = |c: &[u8]| i64::from_le_bytes(c.try_into().expect("chunks_exact gives 8 bytes"));
                    attributes.ints(bytes.chunks_exact(8).map(read))
                }
                tag => return Err(self.wrong("attribute tag", format!("{tag} is not known"))),
            };
        }
        Ok(attributes)
    }
}
