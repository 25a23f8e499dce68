//! Not a wei is lost or made: all balances together are what the genesis gave, plus withdrawals (issuance and tips), less
//! the base fees that were burned. Tips and what is slashed lie in the fee vault, which counts.

use crate::{load::receivers, message::NodeId, plan::reward_of, world::World};
use alloy_primitives::{Address, U256};
use lattice_chain::View;
use lattice_state::State;
use lattice_types::{ChainSpec, system};
use std::collections::BTreeSet;

const GWEI: u64 = 1_000_000_000;

/// Every wei at the genesis: balances and stakes.
pub fn at_genesis(spec: &ChainSpec) -> U256 {
    let balances: U256 = spec.alloc.iter().map(|account| account.balance).sum();
    let lat: u64 = spec.validators.iter().map(|validator| validator.stake).sum();
    balances + U256::from(lat) * U256::from(GWEI) * U256::from(GWEI)
}

/// Every account that can hold anything.
fn accounts(spec: &ChainSpec) -> BTreeSet<Address> {
    let rewards = (0..spec.validators.len() as u32).map(reward_of);
    let alloc = spec.alloc.iter().map(|account| account.address);
    let own = [system::FEE_VAULT, system::STAKING, system::MODELS, system::TRAINING, system::INFERENCE];
    alloc.chain(rewards).chain(receivers()).chain(own).collect()
}

fn supply(state: &State, accounts: &BTreeSet<Address>) -> U256 {
    accounts.iter().filter_map(|address| state.account(address)).map(|account| account.balance).sum()
}

impl World {
    /// Counts the supply at a node's newest finalised block, and holds it against what it must be.
    pub(crate) fn check_supply(&mut self, node: NodeId) {
        let Some(chain) = self.nodes[node].chain.as_ref() else { return };
        let Ok(view) = chain.view() else { return };
        let top = view.finalized_number();
        let camp = self.plan.camps[node];
        let counted = self.checks.supply.get(&camp).copied();
        let (from, before) = counted.unwrap_or_else(|| (0, at_genesis(&self.plan.spec)));
        if top <= from {
            return;
        }
        let (Some(minted), Ok(state)) = (minted_less_burned(&view, from, top), view.state_at(top)) else { return };
        let (added, burned) = minted;
        let expected = before + added - burned;
        let found = supply(&state, &accounts(&self.plan.spec));
        if found != expected {
            let detail = format!("node {node}, height {top}: {found} wei, must be {expected} ({before} at {from})");
            return self.violate("not a wei is lost or made", detail);
        }
        self.checks.supply.insert(camp, (top, found));
    }
}

/// What the blocks above one height up to another have paid out, and what base fees they have burned.
fn minted_less_burned(view: &View, from: u64, to: u64) -> Option<(U256, U256)> {
    let (mut added, mut burned) = (U256::ZERO, U256::ZERO);
    for number in from + 1..=to {
        let block = view.block_by_number(number).ok()??;
        let gwei: u64 = block.withdrawals.iter().map(|withdrawal| withdrawal.amount).sum();
        added += U256::from(gwei) * U256::from(GWEI);
        let base_fee = block.header.base_fee_per_gas.unwrap_or(0);
        burned += U256::from(block.header.gas_used) * U256::from(base_fee);
    }
    Some((added, burned))
}
