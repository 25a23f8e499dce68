//! No wei of stake is lost or made: random blocks of stake operations, slashings, issuance, tips and AI operations
//! against a naive book that knows the rules and no slots.

use crate::{
    lab::{Block, GWEI, Lab, address, model_id},
    solidity::{Arg, encode, word},
    staking::{UNBONDING_SLOTS, key, register_data, spec},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use lattice_execution::{
    Executed, Outcome, Payee, Slashing,
    staking::{UNBONDING_MAX, WEI_PER_LAT as LAT, ai_gas_of, stake_held, unbonding, validators},
};
use lattice_state::State;
use lattice_types::{
    TxEnvelope,
    finality::Offence,
    spec::dev_validator_key,
    system,
    tx::operation::{DepositCredits, Operation},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ISSUANCE_BLOCK_GWEI: u64 = 7;
const ISSUANCE_CERTIFICATE_GWEI: u64 = 11;
const SLASH_VOTE_PPM: u32 = 900_001;
const SLASH_EQUIVOCATION_PPM: u32 = 50_003;
const REPORTER_PPM: u32 = 62_507;

/// Keys that register and offend: the chain's own validator and three strangers.
const KEYS: u8 = 4;

fn public_key(number: u8) -> lattice_types::bls::PublicKey {
    if number == 0 { dev_validator_key().public_key() } else { key(number).public_key() }
}

/// Who earns: one of them is the validators' account itself, whose earnings are swept away.
fn payee(number: u8) -> Payee {
    let address = if number == 3 { system::STAKING } else { Address::repeat_byte(0xc0 + number) };
    Payee { validator: number.into(), address }
}

/// What one transaction does.
#[derive(Debug, Clone)]
enum Act {
    Register {
        key: u8,
        stake: u128,
    },
    Add {
        index: u32,
        amount: u128,
    },
    Unstake {
        index: u32,
        amount: u128,
    },
    UnstakeAll {
        index: u32,
    },
    Withdraw {
        index: u32,
    },
    SetReward {
        index: u32,
    },
    Credit {
        amount: u128,
    },
    Infer,
    /// Wei by SELFDESTRUCT.
    Force {
        amount: u128,
    },
}

#[derive(Debug, Clone)]
struct Step {
    acts: Vec<(usize, Act, u128, u8)>,
    slashings: Vec<(u8, bool, u8)>,
    producers: Vec<u8>,
    certificates: Vec<u8>,
    slots: u64,
}

fn act() -> impl Strategy<Value = Act> {
    // Around the minimum of 1,000 wei-odd LAT, and dust.
    let amount = || prop_oneof![0u128..2_000, LAT / 2..3 * LAT];
    let index = || 0u32..5;
    prop_oneof![
        3 => (0..KEYS, amount()).prop_map(|(key, stake)| Act::Register { key, stake }),
        2 => (index(), amount()).prop_map(|(index, amount)| Act::Add { index, amount }),
        3 => (index(), amount()).prop_map(|(index, amount)| Act::Unstake { index, amount }),
        1 => index().prop_map(|index| Act::UnstakeAll { index }),
        3 => index().prop_map(|index| Act::Withdraw { index }),
        1 => index().prop_map(|index| Act::SetReward { index }),
        1 => (1u128..LAT).prop_map(|amount| Act::Credit { amount }),
        1 => Just(Act::Infer),
        1 => (0u128..LAT).prop_map(|amount| Act::Force { amount }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let transaction = (0usize..4, act(), 0u128..3 * GWEI, 0u8..4);
    (
        prop::collection::vec(transaction, 0..4),
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec((0..KEYS + 1, any::<bool>(), 0u8..4), 1..3)],
        prop::collection::vec(0u8..4, 0..3),
        prop::collection::vec(0u8..4, 0..3),
        prop_oneof![Just(0), Just(1), 0..UNBONDING_SLOTS],
    )
        .prop_map(|(acts, slashings, producers, certificates, slots)| Step {
            acts,
            slashings,
            producers,
            certificates,
            slots,
        })
}

/// A validator in the book.
#[derive(Debug, Clone, Default)]
struct Account {
    key: u8,
    owner: Address,
    reward: Address,
    stake: u128,
    leaving: Vec<(u128, u64)>,
    slashed: bool,
    slashed_ppm: u128,
}

#[derive(Debug, Default)]
struct Book {
    accounts: Vec<Account>,
}

impl Book {
    /// Applies an act of the caller at a slot; whether the rules allow it.
    fn apply(&mut self, caller: Address, act: &Act, slot: u64) -> bool {
        match *act {
            Act::Register { key, stake } => {
                // The chain's own key is in the book from the start.
                if stake < LAT || self.accounts.iter().any(|account| account.key == key) {
                    return false;
                }
                self.accounts.push(Account { key, owner: caller, reward: caller, stake, ..Account::default() });
                true
            }
            Act::Add { index, amount } => self.with(index, |account| {
                let allowed = amount > 0 && !account.slashed;
                account.stake += if allowed { amount } else { 0 };
                allowed
            }),
            Act::Unstake { index, amount } => self.with(index, |account| account.unstake(caller, amount, slot)),
            Act::UnstakeAll { index } => self.with(index, |account| account.unstake(caller, account.stake, slot)),
            Act::Withdraw { index } => self.with(index, |account| {
                let before = account.leaving.len();
                account.leaving.retain(|(_, release)| *release > slot);
                account.leaving.len() < before
            }),
            Act::SetReward { index } => self.with(index, |account| {
                if account.owner == caller {
                    account.reward = Address::repeat_byte(0x99);
                }
                account.owner == caller
            }),
            Act::Credit { .. } | Act::Infer | Act::Force { .. } => true,
        }
    }

    fn with(&mut self, index: u32, act: impl FnOnce(&mut Account) -> bool) -> bool {
        self.accounts.get_mut(index as usize).is_some_and(act)
    }

    /// What the offender loses.
    fn slash(&mut self, key: u8, is_vote: bool) -> u128 {
        let ppm = u128::from(if is_vote { SLASH_VOTE_PPM } else { SLASH_EQUIVOCATION_PPM });
        let found = self
            .accounts
            .iter_mut()
            .find(|account| account.key == key && (!account.slashed || account.slashed_ppm < ppm));
        let Some(account) = found else { return 0 };
        account.slashed = true;
        let (more, rest) = (ppm - account.slashed_ppm, 1_000_000 - account.slashed_ppm);
        account.slashed_ppm = ppm;
        let mut lost = 0;
        for amount in std::iter::once(&mut account.stake).chain(account.leaving.iter_mut().map(|(amount, _)| amount)) {
            let cut = *amount * more / rest;
            *amount -= cut;
            lost += cut;
        }
        account.leaving.retain(|(amount, _)| *amount > 0);
        lost
    }

    fn held(&self) -> u128 {
        self.accounts.iter().map(|account| account.stake + account.leaving()).sum()
    }
}

impl Account {
    fn leaving(&self) -> u128 {
        self.leaving.iter().map(|(amount, _)| amount).sum()
    }

    fn unstake(&mut self, caller: Address, amount: u128, slot: u64) -> bool {
        if self.owner != caller || amount == 0 || amount > self.stake {
            return false;
        }
        let left = self.stake - amount;
        if left > 0 && left < LAT {
            return false;
        }
        let release = slot + UNBONDING_SLOTS;
        let is_full = self.leaving.len() == usize::from(UNBONDING_MAX);
        match self.leaving.last_mut() {
            Some((sum, last)) if *last == release => *sum += amount,
            _ if is_full => return false,
            _ => self.leaving.push((amount, release)),
        }
        self.stake = left;
        true
    }
}

fn transaction(lab: &mut Lab, book: &Book, from: usize, act: &Act, tip: u128) -> TxEnvelope {
    let amount_of = |amount: u128| Arg::Word(U256::from(amount));
    let (to, value, input): (Address, u128, Bytes) = match *act {
        Act::Register { key: number, stake } => {
            let key = if number == 0 { dev_validator_key() } else { key(number) };
            (system::STAKING, stake, register_data(&key, &address(from), &address(from)).into())
        }
        Act::Add { index, amount } => (system::STAKING, amount, encode("addStake(uint32)", &[word(index)]).into()),
        Act::Unstake { index, amount } => {
            (system::STAKING, 0, encode("unstake(uint32,uint256)", &[word(index), amount_of(amount)]).into())
        }
        Act::UnstakeAll { index } => {
            let amount = book.accounts.get(index as usize).map_or(0, |account| account.stake);
            (system::STAKING, 0, encode("unstake(uint32,uint256)", &[word(index), amount_of(amount)]).into())
        }
        Act::Withdraw { index } => (system::STAKING, 0, encode("withdraw(uint32)", &[word(index)]).into()),
        Act::SetReward { index } => {
            let to = Address::repeat_byte(0x99).into_word().into();
            (system::STAKING, 0, encode("setReward(uint32,address)", &[word(index), Arg::Word(to)]).into())
        }
        Act::Credit { amount } => (system::MODELS, amount, DepositCredits { account: address(from) }.input()),
        Act::Infer => (system::INFERENCE, 0, crate::lab::inference_payload(model_id(), &[1; 8]).into()),
        Act::Force { amount } => {
            let code = [&[0x73], system::STAKING.as_slice(), &[0xff]].concat();
            return lab.tx(from, TxKind::Create, amount, code.into(), 100_000, tip);
        }
    };
    lab.tx(from, TxKind::Call(to), value, input, 1_000_000, tip)
}

/// Sum of the balances of these accounts.
fn total(state: &State, accounts: &BTreeSet<Address>) -> U256 {
    accounts.iter().map(|account| state.account(account).unwrap_or_default().balance).sum()
}

/// Executes a step and compares every account and every wei with the book.
fn run(lab: &mut Lab, book: &mut Book, step: &Step) -> Result<(), TestCaseError> {
    lab.slot += step.slots;
    let slot = lab.slot + 1;
    let mut burned = 0;
    let mut earned: BTreeMap<Address, u128> = BTreeMap::new();
    let mut slashings = Vec::new();
    for (key, is_vote, reporter) in &step.slashings {
        let lost = book.slash(*key, *is_vote);
        burned += lost;
        *earned.entry(payee(*reporter).address).or_default() += lost * u128::from(REPORTER_PPM) / 1_000_000;
        let offence = if *is_vote { Offence::Surround } else { Offence::Equivocation };
        slashings.push(Slashing { public_key: public_key(*key), offence, reporter: payee(*reporter) });
    }
    let (mut txs, mut payees, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
    for (from, act, tip, carrier) in &step.acts {
        txs.push(transaction(lab, book, *from, act, *tip));
        payees.push(payee(*carrier));
        allowed.push(book.apply(address(*from), act, slot));
    }
    let producers: Vec<_> = step.producers.iter().map(|number| payee(*number)).collect();
    let certificates: Vec<_> = step.certificates.iter().map(|number| payee(*number)).collect();
    let before = lab.state.clone();
    let block = Block {
        txs: &txs,
        payees: &payees,
        blue_producers: &producers,
        certificates: &certificates,
        slashings: &slashings,
        carriers: &[(B256::repeat_byte(1), 0), (B256::ZERO, 1)],
        ..Block::default()
    };
    let (outcomes, executed) = lab.execute(&block).unwrap();
    let mut ai_gas = 0;
    for (index, outcome) in outcomes.iter().enumerate() {
        let Outcome::Included { success, gas_used, ai_gas_used, output } = outcome else {
            return Err(TestCaseError::fail(format!("{outcome:?}")));
        };
        let reason = lattice_execution::ai::revert_reason(output);
        prop_assert_eq!(*success, allowed[index], "{:?}: {:?}", step.acts[index], reason);
        let tip = step.acts[index].2 * u128::from(*gas_used);
        burned += tip;
        *earned.entry(payees[index].address).or_default() += tip;
        ai_gas += ai_gas_used;
    }
    prop_assert_eq!([ai_gas_of(&lab.state, 0), ai_gas_of(&lab.state, 1)], [ai_gas, 0]);
    for (payees, gwei) in [(&producers, ISSUANCE_BLOCK_GWEI), (&certificates, ISSUANCE_CERTIFICATE_GWEI)] {
        for payee in payees {
            *earned.entry(payee.address).or_default() += u128::from(gwei) * GWEI;
        }
    }
    // What reaches the account past its door is swept: forced wei, and the rewards of the fourth payee.
    burned +=
        step.acts.iter().map(|(_, act, ..)| if let Act::Force { amount } = act { *amount } else { 0 }).sum::<u128>();
    burned += earned.get(&system::STAKING).map_or(0, |wei| wei / GWEI * GWEI);
    check_money(&before, &executed, &earned, burned)?;
    check_registry(lab, book)
}

fn check_money(
    before: &State,
    executed: &Executed,
    earned: &BTreeMap<Address, u128>,
    burned: u128,
) -> Result<(), TestCaseError> {
    let paid: BTreeMap<_, _> = executed.evm.withdrawals.iter().map(|w| (w.address, u128::from(w.amount))).collect();
    let due: BTreeMap<_, _> =
        earned.iter().map(|(address, wei)| (*address, wei / GWEI)).filter(|(_, gwei)| *gwei > 0).collect();
    prop_assert_eq!(&paid, &due, "a withdrawal for each, rounded down to gwei");
    let minted = U256::from(paid.values().sum::<u128>() * GWEI);
    let header = &executed.evm.header;
    let fees = U256::from(header.gas_used) * U256::from(header.base_fee_per_gas.unwrap());
    let accounts: BTreeSet<Address> = executed.diff.accounts.keys().copied().collect();
    prop_assert_eq!(total(&executed.state, &accounts) + fees, total(before, &accounts) + minted);
    let vault = |state: &State| state.account(&system::FEE_VAULT).unwrap().balance;
    prop_assert_eq!(vault(&executed.state), vault(before) + U256::from(burned));
    Ok(())
}

fn check_registry(lab: &Lab, book: &Book) -> Result<(), TestCaseError> {
    let records = validators(&lab.state);
    prop_assert_eq!(records.len(), book.accounts.len());
    for (record, account) in records.iter().zip(&book.accounts) {
        prop_assert_eq!(record.public_key, public_key(account.key));
        prop_assert_eq!((record.owner, record.reward), (account.owner, account.reward));
        prop_assert_eq!(record.stake, U256::from(account.stake));
        prop_assert_eq!(record.unbonding, U256::from(account.leaving()));
        prop_assert_eq!(record.slashed, account.slashed);
        let entries: Vec<_> = unbonding(&lab.state, record.index);
        let entries: Vec<_> = entries.iter().map(|entry| (entry.amount, entry.release_slot)).collect();
        prop_assert_eq!(&entries, &account.leaving);
    }
    prop_assert_eq!(lab.balance(system::STAKING), U256::from(book.held()));
    prop_assert_eq!(stake_held(&lab.state), U256::from(book.held()));
    Ok(())
}

#[test]
fn every_wei_of_stake_is_somebodys() {
    let mut spec = spec();
    spec.validators[0].stake = 3;
    spec.validators[0].reward = address(3);
    let staking = &mut spec.staking;
    staking.stake_min = 1;
    staking.issuance_block_gwei = ISSUANCE_BLOCK_GWEI;
    staking.issuance_certificate_gwei = ISSUANCE_CERTIFICATE_GWEI;
    staking.slash_vote_ppm = SLASH_VOTE_PPM;
    staking.slash_equivocation_ppm = SLASH_EQUIVOCATION_PPM;
    staking.reporter_ppm = REPORTER_PPM;
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let mut lab = Lab::with_spec(spec.clone());
        lab.ready_model();
        let own = Account { owner: address(3), reward: address(3), stake: 3 * LAT, ..Account::default() };
        let mut book = Book { accounts: vec![own] };
        check_registry(&lab, &book)?;
        for step in &steps {
            run(&mut lab, &mut book, step)?;
        }
        // In the end everything leaves, and the account is empty.
        let all: Vec<u32> = (0..book.accounts.len() as u32).collect();
        for slots in [UNBONDING_SLOTS, 0] {
            let wave = |act: fn(u32) -> Act| Step {
                acts: all.iter().flat_map(|index| (0..4).map(move |from| (from, act(*index), 0, 0))).collect(),
                slashings: Vec::new(),
                producers: Vec::new(),
                certificates: Vec::new(),
                slots,
            };
            run(&mut lab, &mut book, &wave(|index| Act::Withdraw { index }))?;
            run(&mut lab, &mut book, &wave(|index| Act::UnstakeAll { index }))?;
            lab.slot += UNBONDING_SLOTS;
        }
        run(&mut lab, &mut book, &Step {
            acts: all.iter().map(|index| (0, Act::Withdraw { index: *index }, 0, 0)).collect(),
            slashings: Vec::new(),
            producers: Vec::new(),
            certificates: Vec::new(),
            slots: 0,
        })?;
        prop_assert_eq!(lab.balance(system::STAKING), U256::ZERO);
    });
}
