//! State layers: a version of the state and a diff for each executed chain block above the flat base.
//!
//! Layers form a tree: forks have layers of their own, and a reorganisation only picks another one. Every layer is
//! written in the batch of the input that made it, so a restart loses none. Moving the base to a block
//! ([`Layers::flatten_to`]; which one, and when, is the caller's choice) merges the layers up to it into the flat rows and
//! drops what does not descend from it.
//!
//! The newest layers, at most [`Retention::resident_max`], have their version in memory. Of older ones there is only a
//! link to the parent (about 100 bytes): their version is rebuilt from the rows when somebody asks. So a base that does
//! not move for long costs disk, not memory.
//!
//! Methods that stage changes in a batch change the memory side at once. The caller commits that batch before anyone
//! is told, and a commit that fails is a storage fault, which stops the node; so memory and store never part for longer
//! than an input takes.
//!
//! [`Table::Layers`]: chain block hash -> [`StateDiff`] without codes. [`Table::LayerLinks`]: chain block hash -> parent
//! hash (32 bytes) ++ height (8 bytes, big-endian). [`Table::Code`]: code hash -> code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use alloy_primitives::B256;
use lattice_storage::{Batch, Kv, KvRead, StorageFault, Table};

use crate::base::{self, damaged};
use crate::code::CodeStore;
use crate::diff::StateDiff;
use crate::error::StateFault;
use crate::history::{self, History, PastVersions};
use crate::state::State;
use crate::versions::Versions;

/// Rebuilt versions of layers kept in memory beside the resident ones.
const REBUILT_MAX: usize = 8;
/// Entries (accounts and slots) gathered while a version is rebuilt before they are applied to its trie.
const APPLY_ENTRIES: usize = 1 << 17;
/// What is wrong with a damaged link.
const NO_LINK: &str = "it is not a parent and a height";

/// How much of the state a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Layers with their version in memory; older ones live on disk only.
    pub resident_max: usize,
    /// Keep the states below the base, from now on. A store that was an archive once stays one.
    pub archive: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { resident_max: 320, archive: false }
    }
}

/// The versions of the state that a node knows.
pub struct Layers {
    kv: Arc<dyn Kv>,
    codes: Arc<CodeStore>,
    base: B256,
    base_height: u64,
    base_state: State,
    layers: BTreeMap<B256, Layer>,
    /// Layers with a version in memory, by height.
    resident: BTreeSet<(u64, B256)>,
    resident_max: usize,
    /// Versions of layers that were rebuilt, or left the memory last.
    rebuilt: Arc<Versions<B256>>,
    /// Oldest height that the archive keeps; `None` without archive.
    archive_from: Option<u64>,
    past: Arc<PastVersions>,
}

struct Layer {
    parent: B256,
    height: u64,
    resident: Option<Resident>,
}

struct Resident {
    state: State,
    /// The canonical diff without codes.
    diff: Vec<u8>,
}

impl Layers {
    /// Starts a new store: the base is the state of `genesis`, at height 0, which `diff` makes out of nothing. Stages
    /// its rows.
    ///
    /// # Errors
    /// When the store fails.
    pub fn init(
        kv: Arc<dyn Kv>,
        genesis: B256,
        diff: &StateDiff,
        retention: Retention,
        batch: &mut Batch,
    ) -> Result<Self, StateFault> {
        let codes = Arc::new(CodeStore::new(Some(kv.clone())));
        let base_state = State::empty().apply(diff).settled(codes.clone());
        let mut layers = Self::bare(kv, codes, (genesis, 0), base_state, retention);
        if retention.archive {
            history::stage_start(0, batch);
            layers.archive_from = Some(0);
        }
        layers.stage_codes(diff, batch)?;
        base::write((genesis, 0), diff, &layers.kv, batch)?;
        Ok(layers)
    }

