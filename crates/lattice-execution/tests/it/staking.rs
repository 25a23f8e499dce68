//! Validators and their stake: what the door does and refuses, what system operations do.

use crate::{
    lab::{
        Block, CALL, CALLCODE, DELEGATECALL, GWEI, Lab, PRODUCER, RETURN, REVERT, STATICCALL, address, forward,
        forwarder, simulate_reason,
    },
    operations::{refused, send},
    solidity::{Arg, bytes_at, encode, init_code, word},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    CallRequest, CallStatus, Executed, Outcome, Payee, Slashing, simulate,
    staking::{
        self, UNBONDING_MAX, ValidatorRecord, WEI_PER_LAT as LAT, ai_gas_of, index_of, reward_address, unbonding,
        validator, validator_count, validators,
    },
};
use lattice_types::{
    ChainSpec,
    bls::{self, Domain},
    finality::Offence,
    spec::{DEV_CHAIN_ID, Validator, dev_validator_key},
    system,
};

/// Slots from unstaking to withdrawing in these tests.
pub const UNBONDING_SLOTS: u64 = 20;

pub fn key(seed: u8) -> bls::SecretKey {
    bls::SecretKey::from_seed(&[seed; 32])
}

pub fn possession(key: &bls::SecretKey, owner: &Address) -> bls::Signature {
    key.sign(Domain::Possession, DEV_CHAIN_ID, owner.as_slice())
}

pub fn register_data(key: &bls::SecretKey, owner: &Address, reward: &Address) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Arg::Bytes(bytes.to_vec());
    encode(
        "register(bytes,bytes,address)",
        &[
            bytes(key.public_key().as_slice()),
            bytes(possession(key, owner).as_slice()),
            Arg::Word(reward.into_word().into()),
        ],
    )
}

/// The development chain with a short way out for stake.
pub fn spec() -> ChainSpec {
    let mut spec = ChainSpec::dev();
    spec.staking.unbonding_slots = UNBONDING_SLOTS;
    spec
}

fn lab() -> Lab {
    Lab::with_spec(spec())
}

fn stake(lab: &mut Lab, from: usize, value: u128, signature: &str, args: &[Arg]) -> Result<Bytes, String> {
    send(lab, from, system::STAKING, value, encode(signature, args).into())
}

/// Registers the key of this seed for a development account, which gets the rewards too; its index.
fn register(lab: &mut Lab, from: usize, seed: u8, lat: u128) -> u32 {
    let data = register_data(&key(seed), &address(from), &address(from));
    let output = send(lab, from, system::STAKING, lat * LAT, data.into()).unwrap();
    U256::from_be_slice(&output).to()
}

fn number(output: &[u8]) -> U256 {
    U256::from_be_slice(output)
}

fn record(lab: &Lab, index: u32) -> ValidatorRecord {
    validator(&lab.state, index).unwrap()
}

fn lat(amount: u128) -> U256 {
    U256::from(amount * LAT)
}

#[test]
fn genesis_enrols_the_chains_validators() {
    let second = Validator { public_key: key(9).public_key(), stake: 2_500, reward: address(4) };
    let mut spec = spec();
    spec.validators.push(second.clone());
    let lab = Lab::with_spec(spec.clone());
    assert_eq!(validator_count(&lab.state), 2);
    let first = ValidatorRecord {
        index: 0,
        public_key: dev_validator_key().public_key(),
        owner: spec.validators[0].reward,
        reward: spec.validators[0].reward,
        stake: lat(1_000),
        unbonding: U256::ZERO,
        slashed: false,
        slashed_ppm: 0,
    };
    assert_eq!(validators(&lab.state)[0], first);
    assert_eq!((record(&lab, 1).stake, record(&lab, 1).owner), (lat(2_500), address(4)));
    assert_eq!(index_of(&lab.state, &second.public_key), Some(1));
    assert_eq!(index_of(&lab.state, &key(8).public_key()), None);
    assert_eq!((reward_address(&lab.state, 1), reward_address(&lab.state, 2)), (address(4), Address::ZERO));
    assert_eq!(validator(&lab.state, 2), None);
    assert_eq!(lab.balance(system::STAKING), lat(3_500));
}

