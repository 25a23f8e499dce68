//! The stake set of an epoch: who may win slots and vote, with which weight.

use std::collections::BTreeMap;

use lattice_types::Bitmap;

/// How a set is drawn from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetParams {
    /// Members a set may have.
    pub members_max: usize,
    /// Stake that a member needs at least, in the unit of the registry.
    pub stake_min: u128,
    /// At most one in this many members joins, and as many leave, from one set to the next (but always one may).
    pub churn_divisor: usize,
}

/// A validator as the registry has it at the chain block where the set is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Place in the registry.
    pub index: u32,
    /// Stake that is not being withdrawn.
    pub stake: u128,
    /// Whether it was slashed: it leaves at once, whatever the churn.
    pub is_slashed: bool,
}

/// A member of a stake set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Place in the registry.
    pub index: u32,
    /// Weight in lottery and votes.
    pub stake: u128,
}

/// The validators of an epoch, by rising registry index. A position in this list is a bit of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StakeSet {
    members: Vec<Member>,
    total: u128,
}

/// Why a bitmap does not fit a stake set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBitmap {
    /// It is not as long as the stake set.
    #[error("the bitmap has {found} bytes, a stake set of {members} members needs {expected}")]
    Length {
        /// Bytes of the bitmap.
        found: usize,
        /// Bytes that it must have.
        expected: usize,
        /// Members of the set.
        members: usize,
    },
    /// Bits behind the last member are set.
    #[error("the bitmap names position {0}, which the stake set does not have")]
    Padding(usize),
}

impl StakeSet {
    /// The set of the largest stakes, without regard to an earlier set: the first one of a chain.
    pub fn of_largest(params: &SetParams, registry: &[Candidate]) -> Self {
        Self::of(wanted(params, registry).into_iter().map(|(index, stake)| Member { index, stake }).collect())
    }

    /// The set that follows `self`. The wanted set is that of the largest stakes; from the present members to those wanted,
    /// the largest join and the smallest leave first, within the churn. Who stays counts with the present stake; who
    /// still has to wait to leave keeps the recorded one, which remains slashable while it is unbonding. The slashed
    /// leave at once.
    #[must_use]
    pub fn next(&self, params: &SetParams, registry: &[Candidate]) -> Self {
        let churn = (self.members.len() / params.churn_divisor.max(1)).max(1);
        let wanted = wanted(params, registry);
        let mut kept: BTreeMap<u32, u128> = self.members.iter().map(|member| (member.index, member.stake)).collect();
        for slashed in registry.iter().filter(|candidate| candidate.is_slashed) {
            kept.remove(&slashed.index);
        }
        let mut leaving: Vec<(u128, u32)> = kept
            .iter()
            .filter(|(index, _)| !wanted.contains_key(index))
            .map(|(&index, &stake)| (stake, index))
            .collect();
        leaving.sort_unstable();
        for (_, index) in leaving.into_iter().take(churn) {
            kept.remove(&index);
        }
        for (index, stake) in &mut kept {
            *stake = wanted.get(index).copied().unwrap_or(*stake);
        }
        let mut joining: Vec<(u128, u32)> = wanted
            .iter()
            .filter(|(index, _)| !kept.contains_key(index))
            .map(|(&index, &stake)| (stake, index))
            .collect();
        joining.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let room = params.members_max.saturating_sub(kept.len());
        kept.extend(joining.into_iter().take(churn.min(room)).map(|(stake, index)| (index, stake)));
        Self::of(kept.into_iter().map(|(index, stake)| Member { index, stake }).collect())
    }

    /// A set that was stored: its members by rising registry index.
    pub fn from_members(members: Vec<Member>) -> Self {
        Self::of(members)
    }

    fn of(members: Vec<Member>) -> Self {
        let total = members.iter().map(|member| member.stake).sum();
        Self { members, total }
    }

    /// Members by rising registry index.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Stake of all members.
    pub const fn total(&self) -> u128 {
        self.total
    }

    /// Stake of a validator; zero when it is no member.
    pub fn stake(&self, index: u32) -> u128 {
        self.position(index).map_or(0, |position| self.members[position].stake)
    }

    /// Position of a validator among the members.
    pub fn position(&self, index: u32) -> Option<usize> {
        self.members.binary_search_by_key(&index, |member| member.index).ok()
    }

    /// Stake of the members that a bitmap names.
    ///
    /// # Errors
    /// When the bitmap does not fit this set.
    pub fn signed(&self, signers: &Bitmap) -> Result<u128, InvalidBitmap> {
        let (found, expected) = (signers.as_bytes().len(), self.members.len().div_ceil(8));
        if found != expected {
            return Err(InvalidBitmap::Length { found, expected, members: self.members.len() });
        }
        let mut signed = 0;
        for position in signers.positions() {
            signed += self.members.get(position).ok_or(InvalidBitmap::Padding(position))?.stake;
        }
        Ok(signed)
    }

