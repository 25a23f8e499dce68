//! Reading FlatBuffers: tables found through vtables, every offset checked before it is followed.
//!
//! The format (flatbuffers.dev, "FlatBuffer Internals"): a file begins with the offset of its root table. A table begins
//! with the distance back to its vtable; that holds its own size, the table's size, and for each field its place inside the
//! table or 0 when the field is absent. Tables, vectors and texts that a field holds lie elsewhere, at an offset that is
//! counted from the field. All numbers are little-endian.
//!
//! Nothing is copied but what a caller asks for. Nothing recurses: how deep tables nest is the schema's affair.

/// A field's value, or where the file is broken.
pub(super) type Read<T> = Result<T, String>;

/// `length` bytes from `at` on.
fn slice(bytes: &[u8], at: usize, length: usize) -> Read<&[u8]> {
    let end = at.checked_add(length).filter(|&end| end <= bytes.len());
    let end = end.ok_or_else(|| format!("byte {at}: {length} bytes are wanted, the file ends at {}", bytes.len()))?;
    Ok(&bytes[at..end])
}

/// A number as it is stored.
pub(super) trait Number: Sized {
    /// Its size in bytes.
    const SIZE: usize;

    /// Reads it from [`Number::SIZE`] bytes.
    fn from_le(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const SIZE: usize = size_of::<$t>();

            fn from_le(bytes: &[u8]) -> Self {
                <$t>::from_le_bytes(bytes.try_into().expect("a slice of the number's size"))
            }
        }
    )*};
}

numbers!(u8, i8, u16, i32, u32, i64, u64, f32);

fn number<T: Number>(bytes: &[u8], at: usize) -> Read<T> {
    slice(bytes, at, T::SIZE).map(T::from_le)
}

/// Where an offset at `at` leads.
fn follow(bytes: &[u8], at: usize) -> Read<usize> {
    let offset = number::<u32>(bytes, at)? as usize;
    match at.checked_add(offset) {
        Some(target) if offset > 0 => Ok(target),
        _ => Err(format!("byte {at}: the offset {offset} leads nowhere")),
    }
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The table without its fields' far parts.
    size: usize,
    /// Places of the fields: two bytes each.
    places: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table that the file begins with.
    pub(super) fn root(bytes: &'a [u8]) -> Read<Table<'a>> {
        Table::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Read<Table<'a>> {
        let back = number::<i32>(bytes, at)?;
        let vtable = usize::try_from(at as i64 - i64::from(back));
        let vtable = vtable.map_err(|_| format!("byte {at}: the vtable lies before the file"))?;
        let length = usize::from(number::<u16>(bytes, vtable)?);
        let size = usize::from(number::<u16>(bytes, vtable.saturating_add(2))?);
        if length < 4 || !length.is_multiple_of(2) || size < 4 {
            return Err(format!("byte {vtable}: a vtable of {length} bytes for a table of {size} is impossible"));
        }
        slice(bytes, at, size)?;
        Ok(Table { bytes, at, size, places: &slice(bytes, vtable, length)?[4..] })
    }

    /// Where a field of `length` bytes lies; none when it is absent.
    fn field(&self, slot: usize, length: usize) -> Read<Option<usize>> {
        let place =
            self.places.get(2 * slot..2 * slot + 2).map_or(0, |place| usize::from(<u16 as Number>::from_le(place)));
        match place {
            0 => Ok(None),
            place if place < 4 || place + length > self.size => {
                Err(format!("byte {}: field {slot} at {place} lies outside its table of {} bytes", self.at, self.size))
            }
            place => Ok(Some(self.at + place)),
        }
    }

    /// A number, or the schema's default when it is absent.
    pub(super) fn number<T: Number>(&self, slot: usize, default: T) -> Read<T> {
        match self.field(slot, T::SIZE)? {
            Some(at) => number(self.bytes, at),
            None => Ok(default),
        }
    }

    /// A table that a field holds.
    pub(super) fn table(&self, slot: usize) -> Read<Option<Table<'a>>> {
        let Some(at) = self.field(slot, 4)? else { return Ok(None) };
        Table::at(self.bytes, follow(self.bytes, at)?).map(Some)
    }

    /// The elements of a vector as bytes, and where they begin.
    fn elements(&self, slot: usize, size: usize) -> Read<Option<(usize, &'a [u8])>> {
        let Some(at) = self.field(slot, 4)? else { return Ok(None) };
        let vector = follow(self.bytes, at)?;
        let count = number::<u32>(self.bytes, vector)? as usize;
        let length = count.checked_mul(size).ok_or_else(|| format!("byte {vector}: {count} elements are too many"))?;
        let first = vector + 4;
        Ok(Some((first, slice(self.bytes, first, length)?)))
    }

    /// A vector of bytes; none when it is absent.
    pub(super) fn bytes(&self, slot: usize) -> Read<Option<&'a [u8]>> {
        Ok(self.elements(slot, 1)?.map(|(_, bytes)| bytes))
    }

    /// A vector of at most `max` numbers; none when it is absent.
    pub(super) fn numbers<T: Number>(&self, slot: usize, max: usize) -> Read<Option<Vec<T>>> {
        let Some((first, bytes)) = self.elements(slot, T::SIZE)? else { return Ok(None) };
        limit(first, bytes.len() / T::SIZE, max)?;
        Ok(Some(bytes.chunks_exact(T::SIZE).map(T::from_le).collect()))
    }

    /// A vector of at most `max` tables; empty when it is absent.
    pub(super) fn tables(&self, slot: usize, max: usize) -> Read<Vec<Table<'a>>> {
        let Some((first, bytes)) = self.elements(slot, 4)? else { return Ok(Vec::new()) };
        limit(first, bytes.len() / 4, max)?;
        let places = (0..bytes.len() / 4).map(|i| first + 4 * i);
        places.map(|at| Table::at(self.bytes, follow(self.bytes, at)?)).collect()
    }

    /// A text of at most `max` bytes; empty when it is absent.
    pub(super) fn text(&self, slot: usize, max: usize) -> Read<&'a str> {
        let Some((first, bytes)) = self.elements(slot, 1)? else { return Ok("") };
        limit(first, bytes.len(), max)?;
        core::str::from_utf8(bytes).map_err(|_| format!("byte {first}: the text is not UTF-8"))
    }
}