#[test]
fn registering_makes_a_validator() {
    let mut lab = lab();
    let reward = Address::repeat_byte(0x77);
    let before = lab.balance(address(1));
    let data = register_data(&key(1), &address(1), &reward);
    let tx = lab.tx(1, TxKind::Call(system::STAKING), 1_500 * LAT, data.into(), 1_000_000, 0);
    let (success, gas, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    assert_eq!(number(&output), U256::ONE);
    assert!((472_000..480_000).contains(&gas), "{gas}");
    let expected = ValidatorRecord {
        index: 1,
        public_key: key(1).public_key(),
        owner: address(1),
        reward,
        stake: lat(1_500),
        unbonding: U256::ZERO,
        slashed: false,
        slashed_ppm: 0,
    };
    assert_eq!(record(&lab, 1), expected);
    assert_eq!(index_of(&lab.state, &key(1).public_key()), Some(1));
    assert_eq!(lab.balance(system::STAKING), lat(2_500));
    let fee = U256::from(gas) * U256::from(executed.evm.header.base_fee_per_gas.unwrap());
    assert_eq!(lab.balance(address(1)), before - lat(1_500) - fee);

    let log = &executed.evm.receipts[0].logs[0];
    assert_eq!(log.address, system::STAKING);
    let signature = keccak256("Registered(uint32,address,bytes,address,uint256)");
    assert_eq!(log.topics(), [signature, B256::from(U256::ONE), address(1).into_word()]);
    assert_eq!(bytes_at(&log.data.data, 0), key(1).public_key().as_slice());
    assert_eq!(log.data.data[32..96], [reward.into_word().0, lat(1_500).to_be_bytes()].concat());
}

#[test]
fn registering_refuses_with_a_reason() {
    let mut lab = lab();
    register(&mut lab, 1, 1, 1_000);
    let try_to = |lab: &mut Lab, value: u128, args: [&[u8]; 2], reward: Arg| {
        let args = [Arg::Bytes(args[0].to_vec()), Arg::Bytes(args[1].to_vec()), reward];
        stake(lab, 2, value, "register(bytes,bytes,address)", &args)
    };
    let reward = || Arg::Word(address(2).into_word().into());
    let (public, proof) = (key(2).public_key(), possession(&key(2), &address(2)));
    let (public, proof) = (public.as_slice(), proof.as_slice());
    let known = (key(1).public_key(), possession(&key(1), &address(2)));
    let result = try_to(&mut lab, 1_000 * LAT, [known.0.as_slice(), known.1.as_slice()], reward());
    refused(result, "registered as validator 1 for good");
    refused(try_to(&mut lab, 1_000 * LAT - 1, [public, proof], reward()), "a validator needs 1000000000000000000000");
    refused(try_to(&mut lab, 0, [public, proof], reward()), "no value came along");
    refused(try_to(&mut lab, 1_000 * LAT, [&public[1..], proof], reward()), "the public key has 47 bytes");
    refused(try_to(&mut lab, 1_000 * LAT, [public, &[]], reward()), "the proof of possession has 0 bytes");
    refused(try_to(&mut lab, 1_000 * LAT, [public, proof], Arg::Word(U256::MAX)), "the reward address is missing");
    // Proofs of somebody else, for another chain, of another key, and no points at all.
    let others = possession(&key(2), &address(3));
    let elsewhere = key(2).sign(Domain::Possession, 1, address(2).as_slice());
    let as_vote = key(2).sign(Domain::Vote, DEV_CHAIN_ID, address(2).as_slice());
    for wrong in [others, elsewhere, as_vote, possession(&key(3), &address(2))] {
        let result = try_to(&mut lab, 1_000 * LAT, [public, wrong.as_slice()], reward());
        refused(result, "possession is not proven: the BLS signature does not verify");
    }
    let infinity = [&[0xc0][..], &[0; 47]].concat();
    for (public, proof) in [(&[7; 48][..], proof), (&infinity[..], proof), (public, &[7; 96][..])] {
        refused(try_to(&mut lab, 1_000 * LAT, [public, proof], reward()), "not a valid BLS12-381");
    }
    assert_eq!(validator_count(&lab.state), 2);
    assert!(try_to(&mut lab, 1_000 * LAT, [public, proof], reward()).is_ok());
}

#[test]
fn a_wrong_proof_costs_what_a_right_one_does() {
    let mut lab = lab();
    let data = register_data(&key(1), &address(2), &address(1));
    let tx = lab.tx(1, TxKind::Call(system::STAKING), 1_000 * LAT, data.into(), 1_000_000, 0);
    let (success, gas, ..) = lab.one(tx);
    assert!(!success && gas > 470_000, "{gas}");
    let data = register_data(&key(1), &address(1), &address(1));
    let tx = lab.tx(1, TxKind::Call(system::STAKING), 1_000 * LAT, data.into(), 460_000, 0);
    let (success, gas, output, _) = lab.one(tx);
    assert!(!success && output.is_empty() && gas == 460_000, "too little gas halts before the proof is looked at");
}

#[test]
fn anybody_adds_stake() {
    let mut lab = lab();
    let output = stake(&mut lab, 5, 3 * LAT, "addStake(uint32)", &[word(0)]).unwrap();
    assert_eq!(number(&output), lat(1_003));
    assert_eq!((record(&lab, 0).stake, lab.balance(system::STAKING)), (lat(1_003), lat(1_003)));
    refused(stake(&mut lab, 5, 0, "addStake(uint32)", &[word(0)]), "send the stake to add as value");
    refused(stake(&mut lab, 5, 1, "addStake(uint32)", &[word(1)]), "there is no validator 1: the registry has 1");
    refused(
        stake(&mut lab, 5, 1, "addStake(uint32)", &[Arg::Word(U256::MAX)]),
        "index (uint32) is missing or malformed",
    );
}

#[test]
fn stake_comes_out_after_the_delay() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_500);
    let args = |amount: U256| [word(index), Arg::Word(amount)];
    let unstake = "unstake(uint32,uint256)";
    refused(stake(&mut lab, 2, 0, unstake, &args(lat(1))), "its owner has to do this");
    refused(stake(&mut lab, 1, 1, unstake, &args(lat(1))), "takes no value");
    refused(stake(&mut lab, 1, 0, unstake, &args(U256::ZERO)), "unstake 1 to that many");
    refused(stake(&mut lab, 1, 0, unstake, &args(lat(1_501))), "unstake 1 to that many");
    refused(stake(&mut lab, 1, 0, unstake, &args(U256::MAX)), "unstake 1 to that many");
    refused(stake(&mut lab, 1, 0, unstake, &args(lat(501))), "leave that, or unstake all");
    refused(stake(&mut lab, 1, 0, "withdraw(uint32)", &[word(index)]), "unstake first");

    let release = stake(&mut lab, 1, 0, unstake, &args(lat(500))).unwrap();
    let first = lab.slot + UNBONDING_SLOTS;
    assert_eq!(number(&release), U256::from(first));
    assert_eq!((record(&lab, index).stake, record(&lab, index).unbonding), (lat(1_000), lat(500)));
    lab.slot += 4;
    let release = stake(&mut lab, 1, 0, unstake, &args(lat(1_000))).unwrap();
    assert_eq!(number(&release), U256::from(first + 5));
    assert_eq!((record(&lab, index).stake, record(&lab, index).unbonding), (U256::ZERO, lat(1_500)));
    assert_eq!(lab.balance(system::STAKING), lat(2_500), "what is on its way out lies there still");

    lab.slot = first - 2;
    refused(stake(&mut lab, 3, 0, "withdraw(uint32)", &[word(index)]), &format!("are released at slot {first}"));
    let before = lab.balance(address(1));
    // Slot `first`, by a stranger, to the owner: the older part only.
    let amount = stake(&mut lab, 3, 0, "withdraw(uint32)", &[word(index)]).unwrap();
    assert_eq!((number(&amount), lab.balance(address(1))), (lat(500), before + lat(500)));
    assert_eq!(unbonding(&lab.state, index).iter().map(|entry| entry.amount).collect::<Vec<_>>(), [1_000 * LAT]);
    lab.slot += 10;
    stake(&mut lab, 3, 0, "withdraw(uint32)", &[word(index)]).unwrap();
    assert_eq!((record(&lab, index).stake, record(&lab, index).unbonding), (U256::ZERO, U256::ZERO));
    assert_eq!((lab.balance(system::STAKING), lab.balance(address(1))), (lat(1_000), before + lat(1_500)));
    refused(stake(&mut lab, 3, 0, "withdraw(uint32)", &[word(index)]), "unstake first");
    // The index and the key stay; stake may come back.
    stake(&mut lab, 2, 2_000 * LAT, "addStake(uint32)", &[word(index)]).unwrap();
    assert_eq!((record(&lab, index).stake, record(&lab, index).owner), (lat(2_000), address(1)));
}

