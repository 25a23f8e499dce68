//! Stake sets with the keys of their members.

use super::{CommitteeParams, registered};
use crate::{chain::Chain, error::ChainError};
use alloy_primitives::B256;
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use lattice_consensus::eligibility::{Member, SetSource, StakeSet};
use lattice_state::State;
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use lattice_types::{
    Bitmap,
    bls::{self, InvalidBls},
};
use std::sync::{Arc, OnceLock};

/// A stake set and its members' keys, as one chain block's state gives them.
///
/// `StakeSets`: DAG hash of that chain block -> the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochSet {
    set: StakeSet,
    /// Keys by position.
    keys: Vec<bls::PublicKey>,
    /// The same, ready to verify with: most sets verify many certificates, and checking a key costs as much as adding a
    /// hundred.
    checked: OnceLock<Vec<bls::CheckedKey>>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredMember {
    index: u32,
    stake: u128,
    public_key: bls::PublicKey,
}

impl EpochSet {
    /// The first set of a chain.
    pub fn first(params: &CommitteeParams, state: &State) -> Self {
        let registry = registered(state);
        let candidates: Vec<_> = registry.iter().map(|validator| validator.candidate).collect();
        Self::with_keys(StakeSet::of_largest(&params.sets, &candidates), &registry)
    }

    /// The set that follows this one by the registry of a state.
    fn next(&self, params: &CommitteeParams, state: &State) -> Self {
        let registry = registered(state);
        let candidates: Vec<_> = registry.iter().map(|validator| validator.candidate).collect();
        Self::with_keys(self.set.next(&params.sets, &candidates), &registry)
    }

    fn with_keys(set: StakeSet, registry: &[super::Registered]) -> Self {
        // Members come from a registry that only grows: index and place are the same.
        let key = |member: &Member| registry[member.index as usize].public_key;
        let keys = set.members().iter().map(key).collect();
        Self { set, keys, checked: OnceLock::new() }
    }

    /// The set.
    pub const fn set(&self) -> &StakeSet {
        &self.set
    }

    /// Key of a validator; `None` when it is no member.
    pub fn key(&self, index: u32) -> Option<&bls::PublicKey> {
        self.set.position(index).map(|position| &self.keys[position])
    }

    /// Key of a validator, ready to verify with; `None` when it is no member, or a member has a key that is none, which no
    /// registry takes.
    pub fn checked_key(&self, index: u32) -> Option<bls::CheckedKey> {
        self.set.position(index).and_then(|position| self.checked().ok()?.get(position).copied())
    }

    /// Keys of the members that a bitmap names; the bitmap must fit the set.
    ///
    /// # Errors
    /// When a member has a key that is none, which no registry takes.
    pub fn keys(&self, signers: &Bitmap) -> Result<Vec<bls::CheckedKey>, InvalidBls> {
        let checked = self.checked()?;
        Ok(signers.positions().filter_map(|position| checked.get(position).copied()).collect())
    }

    fn checked(&self) -> Result<&[bls::CheckedKey], InvalidBls> {
        if let Some(checked) = self.checked.get() {
            return Ok(checked);
        }
        let checked = self.keys.iter().map(bls::CheckedKey::new).collect::<Result<_, _>>()?;
        Ok(self.checked.get_or_init(|| checked))
    }

    pub(super) fn stage(&self, source: &B256, batch: &mut Batch) {
        let members = self.set.members().iter().zip(&self.keys);
        let row: Vec<_> = members
            .map(|(member, key)| StoredMember { index: member.index, stake: member.stake, public_key: *key })
            .collect();
        batch.put(Table::StakeSets, source.as_slice(), alloy_rlp::encode(row));
    }

    pub(crate) fn load(kv: &dyn KvRead, source: &B256) -> Result<Option<Self>, StorageFault> {
        let Some(bytes) = kv.get(Table::StakeSets, source.as_slice())? else { return Ok(None) };
        let row = Vec::<StoredMember>::decode(&mut &*bytes)
            .map_err(|error| StorageFault::corrupt(Table::StakeSets, error.to_string()))?;
        let keys = row.iter().map(|member| member.public_key).collect();
        let members = row.into_iter().map(|member| Member { index: member.index, stake: member.stake }).collect();
        Ok(Some(Self { set: StakeSet::from_members(members), keys, checked: OnceLock::new() }))
    }
}

impl Chain {
    /// The stake set read at a chain block; it is read when nobody has needed it yet. `None` when the state of the chain
    /// block is not to be had: it was disqualified, or lies before what this node keeps.
    pub(crate) fn set_at(
        &mut self,
        source: &SetSource,
        batch: &mut Batch,
    ) -> Result<Option<Arc<EpochSet>>, ChainError> {
        if let Some(set) = self.committee.known_set(&source.block)? {
            return Ok(Some(set));
        }
        if !self.ensure_executed(&source.block, batch)? {
            return Ok(None);
        }
        let Some(state) = self.layers.state(&source.block)? else { return Ok(None) };
        let before = self.committee.standing(&source.block)?.epoch.next_set();
        let Some(before) = self.set_at(&before, batch)? else { return Ok(None) };
        let set = before.next(&self.committee.params, &state);
        Ok(Some(self.committee.put_set(source.block, set, batch)))
    }
}
