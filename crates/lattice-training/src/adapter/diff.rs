//! The difference between two versions of an adapter: whoever holds the one makes the other of it.
//!
//! ```text
//! "LATD" | version u16 | from id | to id | removed: count u32, module each | put: updates as in an adapter
//! ```

use super::encoding::{put_updates, updates};
use super::{Adapter, AdapterError, Update};
use crate::bytes::{Cursor, put_name};
use alloy_primitives::B256;

const MAGIC: &[u8; 4] = b"LATD";
const VERSION: u16 = 1;

/// What leads from one adapter to another.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterDiff {
    /// Id of the adapter that it applies to.
    pub from: B256,
    /// Id of the adapter that it makes.
    pub to: B256,
    /// Modules that are updated no more.
    pub removed: Vec<String>,
    /// Updates that are new or changed.
    pub put: Vec<Update>,
}

impl AdapterDiff {
    /// What leads from `old` to `new`.
    pub fn between(old: &Adapter, new: &Adapter) -> AdapterDiff {
        let has = |adapter: &Adapter, module: &str| adapter.updates.iter().any(|update| update.module == module);
        let gone = |update: &&Update| !has(new, &update.module);
        AdapterDiff {
            from: old.id(),
            to: new.id(),
            removed: old.updates.iter().filter(gone).map(|update| update.module.clone()).collect(),
            put: new.updates.iter().filter(|update| !old.updates.contains(update)).cloned().collect(),
        }
    }

    /// Makes the new adapter. Errors when `old` is not the one that the diff applies to, or the result not the promised one.
    pub fn apply(&self, old: &Adapter) -> Result<Adapter, AdapterError> {
        if old.id() != self.from {
            return Err(AdapterError::Diff(format!("it applies to adapter {}, this one is {}", self.from, old.id())));
        }
        let replaced = |update: &&Update| {
            !self.removed.contains(&update.module) && !self.put.iter().any(|p| p.module == update.module)
        };
        let kept = old.updates.iter().filter(replaced).cloned();
        let new = Adapter::new(kept.chain(self.put.iter().cloned()).collect())?;
        match new.id() {
            id if id == self.to => Ok(new),
            id => Err(AdapterError::Diff(format!("it promises adapter {}, and makes {id}", self.to))),
        }
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(self.from.as_slice());
        out.extend_from_slice(self.to.as_slice());
        out.extend_from_slice(&(self.removed.len() as u32).to_le_bytes());
        self.removed.iter().for_each(|module| put_name(&mut out, module));
        put_updates(&mut out, &self.put);
        out
    }

    /// Reads canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<AdapterDiff, AdapterError> {
        let read = || -> Result<AdapterDiff, String> {
            let mut cursor = Cursor::open(bytes, MAGIC, VERSION)?;
            let (from, to) = (cursor.hash("the old id")?, cursor.hash("the new id")?);
            let count = cursor.u32("the number of removed modules")?;
            let removed = (0..count).map(|_| cursor.name("a removed module")).collect::<Result<_, _>>()?;
            let put = updates(&mut cursor)?;
            cursor.finish()?;
            Ok(AdapterDiff { from, to, removed, put })
        };
        read().map_err(AdapterError::Diff)
    }
}