#[test]
fn withdrawals_under_way_are_bounded() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_100);
    let unstake = |lab: &mut Lab| stake(lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(1))]);
    for _ in 0..UNBONDING_MAX {
        unstake(&mut lab).unwrap();
    }
    let first = unbonding(&lab.state, index)[0].release_slot;
    refused(unstake(&mut lab), &format!("8 withdrawals under way: withdraw the first from slot {first} on"));
    // In one block they are one entry.
    lab.slot = first - 1;
    let mut tx = |signature: &str, args: &[Arg]| {
        lab.tx(1, TxKind::Call(system::STAKING), 0, encode(signature, args).into(), 300_000, 0)
    };
    let unstake = [word(index), Arg::Word(lat(1))];
    let txs = [
        tx("withdraw(uint32)", &[word(index)]),
        tx("unstake(uint32,uint256)", &unstake),
        tx("unstake(uint32,uint256)", &unstake),
    ];
    let (outcomes, _) = lab.block(&txs);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Included { success: true, .. })), "{outcomes:?}");
    let entries = unbonding(&lab.state, index);
    assert_eq!((entries.len(), entries[7].amount), (8, 2 * LAT));
}

#[test]
fn the_owner_sets_the_reward_address() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_000);
    let to = Address::repeat_byte(0x44);
    let args = || [word(index), Arg::Word(to.into_word().into())];
    refused(stake(&mut lab, 2, 0, "setReward(uint32,address)", &args()), "its owner has to do this");
    let before = stake(&mut lab, 1, 0, "setReward(uint32,address)", &args()).unwrap();
    assert_eq!(Address::from_word(B256::from_slice(&before)), address(1));
    assert_eq!((reward_address(&lab.state, index), record(&lab, index).owner), (to, address(1)));
}

