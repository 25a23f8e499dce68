//! No unit of money is lost or made: tips, issuance, withdrawals, burned fees.

use crate::lab::{Block, GWEI, Lab, PRODUCER, address, forwarder};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_execution::Payee;
use lattice_types::{ChainSpec, system};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The development chain with issuance for each blue block.
fn issuing(gwei: u64) -> ChainSpec {
    let mut spec = ChainSpec::dev();
    spec.staking.issuance_block_gwei = gwei;
    spec
}

#[test]
fn a_transfer_moves_value_and_burns_the_base_fee() {
    let mut lab = Lab::new();
    let tx = lab.transfer(0, address(1), 5_000, 0);
    let before = [lab.balance(address(0)), lab.balance(address(1))];
    let (success, gas_used, _, executed) = lab.one(tx);
    assert!(success);
    assert_eq!(gas_used, 21_000);
    let fee = U256::from(gas_used) * U256::from(executed.evm.header.base_fee_per_gas.unwrap());
    assert_eq!(lab.balance(address(0)), before[0] - U256::from(5_000) - fee);
    assert_eq!(lab.balance(address(1)), before[1] + U256::from(5_000));
    assert_eq!(executed.evm.receipts.len(), 1);
    assert!(executed.evm.withdrawals.is_empty(), "no tip, no issuance, no withdrawal");
    assert_eq!(executed.diff.accounts.keys().filter(|account| [address(0), address(1)].contains(account)).count(), 2);
}

#[test]
fn tips_are_paid_out_to_whoever_carried_the_transaction() {
    let mut lab = Lab::new();
    let other = Payee { validator: 7, address: Address::repeat_byte(0x0b) };
    let txs = [
        lab.transfer(0, address(5), 1, 3 * GWEI),
        lab.transfer(1, address(5), 1, 2 * GWEI),
        lab.legacy(2, address(5), 1, 50 * GWEI),
    ];
    let block = Block { txs: &txs, payees: &[PRODUCER, other, other], ..Block::default() };
    let (_, executed) = lab.execute(&block).unwrap();
    let base_fee = u128::from(executed.evm.header.base_fee_per_gas.unwrap());
    let withdrawals = &executed.evm.withdrawals;
    // Address order: 0x0b.. before 0xaa..
    assert_eq!(withdrawals.iter().map(|w| w.address).collect::<Vec<_>>(), [other.address, PRODUCER.address]);
    assert_eq!(withdrawals.iter().map(|w| w.validator_index).collect::<Vec<_>>(), [7, 0]);
    let to_other = (2 * GWEI + (50 * GWEI - base_fee)) * 21_000;
    assert_eq!(withdrawals[0].amount, u64::try_from(to_other / GWEI).unwrap());
    assert_eq!(withdrawals[1].amount, 3 * 21_000);
    assert_eq!(lab.balance(PRODUCER.address), U256::from(3 * 21_000 * GWEI));
    assert_eq!(
        lab.balance(system::FEE_VAULT),
        U256::from(3 * 21_000 * GWEI + to_other),
        "the vault keeps what is burned"
    );
}

#[test]
fn withdrawal_indices_run_on_and_addresses_are_joined() {
    let spec = issuing(1_000);
    let mut lab = Lab::with_spec(spec);
    let twin = Payee { validator: 3, address: PRODUCER.address };
    let other = Payee { validator: 1, address: Address::repeat_byte(0xbb) };
    let mut indices = Vec::new();
    for producers in [&[twin, PRODUCER, other][..], &[], &[other]] {
        let (_, executed) = lab.execute(&Block { blue_producers: producers, ..Block::default() }).unwrap();
        indices
            .push(executed.evm.withdrawals.iter().map(|w| (w.index, w.validator_index, w.amount)).collect::<Vec<_>>());
    }
    assert_eq!(indices, [vec![(0, 0, 2_000), (1, 1, 1_000)], vec![], vec![(2, 1, 1_000)]]);
    assert_eq!(lab.balance(other.address), U256::from(2_000 * GWEI));
}

#[test]
fn rewards_below_a_gwei_are_burned() {
    let mut lab = Lab::new();
    let tx = lab.transfer(0, address(1), 1, 7); // 147,000 wei
    let (_, _, _, executed) = lab.one(tx);
    assert!(executed.evm.withdrawals.is_empty());
    assert_eq!(lab.balance(PRODUCER.address), U256::ZERO);
    assert_eq!(lab.balance(system::FEE_VAULT), U256::from(147_000));
}

