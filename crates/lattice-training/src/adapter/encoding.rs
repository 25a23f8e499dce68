//! Canonical bytes of an adapter.
//!
//! Little-endian throughout:
//! ```text
//! "LATA" | version u16 | count u32, then for each update, modules strictly ascending:
//! module: length u16, UTF-8 | scale f32 | element type u8 | rank u32 | inputs u32 | outputs u32 | A raw | B raw
//! ```

use super::{Adapter, AdapterError, Update};
use crate::bytes::{Cursor, put_name};
use lattice_inference::DType;

const MAGIC: &[u8; 4] = b"LATA";
/// Version of the encoding that this build writes and reads.
pub const VERSION: u16 = 1;

pub(super) fn encode(adapter: &Adapter) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    put_updates(&mut out, &adapter.updates);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Adapter, AdapterError> {
    let mut cursor = Cursor::open(bytes, MAGIC, VERSION).map_err(AdapterError::Decode)?;
    let updates = updates(&mut cursor).map_err(AdapterError::Decode)?;
    cursor.finish().map_err(AdapterError::Decode)?;
    if !updates.is_sorted_by(|a, b| a.module < b.module) {
        return Err(AdapterError::Decode("modules must be strictly ascending".into()));
    }
    Adapter::new(updates)
}

pub(super) fn put_updates(out: &mut Vec<u8>, updates: &[Update]) {
    out.extend_from_slice(&(updates.len() as u32).to_le_bytes());
    for update in updates {
        put_name(out, &update.module);
        out.extend_from_slice(&update.scale.to_bits().to_le_bytes());
        out.push(update.dtype().code());
        for size in [update.rank(), update.inputs(), update.outputs()] {
            out.extend_from_slice(&(size as u32).to_le_bytes());
        }
        update.a.append_bytes(out);
        update.b.append_bytes(out);
    }
}

pub(super) fn updates(cursor: &mut Cursor<'_>) -> Result<Vec<Update>, String> {
    let count = cursor.u32("the number of updates")?;
    let mut updates = Vec::new();
    for _ in 0..count {
        let module = cursor.name("a module's path")?;
        let scale = cursor.f32("a scale")?;
        let code = cursor.u8("an element type")?;
        let dtype = DType::from_code(code).ok_or_else(|| format!("element type {code} is not known"))?;
        let mut size = |what| cursor.u32(what).map(|size| size as usize);
        let (rank, inputs, outputs) = (size("a rank")?, size("the inputs")?, size("the outputs")?);
        let a = cursor.tensor(dtype, &[rank, inputs], "factor A")?;
        let b = cursor.tensor(dtype, &[outputs, rank], "factor B")?;
        updates.push(Update { module, scale, a, b });
    }
    Ok(updates)
}
