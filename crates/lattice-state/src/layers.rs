//! State layers: a version of the state and a diff for each executed chain block above the flat base.
//!
//! Layers form a tree: forks have layers of their own, and a reorganisation only picks another one. Every layer is
//! written in the batch of the input that made it, so a restart loses none; finality flattens the layers up to a block
//! into the base ([`Layers::flatten_to`]) and drops what does not descend from it.
//!
//! Methods that stage changes in a batch change the memory side at once. The caller commits that batch before anyone
//! is told, and a commit that fails is a storage fault, which stops the node; so memory and store never part for longer
//! than an input takes.
//!
//! [`Table::Layers`]: chain block hash -> parent hash (32 bytes) ++ [`StateDiff`] without codes. [`Table::Code`]: code
//! hash -> code. How many layers there are is the caller's choice: each one holds what its block changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use alloy_primitives::B256;
use lattice_storage::{Batch, Kv, Table};

use crate::base::{self, damaged};
use crate::code::CodeStore;
use crate::diff::StateDiff;
use crate::error::StateFault;
use crate::state::State;

/// The versions of the state that a node knows.
pub struct Layers {
    kv: Arc<dyn Kv>,
    codes: Arc<CodeStore>,
    base: B256,
    base_state: State,
    layers: BTreeMap<B256, Layer>,
}

struct Layer {
    parent: B256,
    state: State,
    /// The canonical diff without codes.
    diff: Vec<u8>,
}

impl Layers {
    /// Starts a new store: the base is the state of `genesis`, which `diff` makes out of nothing. Stages its rows.
    ///
    /// # Errors
    /// When the store fails.
    pub fn init(kv: Arc<dyn Kv>, genesis: B256, diff: &StateDiff, batch: &mut Batch) -> Result<Self, StateFault> {
        let codes = Arc::new(CodeStore::new(Some(kv.clone())));
        let base_state = State::empty().apply(diff).settled(codes.clone());
        let layers = Self { kv, codes, base: genesis, base_state, layers: BTreeMap::new() };
        layers.stage_codes(diff, batch)?;
        base::write(genesis, diff, &layers.kv, batch)?;
        Ok(layers)
    }

    /// Restores what the store holds: rebuilds the tries of the base and applies every layer again.
    ///
    /// # Errors
    /// [`StateFault::Uninitialised`] for a store without a base; otherwise when the store fails or is damaged.
    pub fn open(kv: Arc<dyn Kv>) -> Result<Self, StateFault> {
        let base = base::block(&kv)?.ok_or(StateFault::Uninitialised)?;
        let codes = Arc::new(CodeStore::new(Some(kv.clone())));
        let base_state = State::new(base::read(&kv)?, codes.clone());
        let mut rows = BTreeMap::new();
        let mut broken = None;
        kv.scan(Table::Layers, &[], None, &mut |key, value| match row(key, value) {
            Some((block, parent, diff)) => {
                rows.insert(block, (parent, diff));
                ControlFlow::Continue(())
            }
            None => {
                broken = Some(damaged(Table::Layers, key, "it is not a parent and a diff"));
                ControlFlow::Break(())
            }
        })?;
        if let Some(fault) = broken {
            return Err(fault.into());
        }
        let mut layers = Self { kv, codes, base, base_state, layers: BTreeMap::new() };
        for block in descendants(base, rows.iter().map(|(block, (parent, _))| (*block, *parent))) {
            let (parent, bytes) = rows.remove(&block).expect("descendants are among the rows");
            let diff = StateDiff::decode(&bytes)
                .map_err(|error| damaged(Table::Layers, block.as_slice(), &error.to_string()))?;
            let before = layers.version(&parent).expect("a parent comes before its descendants");
            let state = before.apply(&diff);
            layers.layers.insert(block, Layer { parent, state, diff: bytes });
        }
        match rows.first_key_value() {
            Some((&block, &(parent, _))) => Err(StateFault::UnknownParent { block, parent }),
            None => Ok(layers),
        }
    }

    /// Adds the layer of an executed chain block: `state` is the version that `diff` leads to from the state of
    /// `parent`. Stages the layer and its codes. A block that has a layer already keeps it.
    ///
    /// # Errors
    /// [`StateFault::UnknownParent`] when `parent` is neither the base nor a layer; otherwise when the store fails.
    pub fn insert(
        &mut self,
        block: B256,
        parent: B256,
        diff: &StateDiff,
        state: State,
        batch: &mut Batch,
    ) -> Result<(), StateFault> {
        if self.version(&parent).is_none() {
            return Err(StateFault::UnknownParent { block, parent });
        }
        if self.version(&block).is_some() {
            return Ok(());
        }
        self.stage_codes(diff, batch)?;
        let mut row = parent.to_vec();
        diff.encode_without_codes(&mut row);
        let diff = row[B256::len_bytes()..].to_vec();
        batch.put(Table::Layers, block.as_slice(), row);
        let state = state.settled(self.codes.clone());
        self.layers.insert(block, Layer { parent, state, diff });
        Ok(())
    }