#[test]
fn readers_answer_in_solidity() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_200);
    stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(200))]).unwrap();
    let release = lab.slot + UNBONDING_SLOTS;
    let way = lab.deploy(0, &forwarder(STATICCALL, RETURN));
    let view = |signature: &str, args: &[Arg]| {
        let data = encode(signature, args);
        let plain = lab.call(system::STAKING, data.clone());
        assert_eq!(plain.status, CallStatus::Success, "{signature}");
        let nested = lab.call(way, forward(system::STAKING, &data));
        assert_eq!(nested.output[32..], plain.output[..], "a STATICCALL may read");
        plain.output
    };
    assert_eq!(number(&view("validatorCount()", &[])), U256::from(2));
    let key_arg = || Arg::Bytes(key(1).public_key().to_vec());
    assert_eq!(number(&view("indexOf(bytes)", &[key_arg()])), U256::from(index));
    let record = view("validator(uint32)", &[word(index)]);
    assert_eq!(bytes_at(&record, 0), key(1).public_key().as_slice());
    let words: Vec<U256> = record[32..192].chunks(32).map(U256::from_be_slice).collect();
    let owner: U256 = address(1).into_word().into();
    assert_eq!(words, [owner, owner, lat(1_000), lat(200), U256::ZERO]);
    let entries = view("unbonding(uint32)", &[word(index)]);
    let words: Vec<U256> = entries.chunks(32).map(U256::from_be_slice).collect();
    let one = U256::ONE;
    assert_eq!(words, [U256::from(64), U256::from(128), one, lat(200), one, U256::from(release)]);

    for (data, reason) in [
        (encode("indexOf(bytes)", &[Arg::Bytes(key(7).public_key().to_vec())]), "no validator has the key"),
        (encode("validator(uint32)", &[word(2)]), "there is no validator 2"),
        (encode("validator(uint32)", &[]), "missing or malformed"),
        (encode("nothing()", &[]), "has no function 0x"),
        (vec![1, 2], "the input has 2 bytes"),
    ] {
        let CallStatus::Reverted(Some(text)) = lab.call(system::STAKING, data).status else { panic!("{reason}") };
        assert!(text.contains(reason), "{text:?} should say {reason:?}");
    }
}

#[test]
fn value_without_a_function_comes_back() {
    let mut lab = lab();
    refused(send(&mut lab, 1, system::STAKING, LAT, Bytes::new()), "send the value with addStake(uint32)");
    refused(send(&mut lab, 1, system::STAKING, 1, encode("validatorCount()", &[]).into()), "takes no value");
    assert_eq!(lab.balance(system::STAKING), lat(1_000));
}

