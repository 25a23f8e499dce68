//! Stakes are uneven, and change: stake is added, some is taken out, validators leave, and one joins whose node was there
//! before it had any.

use crate::{
    plan::{Action, Plan, StakeMove},
    stakes::OWNER,
};

/// Epochs of twelve seconds.
const EPOCH_SLOTS: u64 = 48;
/// Time between two moves, ms.
const STEP_MS: u64 = 1_500;
const JOINS_WITH: u64 = 3_000;

/// Moves stake in the first epoch, so that the sets of later ones must follow.
pub fn arrange(plan: &mut Plan) {
    plan.spec.epoch_slots = EPOCH_SLOTS;
    let newcomer = plan.nodes() as u32 - 1;
    plan.spec.validators.truncate(newcomer as usize);
    for (index, validator) in plan.spec.validators.iter_mut().enumerate() {
        validator.stake = 2_000 + 300 * index as u64;
        validator.reward = OWNER;
    }
    let leaving = plan.faulty_max() as u32;
    let stake = |index: u32| plan.spec.validators[index as usize].stake;
    let mut moves = vec![StakeMove::Register(newcomer, JOINS_WITH), StakeMove::Add(leaving, 700)];
    moves.extend((0..leaving).map(|index| StakeMove::Take(index, stake(index))));
    moves.push(StakeMove::Take(newcomer - 1, 500));
    for (place, step) in moves.into_iter().enumerate() {
        plan.at(STEP_MS * (place as u64 + 1), Action::Stake(step));
    }
}
