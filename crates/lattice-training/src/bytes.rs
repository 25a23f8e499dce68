//! A cursor over little-endian bytes that never reads past their end, for the canonical forms of adapters, training states,
//! data sets and openings. It never allocates more than the bytes left could fill.

use lattice_inference::{DType, Data, Tensor, element_count, limits::NAME_BYTES_MAX};

/// A position in bytes. Errors say what was being read and where.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Begins behind `magic` and a version, which must be the ones given.
    pub(crate) fn open(bytes: &'a [u8], magic: &[u8; 4], version: u16) -> Result<Cursor<'a>, String> {
        if !bytes.starts_with(magic) {
            return Err(format!("it must begin with \"{}\"", String::from_utf8_lossy(magic)));
        }
        let mut cursor = Cursor { bytes, at: magic.len() };
        match cursor.u16("the version")? {
            found if found == version => Ok(cursor),
            found => Err(format!("version {found} is not known; this build reads version {version}")),
        }
    }

    pub(crate) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| {
            format!("truncated at byte {}: {what} needs {len} bytes, {} are left", self.at, rest.len())
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        Ok(self.take(N, what)?.try_into().expect("take gives the length asked for"))
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, String> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn f32(&mut self, what: &str) -> Result<f32, String> {
        Ok(f32::from_bits(self.u32(what)?))
    }

    pub(crate) fn hash(&mut self, what: &str) -> Result<alloy_primitives::B256, String> {
        Ok(self.array::<32>(what)?.into())
    }

    pub(crate) fn name(&mut self, what: &str) -> Result<String, String> {
        let len = usize::from(self.u16(what)?);
        if len > NAME_BYTES_MAX {
            return Err(format!("{what} has {len} bytes; at most {NAME_BYTES_MAX} are allowed"));
        }
        let bytes = self.take(len, what)?;
        core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| format!("{what} is not UTF-8"))
    }

    /// A tensor whose type is known already.
    pub(crate) fn tensor(&mut self, dtype: DType, shape: &[usize], what: &str) -> Result<Tensor, String> {
        let len = element_count(dtype, shape).map_err(|e| format!("{what}: {e}"))?;
        let bytes = self.take(len * dtype.size_bytes(), what)?;
        let data = Data::from_le_bytes(dtype, bytes).map_err(|e| format!("{what}: {e}"))?;
        Tensor::new(shape, data).map_err(|e| format!("{what}: {e}"))
    }

    /// Errors when bytes are left.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(format!("{rest} bytes follow its end")),
        }
    }
}

/// Appends a name as [`Cursor::name`] reads it.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}
