//! Header rules in context, and colouring: all that can fail, before anything changes.

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{
    BlockFacts, CheckError, Dag, GhostdagData, InvalidHeader,
    dag::Block,
    ghostdag::{Colouring, NoColouring},
};

/// A block that is checked and coloured, ready for [`Dag::insert`] into the DAG that prepared it. Other blocks may be
/// inserted in between: a colouring depends on nothing but the past of the block.
#[derive(Debug, Clone)]
pub struct Prepared(pub(crate) Block);

impl Prepared {
    /// Computed blue score.
    pub fn blue_score(&self) -> u64 {
        self.0.colouring.blue_score
    }

    /// Computed blue work.
    pub fn blue_work(&self) -> u128 {
        self.0.colouring.blue_work
    }

    /// The newest pruning point on the selected chain, the block itself excluded.
    pub const fn newest_pruning_point(&self) -> B256 {
        self.0.newest_pruning_point
    }
}

impl Dag {
    /// What GHOSTDAG says of a prepared block.
    ///
    /// # Errors
    /// When the store fails.
    pub fn data_of(&self, prepared: &Prepared) -> Result<GhostdagData, StorageFault> {
        self.data(&prepared.0.colouring)
    }

    /// Checks the rules that a header must keep in the context of its past:
    /// parents known, in limit, strictly ascending, none an ancestor of another; slot after every parent's; mergeset in
    /// limit and nothing in it below the merge depth; claimed blue score, blue work and pruning point equal to the computed ones.
    pub fn check(&self, facts: &BlockFacts) -> Result<Prepared, CheckError> {
        if self.contains(&facts.hash)? {
            return Err(CheckError::Known(facts.hash));
        }
        self.check_form(facts)?;
        let parents = self.resolve(&facts.parents).or_else(|error| self.pruned_or(error, facts))?;
        self.check_parents(facts, &parents)?;
        let max = self.params.mergeset_max;
        let colouring = self.colour(&parents, max).map_err(|error| match error {
            NoColouring::TooLarge => InvalidHeader::MergesetTooLarge { max }.into(),
            NoColouring::Fault(fault) => CheckError::Fault(fault),
        })?;
        self.check_pruning(&colouring)?;
        let merge_root = self.check_merge_depth(&colouring)?;
        let (claimed, computed) = (facts.blue_score, colouring.blue_score);
        if claimed != computed {
            return Err(InvalidHeader::WrongBlueScore { claimed, computed }.into());
        }
        let (claimed, computed) = (facts.blue_work, colouring.blue_work);
        if claimed != computed {
            return Err(InvalidHeader::WrongBlueWork { claimed, computed }.into());
        }
        let prepared = self.prepare(facts, parents, colouring, merge_root)?;
        let (claimed, computed) = (facts.newest_pruning_point, prepared.newest_pruning_point());
        if claimed != computed {
            return Err(InvalidHeader::WrongPruningPoint { claimed, computed }.into());
        }
        Ok(prepared)
    }

    /// Colours a block without asking any rule of it: for tools and for DAGs made under other rules. The claims, the
    /// limits and the order of parents are ignored.
    ///
    /// Errors: missing parents and faults.
    ///
    /// # Panics
    /// When the block has no parents.
    pub fn check_nothing(&self, facts: &BlockFacts) -> Result<Prepared, CheckError> {
        let parents = self.resolve(&facts.parents)?;
        let colouring = self.colour_all(&parents)?;
        Ok(self.prepare(facts, parents, colouring, 0)?)
    }

    /// What needs no other block.
    fn check_form(&self, facts: &BlockFacts) -> Result<(), InvalidHeader> {
        let (found, max) = (facts.parents.len(), self.params.parents_max);
        if found == 0 {
            return Err(InvalidHeader::NoParents);
        }
        if found > max {
            return Err(InvalidHeader::TooManyParents { found, max });
        }
        for pair in facts.parents.windows(2) {
            if pair[0] >= pair[1] {
                return Err(InvalidHeader::ParentsNotAscending { first: pair[0], second: pair[1] });
            }
        }
        Ok(())
    }

    fn check_parents(&self, facts: &BlockFacts, parents: &[u64]) -> Result<(), CheckError> {
        for &parent in parents {
            let parent = self.block(parent)?;
            if facts.slot <= parent.slot {
                return Err(InvalidHeader::SlotNotAfterParent {
                    slot: facts.slot,
                    parent: parent.hash,
                    parent_slot: parent.slot,
                }
                .into());
            }
        }
        for &descendant in parents {
            let past = self.past_of(descendant);
            for &ancestor in parents {
                if past.contains(ancestor)? {
                    return Err(InvalidHeader::ParentIsAncestor {
                        ancestor: self.block(ancestor)?.hash,
                        descendant: self.block(descendant)?.hash,
                    }
                    .into());
                }
            }
        }
        Ok(())
    }

    fn prepare(
        &self,
        facts: &BlockFacts,
        parents: Vec<u64>,
        colouring: Colouring,
        merge_root: u64,
    ) -> Result<Prepared, StorageFault> {
        let newest_pruning_point = match colouring.selected_parent() {
            Some(parent) => self.newest_pruning_point(parent)?,
            None => self.genesis,
        };
        Ok(Prepared(Block {
            hash: facts.hash,
            vrf_hash: facts.vrf_hash,
            slot: facts.slot,
            ai_class: facts.ai_class,
            work: facts.work,
            parents: parents.into(),
            colouring,
            // Given when it is inserted.
            height: 0,
            jump: 0,
            merge_root,
            newest_pruning_point,
        }))
    }
}