    /// Restores what the store holds: rebuilds the tries of the base and of the newest layers.
    ///
    /// # Errors
    /// [`StateFault::Uninitialised`] for a store without a base; otherwise when the store fails or is damaged.
    pub fn open(kv: Arc<dyn Kv>, retention: Retention) -> Result<Self, StateFault> {
        let base = base::block(&kv)?.ok_or(StateFault::Uninitialised)?;
        let codes = Arc::new(CodeStore::new(Some(kv.clone())));
        let base_state = State::new(base::read(&kv)?, codes.clone());
        let archive_from = history::archive_from(&kv)?;
        let mut layers = Self::bare(kv, codes, base, base_state, retention);
        layers.archive_from = archive_from.or(retention.archive.then_some(layers.base_height));
        layers.read_links()?;
        layers.check_links()?;
        let newest = layers.layers.iter().map(|(block, layer)| (layer.height, *block)).collect::<BTreeSet<_>>();
        let older = newest.len().saturating_sub(layers.resident_max);
        for (height, block) in newest.into_iter().skip(older) {
            let parent = layers.layers[&block].parent;
            let before = layers.state(&parent)?.expect("the parent of a layer is the base or a layer");
            let bytes = diff_bytes(&layers.kv, &block)?;
            let state = before.apply(&decode(&block, &bytes)?);
            layers.layer_mut(&block).resident = Some(Resident { state, diff: bytes });
            layers.resident.insert((height, block));
        }
        Ok(layers)
    }

    fn bare(
        kv: Arc<dyn Kv>,
        codes: Arc<CodeStore>,
        (base, base_height): (B256, u64),
        base_state: State,
        retention: Retention,
    ) -> Self {
        Self {
            kv,
            codes,
            base,
            base_height,
            base_state,
            layers: BTreeMap::new(),
            resident: BTreeSet::new(),
            resident_max: retention.resident_max,
            rebuilt: Arc::new(Versions::new(REBUILT_MAX)),
            archive_from: None,
            past: history::versions(),
        }
    }