#[test]
fn only_plain_calls_write_and_reverts_undo() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_500);
    let calls = [
        encode("addStake(uint32)", &[word(index)]),
        encode("unstake(uint32,uint256)", &[word(index), Arg::Word(lat(1))]),
        encode("withdraw(uint32)", &[word(index)]),
        encode("setReward(uint32,address)", &[word(index), word(1)]),
        register_data(&key(2), &address(1), &address(1)),
    ];
    let root = |lab: &Lab| (lab.state.storage_root(&system::STAKING), lab.balance(system::STAKING));
    let before = root(&lab);
    for (op, reason) in [
        (STATICCALL, "call it without STATICCALL"),
        (DELEGATECALL, "must be called with CALL"),
        (CALLCODE, "must be called with CALL"),
    ] {
        let way = lab.deploy(0, &forwarder(op, RETURN));
        for data in &calls {
            let tx = lab.call_tx(1, way, forward(system::STAKING, data), 1_000_000);
            let (success, _, output, _) = lab.one(tx);
            assert!(success && output[31] == 0);
            assert!(simulate_reason(&output[32..]).contains(reason), "{}", simulate_reason(&output[32..]));
        }
        assert_eq!(root(&lab), before);
    }
    // What a contract that reverts did is undone. A contract's stake is its own.
    let owner = lab.deploy(0, &forwarder(CALL, RETURN));
    let undoing = lab.deploy(0, &forwarder(CALL, REVERT));
    let data = encode("setReward(uint32,address)", &[word(index), word(1)]);
    let tx = lab.call_tx(1, owner, forward(system::STAKING, &data), 1_000_000);
    assert!(simulate_reason(&lab.one(tx).2[32..]).contains("its owner has to do this"));
    stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(500))]).unwrap();
    lab.slot += UNBONDING_SLOTS;
    let before = (root(&lab), lab.balance(address(1)));
    let data = encode("withdraw(uint32)", &[word(index)]);
    let tx = lab.call_tx(2, undoing, forward(system::STAKING, &data), 1_000_000);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && output[31] == 1, "the inner call succeeded");
    assert_eq!((root(&lab), lab.balance(address(1))), before);
}

#[test]
fn a_contract_owns_a_validator_through_the_interface() {
    let mut lab = lab();
    let nonce = lab.nonces.get(&0).copied().unwrap_or(0);
    let code = init_code(include_str!("../../../../contracts/artifacts/StakingPool.json"));
    let tx = lab.tx(0, TxKind::Create, 0, code, 3_000_000, 0);
    assert!(lab.one(tx).0);
    let pool = address(0).create(nonce);
    let run = |lab: &mut Lab, value: u128, signature: &str, args: &[Arg]| {
        let tx = lab.tx(1, TxKind::Call(pool), value, encode(signature, args).into(), 1_000_000, 0);
        let (success, _, output, _) = lab.one(tx);
        if success { Ok(output) } else { Err(simulate_reason(&output)) }
    };
    let register =
        |owner: &Address| [Arg::Bytes(key(1).public_key().to_vec()), Arg::Bytes(possession(&key(1), owner).to_vec())];
    let stolen = run(&mut lab, 1_500 * LAT, "register(bytes,bytes)", &register(&address(1)));
    refused(stolen, "possession is not proven");
    run(&mut lab, 1_500 * LAT, "register(bytes,bytes)", &register(&pool)).unwrap();
    let index = index_of(&lab.state, &key(1).public_key()).unwrap();
    assert_eq!((record(&lab, index).owner, record(&lab, index).reward), (pool, pool));
    assert_eq!(number(&run(&mut lab, LAT, "add()", &[]).unwrap()), lat(1_501));
    let release = run(&mut lab, 0, "take(uint256)", &[Arg::Word(lat(400))]).unwrap();
    assert_eq!(number(&release), U256::from(lab.slot + UNBONDING_SLOTS));
    refused(run(&mut lab, 0, "collect()", &[]), "are released at slot");
    let before = run(&mut lab, 0, "redirect(address)", &[word(9u8)]).unwrap();
    assert_eq!(Address::from_word(B256::from_slice(&before)), pool);

    let total = lab.call(pool, encode("total()", &[])).output;
    let words: Vec<U256> = total.chunks(32).map(U256::from_be_slice).collect();
    assert_eq!(words, [lat(1_101), lat(400), U256::ONE, U256::ZERO]);
    let found = lab.call(pool, encode("find(bytes)", &[Arg::Bytes(key(1).public_key().to_vec())])).output;
    assert_eq!((number(&found[..32]), number(&found[32..])), (U256::from(index), U256::from(2)));

    lab.slot += UNBONDING_SLOTS;
    run(&mut lab, 0, "collect()", &[]).unwrap();
    assert_eq!(lab.balance(pool), lat(400));
}

