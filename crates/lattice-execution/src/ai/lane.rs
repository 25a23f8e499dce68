//! The AI lane's price: a multiplier on AI gas that follows demand as the base fee of EIP-1559 does.
//!
//! AI operations have a price in gas on an idle lane. What a call pays is that times the lane price, which is never below 1.
//! It moves at the start of every EVM block, by at most an eighth, with the work of the last one. *Work* is AI gas
//! before the multiplier: measured in what is paid, a rise would look like more demand and feed itself. Bounds and the
//! lane's limit are in gas that is paid, so a higher price also lets less work into a block, and the price stops
//! by itself near limit / target.
//!
//! Price and last use lie in two slots of the fee vault (`docs/spec/ai-state.md`).

use crate::overlay::Overlay;
use alloy_primitives::U256;
use lattice_state::State;
use lattice_types::{ChainSpec, system};

/// Slot of the fee vault with the lane price; 0 stands for the price 1.
const PRICE_SLOT: U256 = U256::from_limbs([1, 0, 0, 0]);
/// Slot of the fee vault with the AI work of the last EVM block, for each of its DAG blocks.
const WORK_SLOT: U256 = U256::from_limbs([2, 0, 0, 0]);

/// A block changes the price by at most one part in this many (EIP-1559).
const CHANGE_DENOMINATOR: u128 = 8;

/// The multiplier on AI gas: fixed-point with nine decimals, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LanePrice(u64);

impl LanePrice {
    /// The price of an idle lane.
    pub const ONE: Self = Self(1_000_000_000);

    /// A price from its fixed-point form; what is below 1 is 1.
    pub const fn from_nanos(nanos: u64) -> Self {
        if nanos < Self::ONE.0 { Self::ONE } else { Self(nanos) }
    }

    /// Its fixed-point form: 1 is 10^9.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// AI gas of that much work, rounded up. Saturates, which no gas limit covers.
    pub const fn gas(self, work: u64) -> u64 {
        let gas = (work as u128 * self.0 as u128).div_ceil(Self::ONE.0 as u128);
        if gas > u64::MAX as u128 { u64::MAX } else { gas as u64 }
    }

    /// The price after a block that did `work` for each DAG block, where `target` leaves it as it is: up or down by an
    /// eighth at most, in proportion to the distance from the target.
    #[must_use]
    pub fn after(self, work: u64, target: u64) -> Self {
        let (price, target) = (u128::from(self.0), u128::from(target.max(1)));
        let work = u128::from(work).min(2 * target);
        let part = |distance: u128| price * distance / target / CHANGE_DENOMINATOR;
        let next = if work > target {
            // A rise is never rounded away.
            price + part(work - target).max(1)
        } else {
            price - part(target - work)
        };
        Self::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
    }
}

/// The AI lane of one state, for wallets and dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AiLane {
    /// The price that the last block charged.
    pub price: LanePrice,
    /// The price that the next block will charge.
    pub price_next: LanePrice,
    /// AI work (AI gas at the price 1) of the last EVM block, for each DAG block it executed.
    pub work: u64,
}

impl AiLane {
    /// The lane after the block whose state this is.
    pub fn read(state: &State, spec: &ChainSpec) -> Self {
        Self::from_slots(|slot| state.storage(&system::FEE_VAULT, slot), spec)
    }

    fn from_slots(mut slot_value: impl FnMut(U256) -> U256, spec: &ChainSpec) -> Self {
        let price = LanePrice::from_nanos(slot_value(PRICE_SLOT).saturating_to());
        let work = slot_value(WORK_SLOT).saturating_to();
        Self { price, price_next: price.after(work, spec.ai_gas_target()), work }
    }
}

/// System operation at the start of a block: moves the price by the last block's work and returns it.
pub(crate) fn open(overlay: &mut Overlay<'_>, spec: &ChainSpec) -> LanePrice {
    let lane = AiLane::from_slots(|slot| overlay.slot(system::FEE_VAULT, slot), spec);
    if lane.price_next != lane.price {
        overlay.write_slot(system::FEE_VAULT, PRICE_SLOT, U256::from(lane.price_next.0));
    }
    lane.price_next
}

/// System operation at the end of a block: keeps its work for the next one's price.
pub(crate) fn close(overlay: &mut Overlay<'_>, work: u64, dag_blocks: u64) {
    let work = U256::from(work.div_ceil(dag_blocks.max(1)));
    if overlay.slot(system::FEE_VAULT, WORK_SLOT) != work {
        overlay.write_slot(system::FEE_VAULT, WORK_SLOT, work);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn price() -> impl Strategy<Value = LanePrice> {
        prop_oneof![
            Just(LanePrice::ONE),
            Just(LanePrice(u64::MAX)),
            (1_000_000_000..100_000_000_000u64).prop_map(LanePrice),
            any::<u64>().prop_map(LanePrice::from_nanos),
        ]
    }

    proptest! {
        #[test]
        fn a_step_is_an_eighth_at_most_and_never_below_one(price in price(), work: u64, target: u64) {
            let next = price.after(work, target);
            prop_assert!(next >= LanePrice::ONE);
            let eighth = u128::from(price.0) / 8;
            prop_assert!(u128::from(next.0) <= u128::from(price.0) + eighth);
            prop_assert!(u128::from(next.0) >= u128::from(price.0) - eighth);
        }

        #[test]
        fn more_work_never_lowers_the_next_price(price in price(), a: u64, b: u64, target: u64) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(price.after(less, target) <= price.after(more, target));
        }

        #[test]
        fn the_target_holds_the_price_and_idleness_ends_at_one(price in price(), target in 1..u64::MAX) {
            prop_assert_eq!(price.after(target, target), price);
            let mut falling = price;
            // ln(2^64 / 10^9) / ln(8/7) is less than 180.
            for _ in 0..190 {
                falling = falling.after(0, target);
            }
            prop_assert_eq!(falling, LanePrice::ONE);
        }

        #[test]
        fn gas_is_monotone_and_at_least_the_work(price in price(), a: u64, b: u64) {
            prop_assert!(price.gas(a) >= a);
            prop_assert!(price.gas(a.min(b)) <= price.gas(a.max(b)));
            prop_assert_eq!(LanePrice::ONE.gas(a), a);
        }

        #[test]
        fn demand_that_ignores_the_price_cannot_push_it_far(units in 1..60_000_000u64) {
            // The lane's limit is in paid gas: work above it does not enter, so the price stops near limit / target.
            let spec = ChainSpec::dev();
            let mut price = LanePrice::ONE;
            for _ in 0..1_000 {
                let entering = units.min(spec.ai_gas_limit * LanePrice::ONE.0 / price.0);
                price = price.after(entering, spec.ai_gas_target());
                prop_assert!(price.0 <= LanePrice::ONE.0 * spec.elasticity / 8 * 9);
            }
        }
    }

    #[test]
    fn rounding_up_charges_for_every_unit() {
        let price = LanePrice(1_000_000_001);
        assert_eq!([price.gas(0), price.gas(1), price.gas(1_000_000_000)], [0, 2, 1_000_000_001]);
        assert_eq!(LanePrice(u64::MAX).gas(u64::MAX), u64::MAX);
    }
}