    /// Whether this much stake is at least two thirds of the set's; never for an empty set.
    pub fn is_quorum(&self, stake: u128) -> bool {
        // Supplies are below 2^96 (10^28 wei is below 2^94), so three times a sum of stakes fits.
        self.total > 0 && stake.saturating_mul(3) >= self.total.saturating_mul(2)
    }

    /// Whether this much stake is at least half of the set's; never for an empty set.
    pub fn is_half(&self, stake: u128) -> bool {
        self.total > 0 && stake.saturating_mul(2) >= self.total
    }
}

/// The largest stakes, by index. Among equal ones the earlier registered come first.
fn wanted(params: &SetParams, registry: &[Candidate]) -> BTreeMap<u32, u128> {
    let mut fit: Vec<&Candidate> = registry
        .iter()
        .filter(|candidate| !candidate.is_slashed && candidate.stake >= params.stake_min.max(1))
        .collect();
    fit.sort_unstable_by(|a, b| b.stake.cmp(&a.stake).then(a.index.cmp(&b.index)));
    fit.truncate(params.members_max);
    fit.into_iter().map(|candidate| (candidate.index, candidate.stake)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: SetParams = SetParams { members_max: 4, stake_min: 10, churn_divisor: 4 };

    fn registry(stakes: &[u128]) -> Vec<Candidate> {
        (0u32..).zip(stakes).map(|(index, &stake)| Candidate { index, stake, is_slashed: false }).collect()
    }

    fn text(set: &StakeSet) -> String {
        set.members().iter().map(|member| format!("{}:{}", member.index, member.stake)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_largest_stakes_are_members() {
        let set = StakeSet::of_largest(&PARAMS, &registry(&[10, 9, 30, 20, 10, 40]));
        assert_eq!(text(&set), "0:10 2:30 3:20 5:40", "the earlier of equal stakes, none below the minimum");
        assert_eq!(set.total(), 100);
        assert_eq!((set.stake(5), set.stake(4), set.position(5)), (40, 0, Some(3)));
    }

    #[test]
    fn a_set_changes_by_its_churn() {
        let first = StakeSet::of_largest(&PARAMS, &registry(&[10, 20, 30, 40]));
        // Two larger ones come: one joins, the smallest leaves.
        let second = registry(&[10, 20, 30, 45, 50, 60]);
        let set = first.next(&PARAMS, &second);
        assert_eq!(text(&set), "1:20 2:30 3:45 5:60");
        assert_eq!(text(&set.next(&PARAMS, &second)), "2:30 3:45 4:50 5:60");
    }

    #[test]
    fn who_must_wait_to_leave_keeps_the_recorded_stake() {
        let first = StakeSet::of_largest(&PARAMS, &registry(&[10, 20, 30, 40]));
        let gone = registry(&[0, 0, 30, 40]);
        let set = first.next(&PARAMS, &gone);
        assert_eq!(text(&set), "1:20 2:30 3:40");
        assert_eq!(text(&set.next(&PARAMS, &gone)), "2:30 3:40");
    }

    #[test]
    fn the_slashed_leave_at_once() {
        let first = StakeSet::of_largest(&PARAMS, &registry(&[10, 20, 30, 40]));
        let mut slashed = registry(&[10, 20, 30, 40]);
        for candidate in &mut slashed[1..] {
            candidate.is_slashed = true;
        }
        assert_eq!(text(&first.next(&PARAMS, &slashed)), "0:10");
        assert_eq!(text(&StakeSet::of_largest(&PARAMS, &slashed)), "0:10");
    }

    #[test]
    fn a_quorum_is_two_thirds() {
        let set = StakeSet::of_largest(&PARAMS, &registry(&[10, 10, 10]));
        assert!(set.is_quorum(20) && !set.is_quorum(19));
        assert!(!StakeSet::default().is_quorum(0));
        let set = StakeSet::of_largest(&PARAMS, &registry(&[10, 10, 11]));
        assert!(set.is_half(16) && !set.is_half(15) && !StakeSet::default().is_half(0));
    }

    proptest::proptest! {
        #[test]
        fn churn_and_size_are_bounded(
            old in proptest::collection::vec(0u128..60, 0..40),
            new in proptest::collection::vec(0u128..60, 0..40),
            divisor in 1usize..9,
        ) {
            let params = SetParams { members_max: 24, stake_min: 10, churn_divisor: divisor };
            let first = StakeSet::of_largest(&params, &registry(&old));
            let mut set = first.clone();
            let churn = (first.members().len() / divisor).max(1);
            let next = set.next(&params, &registry(&new));
            let joined = next.members().iter().filter(|member| first.position(member.index).is_none()).count();
            let left = first.members().iter().filter(|member| next.position(member.index).is_none()).count();
            proptest::prop_assert!(joined <= churn && left <= churn && next.members().len() <= 24);
            // It gets where it is wanted.
            for _ in 0..80 {
                set = set.next(&params, &registry(&new));
            }
            proptest::prop_assert_eq!(set, StakeSet::of_largest(&params, &registry(&new)));
        }
    }
}