const REPORTER: Payee = Payee { validator: 3, address: Address::repeat_byte(0x33) };

fn slashing(public_key: bls::PublicKey, offence: Offence) -> Slashing {
    Slashing { public_key, offence, reporter: REPORTER }
}

fn execute_slashings(lab: &mut Lab, slashings: &[Slashing]) -> Executed {
    lab.execute(&Block { slashings, ..Block::default() }).unwrap().1
}

#[test]
fn an_equivocation_costs_a_share_of_everything() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_500);
    stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(500))]).unwrap();
    let vault = lab.balance(system::FEE_VAULT);
    let executed = execute_slashings(&mut lab, &[slashing(key(1).public_key(), Offence::Equivocation)]);
    // 5% of 1,000 bonded and of 500 on its way out; a sixteenth of that to the reporter.
    let slashed = record(&lab, index);
    assert_eq!((slashed.stake, slashed.unbonding, slashed.slashed), (lat(950), lat(475), true));
    assert_eq!(lab.balance(system::STAKING), lat(1_000 + 950 + 475));
    assert_eq!(lab.balance(system::FEE_VAULT), vault + lat(75), "what is slashed is burned");
    let withdrawals = &executed.evm.withdrawals;
    assert_eq!(withdrawals.len(), 1);
    let reward = 75 * 62_500 * 1_000; // LAT in gwei times millionths
    assert_eq!(
        (withdrawals[0].validator_index, withdrawals[0].address, withdrawals[0].amount),
        (3, REPORTER.address, reward)
    );
    assert_eq!(lab.balance(REPORTER.address), U256::from(u128::from(reward) * GWEI));

    // Once and for ever.
    let executed = execute_slashings(&mut lab, &[slashing(key(1).public_key(), Offence::Equivocation)]);
    assert!(executed.evm.withdrawals.is_empty());
    assert_eq!(record(&lab, index), slashed);
    refused(stake(&mut lab, 2, LAT, "addStake(uint32)", &[word(index)]), "was slashed and never validates again");
    // The rest is below the minimum; all of it may leave, by the ordinary way.
    refused(
        stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(1))]),
        "leave that, or unstake all",
    );
    stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(950))]).unwrap();
    lab.slot += UNBONDING_SLOTS;
    let before = lab.balance(address(1));
    stake(&mut lab, 2, 0, "withdraw(uint32)", &[word(index)]).unwrap();
    assert_eq!(lab.balance(address(1)), before + lat(950 + 475));
    assert!(record(&lab, index).slashed);
    assert_eq!(lab.balance(system::STAKING), lat(1_000));
}

#[test]
fn a_double_or_surround_vote_costs_all() {
    for offence in [Offence::Double, Offence::Surround] {
        let mut lab = lab();
        let index = register(&mut lab, 1, 1, 1_500);
        stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(500))]).unwrap();
        let executed = execute_slashings(&mut lab, &[slashing(key(1).public_key(), offence)]);
        let slashed = record(&lab, index);
        assert_eq!((slashed.stake, slashed.unbonding, slashed.slashed), (U256::ZERO, U256::ZERO, true));
        assert!(unbonding(&lab.state, index).is_empty());
        assert_eq!(executed.evm.withdrawals[0].amount, 1_500 * 62_500 * 1_000);
        assert_eq!(lab.balance(system::STAKING), lat(1_000));
        refused(stake(&mut lab, 1, 0, "withdraw(uint32)", &[word(index)]), "unstake first");
    }
}

