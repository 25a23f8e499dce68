//! A few versions of the state that were rebuilt from the store, kept because whoever asks once asks again nearby.
//!
//! Chain blocks are named by key `K`: by hash where forks exist, by height where there is one history only. A version
//! shares all nodes but the changed ones with its neighbours, so what an entry costs is what lies between them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::state::State;

/// A bounded map from chain blocks to states; the entry unused for longest goes first.
pub(crate) struct Versions<K> {
    kept: Mutex<Kept<K>>,
    count_max: usize,
}

struct Kept<K> {
    /// State and the moment of its last use.
    states: BTreeMap<K, (State, u64)>,
    /// Uses so far.
    uses: u64,
}

impl<K: Ord + Copy> Versions<K> {
    /// Keeps at most `count_max` versions.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { kept: Mutex::new(Kept { states: BTreeMap::new(), uses: 0 }), count_max }
    }

    /// The version of exactly this block.
    pub(crate) fn state(&self, key: &K) -> Option<State> {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        let (state, used) = kept.states.get_mut(key)?;
        *used = now;
        Some(state.clone())
    }

    /// The first version at `from` or later, not beyond `to`.
    pub(crate) fn first_between(&self, from: K, to: K) -> Option<(K, State)> {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        let (key, (state, used)) = kept.states.range_mut(from..=to).next()?;
        *used = now;
        Some((*key, state.clone()))
    }

    /// Adds a version.
    pub(crate) fn keep(&self, key: K, state: State) {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        kept.states.insert(key, (state, now));
        if kept.states.len() > self.count_max
            && let Some((&oldest, _)) = kept.states.iter().min_by_key(|(_, (_, used))| *used)
        {
            kept.states.remove(&oldest);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K>> {
        // Every change leaves the map usable, so a reader that panicked does no harm.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_version_unused_for_longest_goes() {
        let versions = Versions::new(2);
        versions.keep(1_u64, State::empty());
        versions.keep(5, State::empty());
        assert!(versions.state(&1).is_some());
        versions.keep(9, State::empty());
        assert!(versions.state(&5).is_none());
        assert!(versions.state(&1).is_some() && versions.state(&9).is_some());
        assert_eq!(versions.first_between(2, 9).unwrap().0, 9);
        assert!(versions.first_between(2, 8).is_none());
    }
}
