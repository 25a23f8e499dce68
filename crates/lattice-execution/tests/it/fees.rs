//! EIP-1559 with an elasticity of 4 and several DAG blocks in an EVM block.

use crate::lab::{Block, Lab, address};
use lattice_execution::{Outcome, base_fee_next};
use lattice_types::ChainSpec;

/// EIP-1559 as the paper has it, in wide integers.
fn expected(base_fee: u64, gas_used: u64, gas_limit: u64, elasticity: u64) -> u64 {
    let (base, used) = (u128::from(base_fee), u128::from(gas_used));
    let target = u128::from(gas_limit / elasticity);
    let next = match used.cmp(&target) {
        std::cmp::Ordering::Equal => base,
        std::cmp::Ordering::Greater => base + (base * (used - target) / target / 8).max(1),
        std::cmp::Ordering::Less => base - base * (target - used) / target / 8,
    };
    u64::try_from(next).unwrap()
}

#[test]
fn the_base_fee_follows_the_gas_of_one_dag_block() {
    // Room for ten transfers a DAG block, so the target is two and a half.
    let spec = ChainSpec { gas_limit: 210_000, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    for (transfers, dag_blocks) in [(0, 1), (10, 1), (5, 1), (2, 1), (20, 3), (30, 3), (7, 3), (0, 3), (10, 4)] {
        let parent = lab.header.clone();
        let txs: Vec<_> = (0..transfers).map(|i| lab.transfer(i % 10, address((i + 1) % 10), 1, 0)).collect();
        let (outcomes, executed) = lab.execute(&Block { txs: &txs, dag_blocks, ..Block::default() }).unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Included { success: true, .. })));
        let header = &executed.evm.header;
        assert_eq!(header.gas_limit, 210_000 * dag_blocks);
        assert_eq!(header.gas_used, 21_000 * transfers as u64);
        let due = expected(parent.base_fee_per_gas.unwrap(), parent.gas_used, parent.gas_limit, 4);
        assert_eq!(header.base_fee_per_gas, Some(due), "{transfers} transfers in {dag_blocks} DAG blocks");
    }
}

#[test]
fn a_block_at_its_target_keeps_the_fee() {
    let spec = ChainSpec { gas_limit: 4 * 21_000, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    let tx = lab.transfer(0, address(1), 1, 0);
    lab.block(&[tx]);
    assert_eq!(base_fee_next(&lab.spec, &lab.header), lab.header.base_fee_per_gas.unwrap());
}

#[test]
fn a_fee_cap_below_the_base_fee_is_skipped() {
    let mut lab = Lab::with_spec(ChainSpec { base_fee_initial: 200_000_000_000, ..ChainSpec::dev() });
    let tx = lab.transfer(0, address(1), 1, 0);
    let (outcomes, _) = lab.block(&[tx]);
    assert_eq!(outcomes, [Outcome::Skipped("gas price is less than basefee".into())]);
}

#[test]
fn a_gas_limit_beyond_what_the_block_has_left_is_skipped_and_later_ones_still_fit() {
    let spec = ChainSpec { gas_limit: 100_000, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    let txs = [
        lab.call_tx(0, address(1), vec![], 60_000), // uses 21,000
        lab.call_tx(1, address(1), vec![], 80_000),
        lab.call_tx(2, address(1), vec![], 79_000),
    ];
    let (outcomes, executed) = lab.block(&txs);
    assert!(matches!(outcomes[0], Outcome::Included { .. }));
    assert_eq!(outcomes[1], Outcome::Skipped("gas limit 80000 exceeds the 79000 gas left in the block".into()));
    assert!(matches!(outcomes[2], Outcome::Included { .. }));
    assert_eq!(executed.evm.skipped.len(), 1);
    assert_eq!(executed.evm.skipped[0].index, 1);
}