#[test]
fn a_worse_offence_costs_the_difference_and_a_lesser_one_nothing() {
    let mut spec = spec();
    (spec.staking.slash_vote_ppm, spec.staking.slash_equivocation_ppm) = (400_000, 100_000);
    let register_and_leave = |lab: &mut Lab| {
        let index = register(lab, 1, 1, 1_500);
        stake(lab, 1, 0, "unstake(uint32,uint256)", &[word(index), Arg::Word(lat(500))]).unwrap();
        index
    };
    let of = |offence| slashing(key(1).public_key(), offence);
    let reward = |executed: &Executed| executed.evm.withdrawals.iter().map(|paid| paid.amount).sum::<u64>();
    let mut lab = Lab::with_spec(spec.clone());
    let index = register_and_leave(&mut lab);
    let first = execute_slashings(&mut lab, &[of(Offence::Equivocation)]);
    assert_eq!((record(&lab, index).stake, record(&lab, index).slashed_ppm), (lat(900), 100_000));
    let second = execute_slashings(&mut lab, &[of(Offence::Double)]);
    let found = record(&lab, index);
    assert_eq!((found.stake, found.unbonding, found.slashed_ppm), (lat(600), lat(300), 400_000), "four tenths of all");
    // A sixteenth of 150, then of 450, in gwei.
    assert_eq!([reward(&first), reward(&second)], [150 * 62_500 * 1_000, 450 * 62_500 * 1_000]);
    let nothing = execute_slashings(&mut lab, &[Offence::Surround, Offence::Equivocation, Offence::Double].map(of));
    assert_eq!((record(&lab, index), reward(&nothing)), (found.clone(), 0));

    // In one block, in either order, it comes to the same.
    for order in [[Offence::Equivocation, Offence::Surround], [Offence::Surround, Offence::Equivocation]] {
        let mut lab = Lab::with_spec(spec.clone());
        let index = register_and_leave(&mut lab);
        let executed = execute_slashings(&mut lab, &order.map(of));
        assert_eq!((record(&lab, index), reward(&executed)), (found.clone(), 600 * 62_500 * 1_000));
    }
}

#[test]
fn an_unknown_key_changes_nothing() {
    let mut lab = lab();
    let before = lab.state.storage_root(&system::STAKING);
    let executed = execute_slashings(&mut lab, &[slashing(key(1).public_key(), Offence::Double)]);
    assert!(executed.evm.withdrawals.is_empty());
    assert_eq!(lab.state.storage_root(&system::STAKING), before);
}

#[test]
fn slashing_comes_before_the_blocks_transactions() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_500);
    let data = encode("unstake(uint32,uint256)", &[word(index), Arg::Word(lat(1_500))]);
    let tx = lab.call_tx(1, system::STAKING, data, 300_000);
    let slashings = [slashing(key(1).public_key(), Offence::Double)];
    let block = Block { txs: &[tx], slashings: &slashings, ..Block::default() };
    let (outcomes, _) = lab.execute(&block).unwrap();
    assert!(matches!(outcomes[0], Outcome::Included { success: false, .. }), "nothing is left to flee");
}

#[test]
fn blocks_and_certificates_earn_their_issuance() {
    let mut spec = spec();
    spec.staking.issuance_block_gwei = 1_000;
    spec.staking.issuance_certificate_gwei = 70;
    let mut lab = Lab::with_spec(spec);
    let other = Payee { validator: 5, address: Address::repeat_byte(0x05) };
    let block = Block { blue_producers: &[PRODUCER, other], certificates: &[other, other], ..Block::default() };
    let (_, executed) = lab.execute(&block).unwrap();
    let paid: Vec<_> = executed.evm.withdrawals.iter().map(|w| (w.validator_index, w.amount)).collect();
    assert_eq!(paid, [(5, 1_140), (0, 1_000)]);
    assert_eq!(lab.balance(other.address), U256::from(1_140 * GWEI));
}