/// What a random transaction does.
#[derive(Debug, Clone)]
enum Act {
    Transfer { from: usize, to: usize, value: u128, tip: u128 },
    Create { from: usize, value: u128, tip: u128 },
    Revert { from: usize, tip: u128 },
    TooPoor { from: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let tip = 0u128..5 * GWEI;
    prop_oneof![
        (0..4usize, 0..8usize, 0..10u128.pow(18), tip.clone()).prop_map(|(from, to, value, tip)| Act::Transfer {
            from,
            to,
            value,
            tip
        }),
        (0..4usize, 0..1000u128, tip.clone()).prop_map(|(from, value, tip)| Act::Create { from, value, tip }),
        (0..4usize, tip).prop_map(|(from, tip)| Act::Revert { from, tip }),
        (0..4usize).prop_map(|from| Act::TooPoor { from }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// All balances after = all balances before + withdrawals - base fees.
    #[test]
    fn money_is_conserved(acts in prop::collection::vec(act(), 1..12), issuance in 0u64..5_000) {
        let mut lab = Lab::with_spec(issuing(issuance));
        let payees: Vec<Payee> = (0..acts.len())
            .map(|i| Payee { validator: (i % 3) as u32, address: Address::repeat_byte(0xc0 + (i % 3) as u8) })
            .collect();
        let txs: Vec<_> = acts
            .iter()
            .map(|act| match *act {
                Act::Transfer { from, to, value, tip } => lab.transfer(from, address(to), value, tip),
                Act::Create { from, value, tip } => lab.tx(from, TxKind::Create, value, Bytes::from_static(&[0x00]), 100_000, tip),
                // Init code REVERT(0, 0).
                Act::Revert { from, tip } => lab.tx(from, TxKind::Create, 5, Bytes::from_static(&[0x5f, 0x5f, 0xfd]), 100_000, tip),
                Act::TooPoor { from } => {
                    let tx = lab.transfer(from, address(0), u128::MAX / 2, 0);
                    // It is skipped, so its nonce stays free.
                    *lab.nonces.get_mut(&from).unwrap() -= 1;
                    tx
                }
            })
            .collect();
        let before = lab.state.clone();
        let (_, executed) = lab.execute(&Block { txs: &txs, payees: &payees, blue_producers: &payees[..1], ..Block::default() }).unwrap();
        let total = |state: &lattice_state::State, accounts: &BTreeSet<Address>| -> U256 {
            accounts.iter().map(|account| state.account(account).unwrap_or_default().balance).sum()
        };
        let accounts: BTreeSet<Address> = executed.diff.accounts.keys().copied().chain(lab.spec.alloc.iter().map(|a| a.address)).collect();
        let header = &executed.evm.header;
        let burned = U256::from(header.gas_used) * U256::from(header.base_fee_per_gas.unwrap());
        let minted: U256 = executed.evm.withdrawals.iter().map(|w| w.amount_wei()).sum();
        prop_assert_eq!(total(&executed.state, &accounts) + burned, total(&before, &accounts) + minted);

        // What the producers get is what the vault took in, less the dust, plus issuance.
        let tips = executed.state.account(&system::FEE_VAULT).unwrap().balance;
        let due = tips + U256::from(issuance) * U256::from(GWEI);
        prop_assert!(minted <= due && due - minted < U256::from(3 * GWEI));
        let poor = acts.iter().filter(|act| matches!(act, Act::TooPoor { .. })).count();
        prop_assert_eq!(executed.evm.skipped.len(), poor);
    }
}

#[test]
fn a_failed_call_keeps_fee_and_tip() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, &forwarder(crate::lab::CALL, crate::lab::REVERT));
    let tx = lab.tx(1, TxKind::Call(contract), 9, Bytes::from(vec![0; 32]), 100_000, GWEI);
    let before = lab.balance(address(1));
    let (success, gas_used, _, executed) = lab.one(tx);
    assert!(!success);
    let price = U256::from(u128::from(executed.evm.header.base_fee_per_gas.unwrap()) + GWEI);
    assert_eq!(lab.balance(address(1)), before - U256::from(gas_used) * price);
    assert_eq!(lab.balance(contract), U256::ZERO);
}
