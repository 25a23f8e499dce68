//! Opening the DAG of a store: the window of recent blocks is read, the rest stays where it is.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use alloy_primitives::B256;
use lattice_storage::{KvRead, StorageFault, Table};

use crate::{
    Dag, DagParams,
    dag::{Block, Blocks, Pruning},
    older::{Older, Record, undecodable},
    reachability::{Node, Nodes, Reachability},
    recent::{ROWS, RecentPasts},
    record::{self, load_index},
};

/// How much of a DAG is held in memory. Every node may choose for itself: nobody else can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residency {
    /// The newest blocks, which are always there; at least 1. Whoever colours, merges and chooses tips touches hardly
    /// others, as long as these are more than the merge depth spans.
    pub blocks: u64,
    /// Older blocks, and as many nodes of the interval tree, that are cached.
    pub cached: usize,
}

impl Residency {
    /// Everything stays in memory.
    pub(super) const ALL: Self = Self { blocks: u64::MAX, cached: 0 };

    /// By how many blocks the window may be too long: they leave together.
    pub(super) fn step(&self) -> u64 {
        (self.blocks / 16).clamp(1, 256)
    }
}

impl Default for Residency {
    fn default() -> Self {
        Self { blocks: 8_192, cached: 8_192 }
    }
}

impl Dag {
    /// Opens the DAG of a store; none when it holds no DAG. The store must be the one that the batches are written to.
    /// The result equals the DAG that wrote the records. Reads the recent blocks only; records that do not decode or do
    /// not fit together are a fault, here or when they are asked for.
    pub fn open(kv: Arc<dyn KvRead>, params: DagParams) -> Result<Option<Self>, StorageFault> {
        Self::open_with(kv, params, Residency::default())
    }

    /// [`Dag::open`] with a choice of what is held in memory.
    pub fn open_with(
        kv: Arc<dyn KvRead>,
        params: DagParams,
        residency: Residency,
    ) -> Result<Option<Self>, StorageFault> {
        let Some(genesis) = kv.get(Table::Meta, record::GENESIS)? else { return Ok(None) };
        let genesis = hash(&genesis)?;
        let first = kv.get(Table::Meta, record::WINDOW)?;
        let first = number(first.as_deref().unwrap_or_default())?;
        let mut blocks = Blocks::over(first, Older::new(kv.clone(), residency.cached));
        let mut tips: BTreeMap<u64, B256> = read_indexed(&*kv, record::TIP)?.into_iter().collect();
        for (index, block) in read_from::<Block>(&*kv, first)? {
            if load_index(&*kv, &block.hash)? != Some(index) {
                let reason = format!("block {} does not have its insertion index {index}", block.hash);
                return Err(StorageFault::corrupt(Table::Relations, reason));
            }
            for parent in &block.parents {
                tips.remove(parent);
            }
            tips.insert(index, block.hash);
            blocks.push(block);
        }
        let pruning = Pruning::read(&*kv, genesis)?;
        let mut recent = RecentPasts::resume(first.max(blocks.next().saturating_sub(ROWS)));
        for index in recent.next()..blocks.next() {
            recent.push(&blocks.block(index)?.parents);
        }
        let reachability = read_tree(&kv, residency, &blocks, pruning.bottom())?;
        let residency = Residency { blocks: residency.blocks.max(1), ..residency };
        Ok(Some(Self { params, residency, genesis, blocks, reachability, recent, tips, pruning }))
    }
}

/// The interval tree, with the nodes of the resident blocks and their covering sets.
fn read_tree(
    kv: &Arc<dyn KvRead>,
    residency: Residency,
    blocks: &Blocks,
    bottom: u64,
) -> Result<Reachability, StorageFault> {
    let resident = blocks.first()..blocks.next();
    let nodes = read_from::<Node>(&**kv, resident.start)?;
    if nodes.len() as u64 != resident.end - resident.start {
        let reason = format!("{} recent blocks have {} records", resident.end - resident.start, nodes.len());
        return Err(StorageFault::corrupt(Table::Reachability, reason));
    }
    let nodes: VecDeque<Node> = nodes.into_iter().map(|(_, node)| Node { covering: Vec::new(), ..node }).collect();
    let nodes = Nodes::over(resident.start, nodes, Older::new(kv.clone(), residency.cached));
    let mut tree = Reachability::over(nodes, bottom);
    for block in resident.clone() {
        tree.check_links(block)?;
    }
    for block in resident {
        for merged in blocks.block(block)?.colouring.mergeset() {
            if tree.nodes.is_resident(merged) {
                tree.cover(merged, block)?;
            }
        }
    }
    Ok(tree)
}

/// All records from an index on, which must be without gaps.
fn read_from<T: Record>(kv: &dyn KvRead, first: u64) -> Result<Vec<(u64, T)>, StorageFault> {
    let mut found = Vec::new();
    let mut fault = None;
    kv.scan(T::TABLE, &first.to_be_bytes(), None, &mut |key, value| {
        let expected = first + found.len() as u64;
        match number(key) {
            Ok(index) if index == expected => match T::decode(index, value) {
                Some(record) => found.push((index, record)),
                None => fault = Some(undecodable::<T>(index)),
            },
            _ => {
                let reason = format!("block number {expected} has no record");
                fault = Some(StorageFault::corrupt(T::TABLE, reason));
            }
        }
        if fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    fault.map_or(Ok(found), Err)
}

/// Rows of `Meta` under `prefix ++ index`, by rising index.
pub(super) fn read_indexed(kv: &dyn KvRead, prefix: &[u8]) -> Result<Vec<(u64, B256)>, StorageFault> {
    let mut rows = Vec::new();
    let mut fault = None;
    let end = record::indexed_key(prefix, u64::MAX);
    kv.scan(Table::Meta, prefix, Some(&end), &mut |key, value| {
        match number(&key[prefix.len()..]).and_then(|index| Ok((index, hash(value)?))) {
            Ok(row) => rows.push(row),
            Err(found) => {
                fault = Some(found);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    fault.map_or(Ok(rows), Err)
}

/// A number of 8 bytes.
pub(super) fn number(bytes: &[u8]) -> Result<u64, StorageFault> {
    let bytes = bytes.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| StorageFault::corrupt(Table::Meta, "a number of the DAG is not 8 bytes"))
}

fn hash(bytes: &[u8]) -> Result<B256, StorageFault> {
    B256::try_from(bytes).map_err(|_| StorageFault::corrupt(Table::Meta, "a hash of the DAG is not 32 bytes"))
}