#[test]
fn the_ai_gas_of_a_producers_newest_block_is_kept() {
    let mut lab = lab();
    let index = register(&mut lab, 1, 1, 1_000);
    let model = lab.ready_model();
    let [one, two] = [B256::repeat_byte(1), B256::repeat_byte(2)];
    let run = |lab: &mut Lab, carriers: &[(B256, u32)], carried_by: &[B256]| {
        let txs: Vec<_> =
            (0..carried_by.len()).map(|_| lab.inference_tx(2, model, &[1; 8], 400_000, 300_000)).collect();
        let block = Block { txs: &txs, carriers, carried_by, ..Block::default() };
        let (outcomes, _) = lab.execute(&block).unwrap();
        let gas = |outcome: &Outcome| match outcome {
            Outcome::Included { ai_gas_used, .. } => *ai_gas_used,
            Outcome::Skipped(reason) => panic!("{reason}"),
        };
        outcomes.iter().map(gas).collect::<Vec<_>>()
    };
    // A merged block of validator 1 with two runs, the chain block of validator 0 with one.
    let gas = run(&mut lab, &[(one, index), (B256::ZERO, 0)], &[one, one, B256::ZERO]);
    assert!(gas[2] > 50_000 && gas[0] > gas[2], "the first touch loads the model: {gas:?}");
    assert_eq!([ai_gas_of(&lab.state, index), ai_gas_of(&lab.state, 0)], [gas[0] + gas[1], gas[2]]);
    // Who has no block here keeps what he had.
    run(&mut lab, &[(B256::ZERO, 0)], &[]);
    assert_eq!([ai_gas_of(&lab.state, index), ai_gas_of(&lab.state, 0)], [gas[0] + gas[1], 0]);
    // Of two blocks the newer counts.
    let newer = run(&mut lab, &[(one, index), (two, index), (B256::ZERO, 0)], &[one, two]);
    assert_eq!(ai_gas_of(&lab.state, index), newer[1]);
    // Somebody who is not in the registry leaves nothing there.
    let before = lab.state.storage_root(&system::STAKING);
    run(&mut lab, &[(one, 2), (B256::ZERO, u32::MAX)], &[one, B256::ZERO]);
    assert_eq!(lab.state.storage_root(&system::STAKING), before);
    assert_eq!(ai_gas_of(&lab.state, 2), 0);
}

#[test]
fn what_reaches_the_account_past_its_door_is_burned() {
    let mut lab = lab();
    let vault = lab.balance(system::FEE_VAULT);
    // PUSH20 the account, SELFDESTRUCT, in the creation itself.
    let code = [&[0x73], system::STAKING.as_slice(), &[0xff]].concat();
    let tx = lab.tx(1, TxKind::Create, 5 * LAT, code.into(), 100_000, 0);
    assert!(lab.one(tx).0);
    assert_eq!(lab.balance(system::STAKING), lat(1_000));
    assert_eq!(lab.balance(system::FEE_VAULT), vault + lat(5));
    // Rewards of who names the account as his reward address.
    lab.spec.staking.issuance_block_gwei = 9;
    let payee = Payee { validator: 0, address: system::STAKING };
    let (_, executed) = lab.execute(&Block { blue_producers: &[payee], ..Block::default() }).unwrap();
    assert_eq!(executed.evm.withdrawals[0].address, system::STAKING);
    assert_eq!(lab.balance(system::STAKING), lat(1_000));
    assert_eq!(lab.balance(system::FEE_VAULT), vault + lat(5) + U256::from(9 * GWEI));
    assert_eq!(staking::stake_held(&lab.state), lat(1_000));
}

#[test]
fn simulations_know_the_slot_and_estimate_the_price() {
    let mut spec = spec();
    spec.slot_ms = 250;
    let mut lab = Lab::with_spec(spec);
    let request = |data: Vec<u8>, value: u128| CallRequest {
        from: Some(address(1)),
        to: Some(system::STAKING),
        value: Some(U256::from(value)),
        data: data.into(),
        ..CallRequest::default()
    };
    let register = request(register_data(&key(1), &address(1), &address(1)), 1_000 * LAT);
    let estimate = lab.simulate(|env, state| simulate::estimate_gas(env, state, &register)).unwrap();
    let tx = lab.tx(1, TxKind::Call(system::STAKING), 1_000 * LAT, register.data.clone(), estimate.gas, 0);
    assert!(lab.one(tx).0, "the estimate is enough");

    stake(&mut lab, 1, 0, "unstake(uint32,uint256)", &[word(1u32), Arg::Word(lat(1_000))]).unwrap();
    let release = lab.slot + UNBONDING_SLOTS;
    let withdraw = || request(encode("withdraw(uint32)", &[word(1u32)]), 0);
    // A header tells seconds: the call stands in the first slot of the second.
    for (slot, matured) in [(release - 1, false), (release.next_multiple_of(4), true)] {
        lab.slot = slot - 1;
        lab.block(&[]);
        assert_eq!(lab.try_call(&withdraw()).unwrap().success(), matured, "slot {slot} of {release}");
    }
}
