//! The key-value interface: ordered tables, atomic batches, snapshots.

use std::{ops::ControlFlow, sync::Arc};

use crate::{StorageFault, Table};

/// Called with the key and value of each record of a scan; breaking ends the scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reading: the live store or a snapshot of it.
///
/// Keys are ordered as byte strings. A scan sees one moment of the table even while batches are written.
pub trait KvRead: Send + Sync {
    /// The value at a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault>;

    /// Visits the records with `from <= key < to` in ascending order until the visitor breaks; `to = None` has no upper end.
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault>;

    /// Visits the same records as [`KvRead::scan`] in descending order.
    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault>;

    /// Whether the key has a value.
    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StorageFault> {
        Ok(self.get(table, key)?.is_some())
    }
}

/// Reading and writing.
pub trait Kv: KvRead {
    /// Writes all of the batch or nothing. When it returns, the batch survives the death of this process (not yet a
    /// power cut: [`Kv::sync`]). After an error the store must be reopened; which side of the batch it is on is then decided.
    fn write(&self, batch: Batch) -> Result<(), StorageFault>;

    /// The store as it is now, unmoved by later batches. Keep it short-lived: it holds old records alive.
    fn snapshot(&self) -> Arc<dyn KvRead>;

    /// Returns when everything written so far survives a power cut.
    fn sync(&self) -> Result<(), StorageFault>;
}

impl<T: KvRead + ?Sized> KvRead for Arc<T> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        (**self).get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        (**self).scan(table, from, to, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        (**self).scan_back(table, from, to, visit)
    }
}

impl<T: Kv + ?Sized> Kv for Arc<T> {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        (**self).write(batch)
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        (**self).snapshot()
    }

    fn sync(&self) -> Result<(), StorageFault> {
        (**self).sync()
    }
}

/// One staged change: `value = None` deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOp {
    /// The table.
    pub table: Table,
    /// The key; not empty.
    pub key: Vec<u8>,
    /// The new value, or none to delete the record.
    pub value: Option<Vec<u8>>,
}

/// Changes that take effect together. A later change of the same key replaces an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    ops: Vec<WriteOp>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stages a record.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(WriteOp { table, key: key.into(), value: Some(value.into()) });
    }

    /// Stages the removal of a record; removing what is not there is no error.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.ops.push(WriteOp { table, key: key.into(), value: None });
    }

    /// Staged changes, replaced ones included.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Takes over everything that another batch staged, as if staged after our own.
    pub fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
    }

    /// The changes in (table, key) order, at most one a key: what an engine applies.
    pub fn into_ops(mut self) -> Vec<WriteOp> {
        // The sort is stable, so of equal keys the last one staged is the last one here. Engines that stamp a whole
        // batch with one sequence number could not tell two changes of one key apart.
        self.ops.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        self.ops.dedup_by(|later, kept| {
            let same = later.table == kept.table && later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        self.ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_stands() {
        let mut batch = Batch::new();
        batch.put(Table::Meta, *b"b", *b"1");
        batch.put(Table::Meta, *b"a", *b"1");
        batch.delete(Table::Meta, *b"b");
        batch.put(Table::Meta, *b"b", *b"2");
        batch.put(Table::Headers, *b"b", *b"3");
        batch.delete(Table::Meta, *b"a");
        assert_eq!(batch.len(), 6);
        let op = |table, key: &[u8], value: Option<&[u8]>| WriteOp {
            table,
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        assert_eq!(
            batch.into_ops(),
            [op(Table::Headers, b"b", Some(b"3")), op(Table::Meta, b"a", None), op(Table::Meta, b"b", Some(b"2")),]
        );
    }
}
