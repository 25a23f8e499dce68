//! The door of the account STAKING: Solidity's ABI, for transactions and contracts alike.
//!
//! Every function returns something, so that Solidity's calls of an interface reach it: they look for code only where
//! nothing is returned.

use super::{
    gas,
    records::{self, Head, Ledger, Newcomer, Stake, UNBONDING_MAX, Unbonding, ValidatorRecord, find},
};
use crate::ai::{
    abi::{self, Arguments},
    call::{AiCall, Halt},
    gas::reads,
    refuse_value, require_plain_call,
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use lattice_types::{
    bls::{self, Domain},
    system,
};
use revm::context_interface::{Block, Cfg, ContextTr};

const REGISTERED: &[u8] = b"Registered(uint32,address,bytes,address,uint256)";
const STAKE_ADDED: &[u8] = b"StakeAdded(uint32,address,uint256)";
const UNSTAKED: &[u8] = b"Unstaked(uint32,uint256,uint64)";
const WITHDRAWN: &[u8] = b"Withdrawn(uint32,address,uint256)";
const REWARD_SET: &[u8] = b"RewardSet(uint32,address)";

/// What the door can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Register,
    AddStake,
    Unstake,
    Withdraw,
    SetReward,
    Validator,
    ValidatorCount,
    IndexOf,
    Unbonding,
}

impl Function {
    /// Selector, signature, function.
    const ALL: [([u8; 4], &str, Self); 9] = [
        (hex!("703a60cd"), "register(bytes,bytes,address)", Self::Register),
        (hex!("0396cb60"), "addStake(uint32)", Self::AddStake),
        (hex!("9c2f614f"), "unstake(uint32,uint256)", Self::Unstake),
        (hex!("aa9224cd"), "withdraw(uint32)", Self::Withdraw),
        (hex!("c8a6915b"), "setReward(uint32,address)", Self::SetReward),
        (hex!("ed669271"), "validator(uint32)", Self::Validator),
        (hex!("0f43a677"), "validatorCount()", Self::ValidatorCount),
        (hex!("9b225d0d"), "indexOf(bytes)", Self::IndexOf),
        (hex!("9cff2b6c"), "unbonding(uint32)", Self::Unbonding),
    ];
}

fn revert<T>(reason: String) -> Result<T, Halt> {
    Err(Halt::Revert(reason))
}

/// Runs a call; the output on success. The base price is charged.
pub(crate) fn enter(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.input.clone();
    let Some((selector, data)) = input.split_first_chunk::<4>() else {
        return revert(format!(
            "the input has {} bytes, a call begins with a selector of 4: to stake, send the value with addStake(uint32)",
            input.len()
        ));
    };
    let Some((.., function)) = Function::ALL.iter().find(|(known, ..)| known == selector) else {
        return revert(format!(
            "the validators' account has no function {}: see docs/spec/staking.md",
            hex::encode_prefixed(selector)
        ));
    };
    let arguments = Arguments(data);
    let output = match function {
        Function::Register => register(call, arguments),
        Function::AddStake => add_stake(call, arguments),
        Function::Unstake => unstake(call, arguments),
        Function::Withdraw => withdraw(call, arguments),
        Function::SetReward => set_reward(call, arguments),
        Function::Validator => validator(call, arguments),
        Function::ValidatorCount => validator_count(call),
        Function::IndexOf => index_of(call, arguments),
        Function::Unbonding => unbonding(call, arguments),
    };
    output.map(Bytes::from)
}

/// An argument that a function needs.
fn needed<T>(argument: Option<T>, what: &str) -> Result<T, Halt> {
    argument.ok_or_else(|| {
        Halt::Revert(format!("{what} is missing or malformed: encode the arguments as docs/spec/staking.md says"))
    })
}

/// A fixed number of bytes that a function needs.
fn exact<const N: usize>(argument: Option<&[u8]>, what: &str) -> Result<[u8; N], Halt> {
    let bytes = needed(argument, what)?;
    bytes
        .try_into()
        .map_err(|_| Halt::Revert(format!("{what} has {} bytes: send the {N} of a compressed point", bytes.len())))
}

fn add(sum: u128, amount: u128) -> Result<u128, Halt> {
    sum.checked_add(amount).ok_or_else(|| Halt::Revert("all stake together would exceed 2^128 wei: send less".into()))
}

fn index_topic(index: u32) -> B256 {
    B256::from(U256::from(index))
}

