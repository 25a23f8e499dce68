//! Restoring the DAG from its records.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use alloy_primitives::B256;
use lattice_storage::{KvRead, StorageFault, Table};
use rustc_hash::FxHashMap;

use crate::{
    Dag, DagParams,
    dag::{Block, Jumps},
    ghostdag::Colouring,
    reachability::Reachability,
    recent::RecentPasts,
    record::{GhostdagRecord, Relations, decode_interval, undecodable},
};

impl Dag {
    /// Reads all blocks of a store; none when there is no block. The result equals the DAG that wrote the
    /// records. Records that do not decode or do not fit together are a fault.
    pub fn open(kv: Arc<dyn KvRead>, params: DagParams) -> Result<Option<Self>, StorageFault> {
        let kv = &*kv;
        let relations = read_relations(kv)?;
        if relations.is_empty() {
            return Ok(None);
        }
        let indices: FxHashMap<B256, u32> =
            relations.iter().enumerate().map(|(index, (hash, _))| (*hash, index as u32)).collect();
        let mut blocks = Vec::with_capacity(relations.len());
        let mut intervals = Vec::with_capacity(relations.len());
        let mut tips = BTreeSet::new();
        for (index, (hash, record)) in relations.into_iter().enumerate() {
            let index = index as u32;
            let parents = earlier(&indices, Table::Relations, &hash, index, &record.parents)?;
            for parent in &parents {
                tips.remove(parent);
            }
            tips.insert(index);
            let colouring = read_colouring(kv, &indices, &hash, index)?;
            let interval = read(kv, Table::Reachability, &hash)?;
            intervals
                .push(decode_interval(&interval).ok_or_else(|| undecodable(Table::Reachability, hash.as_slice()))?);
            let Relations { slot, vrf_hash, work, .. } = record;
            blocks.push(Block { hash, vrf_hash, slot, work, parents, colouring });
        }
        let mergeset = |block: u32| blocks[block as usize].colouring.mergeset();
        let reachability = Reachability::restore(intervals, mergeset)
            .map_err(|error| StorageFault::corrupt(Table::Reachability, error.to_string()))?;
        let recent = RecentPasts::restore(blocks.len() as u32, |block| &blocks[block as usize].parents);
        let mut jumps = Jumps::default();
        for block in &blocks {
            jumps.push(block.colouring.selected_parent());
        }
        Ok(Some(Self { params, indices, blocks, reachability, recent, jumps, tips }))
    }
}

/// All relations in insertion order, which must be without gaps.
fn read_relations(kv: &dyn KvRead) -> Result<Vec<(B256, Relations)>, StorageFault> {
    let mut found = Vec::new();
    let mut fault = None;
    kv.scan(Table::Relations, &[], None, &mut |key, value| {
        match (B256::try_from(key), Relations::decode(value)) {
            (Ok(hash), Some(relations)) => found.push((hash, relations)),
            _ => {
                fault = Some(undecodable(Table::Relations, key));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    found.sort_unstable_by_key(|(_, relations)| relations.index);
    for (index, (hash, relations)) in found.iter().enumerate() {
        if relations.index != index as u64 {
            let reason = format!("block {hash} has insertion index {}, expected {index}", relations.index);
            return Err(StorageFault::corrupt(Table::Relations, reason));
        }
    }
    Ok(found)
}

fn read_colouring(
    kv: &dyn KvRead,
    indices: &FxHashMap<B256, u32>,
    hash: &B256,
    index: u32,
) -> Result<Colouring, StorageFault> {
    let bytes = read(kv, Table::Ghostdag, hash)?;
    let record = GhostdagRecord::decode(&bytes).ok_or_else(|| undecodable(Table::Ghostdag, hash.as_slice()))?;
    if record.blues.is_empty() != (index == 0) {
        return Err(StorageFault::corrupt(Table::Ghostdag, format!("block {hash} has no selected parent")));
    }
    let sizes = record.anticone_sizes.iter().map(|&(distance, size)| Some((index.checked_sub(distance)?, size)));
    Ok(Colouring {
        blue_score: record.blue_score,
        blue_work: record.blue_work,
        blues: earlier(indices, Table::Ghostdag, hash, index, &record.blues)?,
        reds: earlier(indices, Table::Ghostdag, hash, index, &record.reds)?,
        anticone_sizes: sizes
            .collect::<Option<_>>()
            .ok_or_else(|| StorageFault::corrupt(Table::Ghostdag, format!("block {hash} names no block")))?,
    })
}

fn read(kv: &dyn KvRead, table: Table, hash: &B256) -> Result<Vec<u8>, StorageFault> {
    kv.get(table, hash.as_slice())?.ok_or_else(|| StorageFault::corrupt(table, format!("block {hash} has no record")))
}

/// Indices of blocks that a record names, which must come before it.
fn earlier(
    indices: &FxHashMap<B256, u32>,
    table: Table,
    hash: &B256,
    index: u32,
    named: &[B256],
) -> Result<Box<[u32]>, StorageFault> {
    let find = |other: &B256| indices.get(other).copied().filter(|&found| found < index);
    named
        .iter()
        .map(|other| {
            find(other).ok_or_else(|| {
                StorageFault::corrupt(table, format!("block {hash} names {other}, which is not before it"))
            })
        })
        .collect()
}