fn limit(at: usize, count: usize, max: usize) -> Read<()> {
    if count <= max { Ok(()) } else { Err(format!("byte {at}: {count} elements; the limit is {max}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Root at 16 with vtable at 4 (three fields): an i32 7, a vector [1, 2, 3] of bytes, a field that is absent.
    const FILE: &[u8] = &[
        16, 0, 0, 0, // root
        10, 0, 12, 0, 4, 0, 8, 0, 0, 0, 0, 0, // vtable: sizes, places 4, 8 and 0; two bytes of padding
        12, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, // the table: back 12, field 0, field 1 -> 28
        3, 0, 0, 0, 1, 2, 3, // the vector
    ];

    #[test]
    fn fields_are_found_and_absent_ones_have_defaults() {
        let root = Table::root(FILE).unwrap();
        assert_eq!(root.number(0, 0i32), Ok(7));
        assert_eq!(root.bytes(1).unwrap(), Some([1, 2, 3].as_slice()));
        assert_eq!(root.numbers::<u8>(1, 3).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!((root.number(2, -5i32), root.number(9, 6u8)), (Ok(-5), Ok(6)));
        assert!(root.table(2).unwrap().is_none() && root.tables(3, 9).unwrap().is_empty());
        assert_eq!(root.text(7, 9), Ok(""));
    }

    #[test]
    fn what_leads_outside_is_refused_with_its_place() {
        assert!(Table::root(&FILE[..10]).unwrap_err().contains("the file ends at 10"));
        assert!(Table::root(&[]).unwrap_err().contains("byte 0"));
        let root = Table::root(FILE).unwrap();
        // Longer than the limit, longer than the table.
        assert!(root.numbers::<u8>(1, 2).unwrap_err().contains("the limit is 2"));
        assert!(root.number(1, 0u64).unwrap_err().contains("outside its table"));
        let with = |at: usize, byte: u8| {
            let mut file = FILE.to_vec();
            file[at] = byte;
            file
        };
        assert!(Table::root(&with(16, 0xff)).is_err());
        assert!(Table::root(&with(4, 3)).unwrap_err().contains("impossible"));
        assert!(Table::root(&with(6, 200)).is_err());
        let far = with(28, 0xff);
        assert!(Table::root(&far).unwrap().bytes(1).unwrap_err().contains("255 bytes are wanted"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0..FILE.len(), byte: u8) {
            let mut near = FILE.to_vec();
            near[at] = byte;
            if let Some(first) = bytes.first_mut() {
                *first %= 64;
            }
            for file in [bytes, near] {
                let Ok(root) = Table::root(&file) else { continue };
                for slot in 0..8 {
                    let _ = (root.number(slot, 0u64), root.numbers::<i32>(slot, 99), root.text(slot, 99));
                    let _ = (root.table(slot).is_ok(), root.tables(slot, 99).is_ok());
                }
            }
        }
    }
}