    /// The state after a chain block; `None` when it is neither the base nor a layer.
    pub fn state(&self, block: &B256) -> Option<State> {
        self.version(block).cloned()
    }

    /// Whether the state after a chain block is here.
    pub fn contains(&self, block: &B256) -> bool {
        self.version(block).is_some()
    }

    /// The parent of a layer; `None` for the base and for unknown blocks.
    pub fn parent(&self, block: &B256) -> Option<B256> {
        self.layers.get(block).map(|layer| layer.parent)
    }

    /// Merges the layers from the base up to `block` into the flat base and drops every layer that does not descend
    /// from `block`, which is the base from then on. Does nothing when it is the base already.
    ///
    /// # Errors
    /// [`StateFault::UnknownBlock`] when `block` has no layer; [`StateFault::Uncommitted`] when the batch of an earlier
    /// call is not written yet; otherwise when the store fails. The memory side is then unchanged.
    pub fn flatten_to(&mut self, block: B256, batch: &mut Batch) -> Result<(), StateFault> {
        if block == self.base {
            return Ok(());
        }
        let diff = self.diff_from_base(block)?;
        if base::block(&self.kv)? != Some(self.base) {
            return Err(StateFault::Uncommitted { base: self.base });
        }
        base::write(block, &diff, &self.kv, batch)?;
        let kept: BTreeSet<_> = descendants(block, self.links()).into_iter().collect();
        self.base_state = self.layers[&block].state.clone();
        self.base = block;
        self.layers.retain(|block, _| {
            let keep = kept.contains(block);
            if !keep {
                batch.delete(Table::Layers, block.as_slice());
            }
            keep
        });
        Ok(())
    }

    /// Number of layers above the base.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer above the base.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The chain block whose state is the flat base.
    pub fn base(&self) -> B256 {
        self.base
    }

    fn version(&self, block: &B256) -> Option<&State> {
        if *block == self.base {
            return Some(&self.base_state);
        }
        self.layers.get(block).map(|layer| &layer.state)
    }

    fn links(&self) -> impl Iterator<Item = (B256, B256)> {
        self.layers.iter().map(|(block, layer)| (*block, layer.parent))
    }

    fn stage_codes(&self, diff: &StateDiff, batch: &mut Batch) -> Result<(), StateFault> {
        for (hash, code) in &diff.codes {
            batch.put(Table::Code, hash.as_slice(), code.to_vec());
            self.codes.keep(*hash, code.clone())?;
        }
        Ok(())
    }

    /// All that changed between the base and `block`.
    fn diff_from_base(&self, block: B256) -> Result<StateDiff, StateFault> {
        let mut path = Vec::new();
        let mut next = block;
        while next != self.base {
            let layer = self.layers.get(&next).ok_or(StateFault::UnknownBlock { block })?;
            path.push(layer);
            next = layer.parent;
        }
        let mut sum = StateDiff::default();
        for layer in path.into_iter().rev() {
            sum.extend(StateDiff::decode(&layer.diff).expect("a layer keeps what encode gave"));
        }
        Ok(sum)
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("base", &self.base).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The blocks below `root` in a tree given as `(block, parent)`, parents before children, without `root`.
fn descendants(root: B256, links: impl Iterator<Item = (B256, B256)>) -> Vec<B256> {
    let mut children = BTreeMap::<B256, Vec<B256>>::new();
    for (block, parent) in links {
        children.entry(parent).or_default().push(block);
    }
    let mut found = Vec::new();
    let mut next = children.remove(&root).unwrap_or_default();
    while let Some(block) = next.pop() {
        next.extend(children.remove(&block).unwrap_or_default());
        found.push(block);
    }
    found
}

/// Block, parent and diff of a row in the table of layers.
fn row(key: &[u8], value: &[u8]) -> Option<(B256, B256, Vec<u8>)> {
    let (parent, diff) = value.split_at_checked(B256::len_bytes())?;
    Some((B256::try_from(key).ok()?, B256::from_slice(parent), diff.to_vec()))
}
