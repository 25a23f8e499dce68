//! Version chains: the line of a model, the ring of its newest versions, and what is pruned.
//!
//! The id of the first version names the line. Its word holds owner, counts and permission, a hash chain commits to
//! every version ever made, and a ring remembers the ids of the newest [`VERSIONS_KEPT`].

use super::{
    Registry, Word,
    models::{Field, Head, ModelStatus},
    slot,
};
use alloy_primitives::{Address, B256, U256, keccak256};

/// Versions of a line whose records are kept; the latest active one is kept beyond that.
pub const VERSIONS_KEPT: u32 = 16;
/// First field of the ring: version n has its id in field RING + n mod [`VERSIONS_KEPT`].
const RING: u8 = 0x20;
const RETIRED: u64 = 1;
/// Field of what a line says about an account: 1 when its allow list has it.
pub(crate) const ALLOWED: u8 = 0;

/// Who may run a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelPermission {
    /// Anybody.
    #[default]
    Public,
    /// The owner and the accounts of its list.
    AllowList,
    /// Whoever pays the price from compute credits; the owner for nothing.
    Price,
}

/// The line's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Zero: there is no such line.
    pub(crate) owner: Address,
    pub(crate) versions: u32,
    /// 0: none yet.
    pub(crate) latest_active: u32,
    pub(crate) permission: ModelPermission,
    pub(crate) retired: bool,
}

impl ModelPermission {
    const fn code(self) -> u64 {
        match self {
            Self::Public => 0,
            Self::AllowList => 1,
            Self::Price => 2,
        }
    }

    /// The permission with that code.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Public),
            1 => Some(Self::AllowList),
            2 => Some(Self::Price),
            _ => None,
        }
    }
}

impl Line {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            owner: word.address(0),
            versions: word.short(20, 4) as u32,
            latest_active: word.short(24, 4) as u32,
            permission: ModelPermission::from_code(word.short(28, 1) as u8).unwrap_or_default(),
            retired: word.short(29, 1) & RETIRED != 0,
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with_address(0, &self.owner).with(20, 4, self.versions);
        let word = word.with(24, 4, self.latest_active).with(28, 1, self.permission.code());
        word.with(29, 1, if self.retired { RETIRED } else { 0 }).value()
    }

    pub(crate) fn read<R: Registry>(registry: &mut R, line: &B256) -> Result<Self, R::Error> {
        registry.read(slot(line, Field::Line as u8)).map(Self::decode)
    }

    pub(crate) fn write<R: Registry>(&self, registry: &mut R, line: &B256) -> Result<(), R::Error> {
        registry.write(slot(line, Field::Line as u8), self.encode())
    }

    /// Whether a version is among the newest whose records are kept.
    pub(crate) const fn keeps(&self, version: u32) -> bool {
        version > 0 && version <= self.versions && self.versions - version < VERSIONS_KEPT
    }
}

/// Slot of a version's id in its line's ring.
pub(crate) fn ring_slot(line: &B256, version: u32) -> U256 {
    slot(line, RING + (version % VERSIONS_KEPT) as u8)
}

/// The version chain's next hash: keccak(previous ++ keccak(payload)).
pub(crate) fn chain_hash(previous: U256, payload: &[u8]) -> U256 {
    keccak256([previous.to_be_bytes::<32>(), keccak256(payload).0].concat()).into()
}

/// Clears the record of a version that fell out of its line's window, unless it is the latest active one, an open
/// request needs it, or the id stands for something else by now.
pub(crate) fn prune<R: Registry>(registry: &mut R, line_id: &B256, line: &Line, id: &B256) -> Result<(), R::Error> {
    let head = Head::read(registry, id)?;
    let gone = !matches!(head.status, Some(ModelStatus::Pending | ModelStatus::Active));
    if gone || head.version == line.latest_active || line.keeps(head.version) || head.open_requests > 0 {
        return Ok(());
    }
    if head.line(registry, id)? != *line_id {
        return Ok(());
    }
    head.clear(registry, id)?;
    // An id of the registry's list stays known: as pruned.
    let rest =
        if head.listed { Head { status: Some(ModelStatus::Pruned), ..head.bare() }.encode() } else { U256::ZERO };
    registry.write(slot(id, Field::Head as u8), rest)
}

/// A pending version becomes active: its line follows, and the version that it supersedes may be pruned.
pub(crate) fn activate<R: Registry>(registry: &mut R, model_id: &B256, block: u64) -> Result<(), R::Error> {
    let mut head = Head::read(registry, model_id)?;
    if head.status != Some(ModelStatus::Pending) {
        return Ok(());
    }
    head.status = Some(ModelStatus::Active);
    head.activated_block = block;
    registry.write(slot(model_id, Field::Head as u8), head.encode())?;
    let line_id = head.line(registry, model_id)?;
    let mut line = Line::read(registry, &line_id)?;
    if head.version > line.latest_active {
        let latest_slot = slot(&line_id, Field::LatestActive as u8);
        let superseded: B256 = registry.read(latest_slot)?.into();
        line.latest_active = head.version;
        line.write(registry, &line_id)?;
        registry.write(latest_slot, U256::from_be_bytes(model_id.0))?;
        if !superseded.is_zero() {
            prune(registry, &line_id, &line, &superseded)?;
        }
    }
    Ok(())
}