    fn read_links(&mut self) -> Result<(), StateFault> {
        let (layers, mut broken) = (&mut self.layers, None);
        self.kv.scan(Table::LayerLinks, &[], None, &mut |key, value| match link(key, value) {
            Some((block, parent, height)) => {
                layers.insert(block, Layer { parent, height, resident: None });
                ControlFlow::Continue(())
            }
            None => {
                broken = Some(damaged(Table::LayerLinks, key, NO_LINK));
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Every layer hangs on the base or on a layer one lower.
    fn check_links(&self) -> Result<(), StateFault> {
        for (block, layer) in &self.layers {
            let below = match self.layers.get(&layer.parent) {
                Some(parent) => parent.height,
                None if layer.parent == self.base => self.base_height,
                None => return Err(StateFault::UnknownParent { block: *block, parent: layer.parent }),
            };
            if below.checked_add(1) != Some(layer.height) {
                let reason = format!("its height is {}, its parent's {below}", layer.height);
                return Err(damaged(Table::LayerLinks, block.as_slice(), &reason).into());
            }
        }
        Ok(())
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
        let height = match self.layers.get(&parent) {
            Some(layer) => layer.height + 1,
            None if parent == self.base => self.base_height + 1,
            None => return Err(StateFault::UnknownParent { block, parent }),
        };
        if self.contains(&block) {
            return Ok(());
        }
        self.stage_codes(diff, batch)?;
        let mut bytes = Vec::new();
        diff.encode_without_codes(&mut bytes);
        batch.put(Table::Layers, block.as_slice(), bytes.clone());
        batch.put(Table::LayerLinks, block.as_slice(), [parent.as_slice(), &height.to_be_bytes()].concat());
        let state = state.settled(self.codes.clone());
        self.layers.insert(block, Layer { parent, height, resident: Some(Resident { state, diff: bytes }) });
        self.resident.insert((height, block));
        self.evict()
    }

    /// Leaves the oldest versions beyond the bound to the disk. Those whose rows no batch has committed yet stay.
    fn evict(&mut self) -> Result<(), StateFault> {
        let excess = self.resident.len().saturating_sub(self.resident_max);
        let oldest: Vec<_> = self.resident.iter().take(excess).copied().collect();
        for (height, block) in oldest {
            if self.kv.contains(Table::LayerLinks, block.as_slice())? {
                self.resident.remove(&(height, block));
                let resident = self.layer_mut(&block).resident.take().expect("only resident layers are listed");
                // A branch that grows below the newest layers goes on from the version that just left.
                self.rebuilt.keep(block, resident.state);
            }
        }
        Ok(())
    }

    /// The state after a chain block; `None` when it is neither the base nor a layer. A version that is on disk only is
    /// rebuilt: that costs what changed since the nearest ancestor in memory.
    ///
    /// # Errors
    /// When the store fails or is damaged.
    pub fn state(&self, block: &B256) -> Result<Option<State>, StateFault> {
        if !self.contains(block) {
            return Ok(None);
        }
        let mut path = Vec::new();
        let mut next = *block;
        let mut state = loop {
            if let Some(state) = self.at_hand(&next) {
                break state;
            }
            path.push(next);
            next = self.layers[&next].parent;
        };
        if !path.is_empty() {
            state = replay(&self.kv, state, &path)?;
            self.rebuilt.keep(*block, state.clone());
        }
        Ok(Some(state))
    }

    /// The state after a chain block when its version is in memory anyway.
    pub fn resident(&self, block: &B256) -> Option<&State> {
        if *block == self.base {
            return Some(&self.base_state);
        }
        self.layers.get(block)?.resident.as_ref().map(|resident| &resident.state)
    }

    fn at_hand(&self, block: &B256) -> Option<State> {
        self.resident(block).cloned().or_else(|| self.rebuilt.state(block))
    }

    /// Whether there is a state after a chain block.
    pub fn contains(&self, block: &B256) -> bool {
        *block == self.base || self.layers.contains_key(block)
    }

    /// The parent of a layer; `None` for the base and for unknown blocks.
    pub fn parent(&self, block: &B256) -> Option<B256> {
        self.layers.get(block).map(|layer| layer.parent)
    }

    /// Height of the chain block that a layer or the base belongs to; `None` for unknown blocks.
    pub fn height(&self, block: &B256) -> Option<u64> {
        if *block == self.base {
            return Some(self.base_height);
        }
        self.layers.get(block).map(|layer| layer.height)
    }

    /// The ancestor of `block` at `height`, `block` included; `None` below the base and for unknown blocks.
    pub fn ancestor(&self, block: B256, height: u64) -> Option<B256> {
        let mut next = block;
        while next != self.base {
            let layer = self.layers.get(&next)?;
            if layer.height <= height {
                return (layer.height == height).then_some(next);
            }
            next = layer.parent;
        }
        (height == self.base_height).then_some(next)
    }

    /// Merges the layers from the base up to `block` into the flat base and drops every layer that does not descend
    /// from `block`, which is the base from then on. An archive keeps what leads back. Does nothing when it is the base
    /// already. All that changed in between is in memory meanwhile, so a long way is better gone in steps.
    ///
    /// # Errors
    /// [`StateFault::UnknownBlock`] when `block` has no layer; [`StateFault::Uncommitted`] when the batch of an earlier
    /// call is not written yet; otherwise when the store fails. The memory side is then unchanged.
    pub fn flatten_to(&mut self, block: B256, batch: &mut Batch) -> Result<(), StateFault> {
        if block == self.base {
            return Ok(());
        }
        let path = self.path_from_base(block)?;
        if base::block(&self.kv)? != Some((self.base, self.base_height)) {
            return Err(StateFault::Uncommitted { base: self.base });
        }
        let (diff, state) = match self.archive_from {
            Some(start) => self.merge_and_record(&path, start, batch)?,
            None => self.merge(&path)?,
        };
        let height = self.layers[&block].height;
        base::write((block, height), &diff, &self.kv, batch)?;
        let kept: BTreeSet<_> = descendants(block, self.links()).into_iter().collect();
        self.base_state = state;
        self.base = block;
        self.base_height = height;
        self.layers.retain(|block, _| {
            let keep = kept.contains(block);
            if !keep {
                batch.delete(Table::Layers, block.as_slice());
                batch.delete(Table::LayerLinks, block.as_slice());
            }
            keep
        });
        self.resident.retain(|(_, block)| kept.contains(block));
        Ok(())
    }

    /// All that changed from the base over `path`, and the state at its end.
    fn merge(&self, path: &[B256]) -> Result<(StateDiff, State), StateFault> {
        let mut sum = StateDiff::default();
        for block in path {
            sum.extend(self.diff(block)?);
        }
        let last = path.last().expect("the path to a block that is not the base has blocks");
        let state = match self.resident(last) {
            Some(state) => state.clone(),
            None => self.base_state.apply(&sum),
        };
        Ok((sum, state))
    }

    /// [`Self::merge`], and the archive's rows of each block.
    fn merge_and_record(
        &mut self,
        path: &[B256],
        start: u64,
        batch: &mut Batch,
    ) -> Result<(StateDiff, State), StateFault> {
        let mut sum = StateDiff::default();
        let mut state = self.base_state.clone();
        let mut writer = history::Writer::new(&self.kv, start);
        for block in path {
            let diff = self.diff(block)?;
            writer.record(self.layers[block].height, &state, &sum, &diff)?;
            state = match self.resident(block) {
                Some(state) => state.clone(),
                None => state.apply(&diff),
            };
            sum.extend(diff);
        }
        history::stage_start(start, batch);
        writer.stage(batch);
        Ok((sum, state))
    }

    /// The archive below the base as it is now; `None` when this store is none. For a reader's moment, together with a
    /// snapshot of the store.
    pub fn history(&self) -> Option<History> {
        let start = self.archive_from?;
        Some(History {
            base: self.base,
            base_height: self.base_height,
            base_state: self.base_state.clone(),
            start,
            past: self.past.clone(),
            rebuilt: self.rebuilt.clone(),
        })
    }

    /// Number of layers above the base.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer above the base.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Number of layers whose version is in memory.
    pub fn resident_len(&self) -> usize {
        self.resident.len()
    }

    /// The chain block whose state is the flat base.
    pub fn base(&self) -> B256 {
        self.base
    }

    /// The base's height: its number of ancestors among chain blocks.
    pub fn base_height(&self) -> u64 {
        self.base_height
    }

    fn layer_mut(&mut self, block: &B256) -> &mut Layer {
        self.layers.get_mut(block).expect("the block has a layer")
    }

    fn links(&self) -> impl Iterator<Item = (B256, B256)> {
        self.layers.iter().map(|(block, layer)| (*block, layer.parent))
    }

    /// The blocks after the base up to `block`, oldest first.
    fn path_from_base(&self, block: B256) -> Result<Vec<B256>, StateFault> {
        let mut path = Vec::new();
        let mut next = block;
        while next != self.base {
            path.push(next);
            next = self.parent(&next).ok_or(StateFault::UnknownBlock { block })?;
        }
        path.reverse();
        Ok(path)
    }

    fn diff(&self, block: &B256) -> Result<StateDiff, StateFault> {
        match self.layers.get(block).and_then(|layer| layer.resident.as_ref()) {
            Some(resident) => Ok(StateDiff::decode(&resident.diff).expect("a layer keeps what encode gave")),
            None => decode(block, &diff_bytes(&self.kv, block)?),
        }
    }

    fn stage_codes(&self, diff: &StateDiff, batch: &mut Batch) -> Result<(), StateFault> {
        for (hash, code) in &diff.codes {
            batch.put(Table::Code, hash.as_slice(), code.to_vec());
            self.codes.keep(*hash, code.clone())?;
        }
        Ok(())
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

/// The version that the rows of `path`, the newest block first, lead to from `state`.
pub(crate) fn replay(kv: &dyn KvRead, mut state: State, path: &[B256]) -> Result<State, StateFault> {
    let (mut sum, mut entries) = (StateDiff::default(), 0);
    for block in path.iter().rev() {
        let diff = decode(block, &diff_bytes(kv, block)?)?;
        entries += diff.entries();
        sum.extend(diff);
        if entries >= APPLY_ENTRIES {
            state = state.apply(&std::mem::take(&mut sum));
            entries = 0;
        }
    }
    Ok(state.apply(&sum))
}

/// Parent of a layer in the store; `None` when it has no layer there.
pub(crate) fn parent(kv: &dyn KvRead, block: &B256) -> Result<Option<B256>, StorageFault> {
    let Some(value) = kv.get(Table::LayerLinks, block.as_slice())? else {
        return Ok(None);
    };
    let broken = || damaged(Table::LayerLinks, block.as_slice(), NO_LINK);
    link(block.as_slice(), &value).map(|(_, parent, _)| Some(parent)).ok_or_else(broken)
}

fn diff_bytes(kv: &dyn KvRead, block: &B256) -> Result<Vec<u8>, StorageFault> {
    let bytes = kv.get(Table::Layers, block.as_slice())?;
    bytes.ok_or_else(|| damaged(Table::Layers, block.as_slice(), "it is missing"))
}

fn decode(block: &B256, bytes: &[u8]) -> Result<StateDiff, StateFault> {
    StateDiff::decode(bytes).map_err(|error| damaged(Table::Layers, block.as_slice(), &error.to_string()).into())
}

/// Block, parent and height of a row in the table of links.
fn link(key: &[u8], value: &[u8]) -> Option<(B256, B256, u64)> {
    let (parent, height) = value.split_first_chunk::<32>()?;
    let height = u64::from_be_bytes(height.try_into().ok()?);
    Some((B256::try_from(key).ok()?, B256::new(*parent), height))
}