/// The validator that the first argument names, and the ledger.
fn named(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<(u32, Ledger), Halt> {
    let index = needed(arguments.short(0), "the validator's index (uint32)")?;
    let ledger = Ledger::read(call)?;
    if index >= ledger.count {
        return revert(format!("there is no validator {index}: the registry has {}, from 0", ledger.count));
    }
    Ok((index, ledger))
}

/// The head of a validator that belongs to the caller.
fn owned(call: &mut AiCall<'_, '_>, index: u32) -> Result<Head, Halt> {
    let head = Head::read(call, index)?;
    if head.owner != call.caller {
        let (owner, caller) = (head.owner, call.caller);
        return revert(format!("validator {index} belongs to {owner}, not to {caller}: its owner has to do this"));
    }
    Ok(head)
}

/// Registers a key; the value is the stake. Output: the validator's index.
fn register(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    require_plain_call(call, "register")?;
    let public_key = bls::PublicKey::from(exact(arguments.bytes(0), "the public key")?);
    let possession = bls::Signature::from(exact(arguments.bytes(1), "the proof of possession")?);
    let reward = needed(arguments.address(2), "the reward address")?;
    let stake = call.value_needed("the stake")?;
    let stake_min = call.ctx.chain.stake_rules().stake_min;
    if stake < stake_min {
        return revert(format!("the stake is {stake} wei, a validator needs {stake_min}: send at least that as value"));
    }
    if let Some(index) = find(call, &public_key)? {
        return revert(format!(
            "the key is registered as validator {index} for good: add stake there, or use another key"
        ));
    }
    let ledger = Ledger::read(call)?;
    add(ledger.held, stake)?;
    if ledger.count == u32::MAX {
        return revert("the registry is full: stake on a validator that is there".into());
    }
    call.charge(gas::REGISTER)?;
    let owner = call.caller;
    let chain_id = call.ctx.cfg().chain_id();
    if let Err(error) = bls::verify(&public_key, Domain::Possession, chain_id, owner.as_slice(), &possession) {
        return revert(format!(
            "the key's possession is not proven: {error}: sign the 20 bytes of {owner} with it, for chain {chain_id}"
        ));
    }
    let index = Newcomer { public_key, owner, reward, stake }.enrol(call, ledger)?;
    let topics = vec![keccak256(REGISTERED), index_topic(index), owner.into_word()];
    let words = [reward.into_word().0, U256::from(stake).to_be_bytes()];
    call.log(system::STAKING, topics, abi::encode_bytes_and_words(public_key.as_slice(), &words));
    Ok(abi::word(index.into()).to_vec())
}

/// Adds the value to a validator's stake, whoever sends it. Output: the stake.
fn add_stake(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    require_plain_call(call, "addStake")?;
    let (index, mut ledger) = named(call, arguments)?;
    if Head::read(call, index)?.slashed {
        return revert(format!("validator {index} was slashed and never validates again: stake on another one"));
    }
    let amount = call.value_needed("the stake to add")?;
    ledger.held = add(ledger.held, amount)?;
    call.charge(gas::ADD)?;
    let mut stake = Stake::read(call, index)?;
    // No more than the ledger holds, which was checked.
    stake.bonded += amount;
    stake.write(call, index)?;
    ledger.write(call)?;
    let topics = vec![keccak256(STAKE_ADDED), index_topic(index), call.caller.into_word()];
    call.log(system::STAKING, topics, U256::from(amount).to_be_bytes_vec());
    Ok(U256::from(stake.bonded).to_be_bytes_vec())
}

/// Begins to take stake out; what is left is enough for a validator, or nothing. Output: the slot that releases it.
fn unstake(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    require_plain_call(call, "unstake")?;
    refuse_value(call)?;
    let (index, _) = named(call, arguments)?;
    let mut head = owned(call, index)?;
    let amount = needed(arguments.word(1), "the amount (uint256)")?;
    let mut stake = Stake::read(call, index)?;
    let bonded = stake.bonded;
    let amount = match u128::try_from(amount) {
        Ok(amount) if amount > 0 && amount <= bonded => amount,
        _ => return revert(format!("validator {index} has {bonded} wei bonded: unstake 1 to that many, not {amount}")),
    };
    let rules = call.ctx.chain.stake_rules();
    stake.bonded -= amount;
    stake.unbonding += amount;
    if stake.bonded > 0 && stake.bonded < rules.stake_min {
        let (left, least) = (stake.bonded, rules.stake_min);
        return revert(format!(
            "{left} wei would be left, a validator needs {least}: leave that, or unstake all {bonded}"
        ));
    }
    call.charge(gas::UNSTAKE)?;
    let release_slot = call.ctx.block().slot_num().saturating_add(rules.unbonding_slots);
    let last = match head.entries {
        0 => None,
        entries => Some(Unbonding::at(call, index, entries - 1)?),
    };
    match last {
        // The slots of blocks rise, so only calls of one block meet here.
        Some(last) if last.release_slot == release_slot => {
            Unbonding { amount: last.amount + amount, release_slot }.write(call, index, head.entries - 1)?;
        }
        _ if head.entries >= UNBONDING_MAX => {
            let first = Unbonding::at(call, index, 0)?.release_slot;
            return revert(format!(
                "validator {index} has {UNBONDING_MAX} withdrawals under way: withdraw the first from slot {first} on"
            ));
        }
        _ => {
            Unbonding { amount, release_slot }.write(call, index, head.entries)?;
            head.entries += 1;
            head.write(call, index)?;
        }
    }
    stake.write(call, index)?;
    let words = [U256::from(amount).to_be_bytes(), abi::word(release_slot)];
    call.log(system::STAKING, vec![keccak256(UNSTAKED), index_topic(index)], words.concat());
    Ok(abi::word(release_slot).to_vec())
}

/// Pays what has waited long enough to the owner, whoever calls. Output: the amount.
fn withdraw(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    require_plain_call(call, "withdraw")?;
    refuse_value(call)?;
    let (index, mut ledger) = named(call, arguments)?;
    let mut head = Head::read(call, index)?;
    call.charge(gas::withdraw(head.entries))?;
    let entries = Unbonding::read(call, index, head.entries)?;
    let Some(first) = entries.first() else {
        return revert(format!("validator {index} has no stake on its way out: unstake first"));
    };
    let slot = call.ctx.block().slot_num();
    if first.release_slot > slot {
        let (amount, release) = (first.amount, first.release_slot);
        return revert(format!(
            "the next {amount} wei of validator {index} are released at slot {release}, this is {slot}: withdraw then"
        ));
    }
    // Oldest first, so what is released comes first.
    let left: Vec<_> = entries.iter().copied().filter(|entry| entry.release_slot > slot).collect();
    let mut stake = Stake::read(call, index)?;
    let waiting = left.iter().map(|entry| entry.amount).sum();
    let amount = stake.unbonding - waiting;
    stake.unbonding = waiting;
    stake.write(call, index)?;
    head.entries = Unbonding::replace(call, index, head.entries, &left)?;
    head.write(call, index)?;
    ledger.held -= amount;
    ledger.write(call)?;
    call.pay_out(system::STAKING, head.owner, U256::from(amount))?;
    let topics = vec![keccak256(WITHDRAWN), index_topic(index), head.owner.into_word()];
    let amount = U256::from(amount).to_be_bytes_vec();
    call.log(system::STAKING, topics, amount.clone());
    Ok(amount)
}

/// Sets the account that rewards are withdrawn to. Output: the one before.
fn set_reward(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    require_plain_call(call, "setReward")?;
    refuse_value(call)?;
    let (index, _) = named(call, arguments)?;
    owned(call, index)?;
    let reward = needed(arguments.address(1), "the reward address")?;
    call.charge(gas::SET_REWARD)?;
    let before: Address = records::reward(call, index)?;
    records::set_reward(call, index, &reward)?;
    call.log(system::STAKING, vec![keccak256(REWARD_SET), index_topic(index), reward.into_word()], Vec::new());
    Ok(before.into_word().to_vec())
}

/// Reads a validator: key, owner, reward address, stake, stake on its way out, whether it was slashed.
fn validator(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    refuse_value(call)?;
    let (index, _) = named(call, arguments)?;
    call.charge(reads(1))?;
    let record = ValidatorRecord::read(call, index)?;
    let words = [
        record.owner.into_word().0,
        record.reward.into_word().0,
        record.stake.to_be_bytes(),
        record.unbonding.to_be_bytes(),
        abi::word(record.slashed.into()),
    ];
    Ok(abi::encode_bytes_and_words(record.public_key.as_slice(), &words))
}

/// Reads how many validators there are.
fn validator_count(call: &mut AiCall<'_, '_>) -> Result<Vec<u8>, Halt> {
    refuse_value(call)?;
    Ok(abi::word(Ledger::read(call)?.count.into()).to_vec())
}

/// Reads the index of a key.
fn index_of(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    refuse_value(call)?;
    let key = bls::PublicKey::from(exact(arguments.bytes(0), "the public key")?);
    match find(call, &key)? {
        Some(index) => Ok(abi::word(index.into()).to_vec()),
        None => revert(format!("no validator has the key {key}: register it first")),
    }
}

/// Reads a validator's withdrawals of stake under way: amounts, and the slots that release them.
fn unbonding(call: &mut AiCall<'_, '_>, arguments: Arguments<'_>) -> Result<Vec<u8>, Halt> {
    refuse_value(call)?;
    let (index, _) = named(call, arguments)?;
    let head = Head::read(call, index)?;
    call.charge(reads(head.entries.into()))?;
    let entries = Unbonding::read(call, index, head.entries)?;
    let amounts: Vec<_> = entries.iter().map(|entry| U256::from(entry.amount)).collect();
    let slots: Vec<_> = entries.iter().map(|entry| U256::from(entry.release_slot)).collect();
    Ok(abi::encode_arrays(&amounts, &slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_the_signatures() {
        for (selector, signature, _) in Function::ALL {
            assert_eq!(selector, keccak256(signature)[..4], "{signature}: {}", hex::encode(&keccak256(signature)[..4]));
        }
    }
}
