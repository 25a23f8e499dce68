//! The account of the validators on a node: its functions in Solidity's ABI, and its records (`docs/spec/staking.md`).

use crate::{
    client::{Client, decode},
    failure::{Failure, read_file},
    wallet::{Call, call_request},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use lattice_types::{
    bls::{Domain, SecretKey},
    system,
};
use serde_json::{Value, json};
use std::path::Path;

/// Validators asked for in one batch.
const BATCH: u32 = 256;

/// Call data: the selector and words.
pub fn call_data(signature: &str, words: &[B256]) -> Bytes {
    let mut data = keccak256(signature)[..4].to_vec();
    data.extend(words.iter().flatten());
    data.into()
}

/// A number as a word.
pub fn word(number: U256) -> B256 {
    B256::from(number)
}

/// Call data that registers a key for an account: the key, the proof of its possession, the reward address.
pub fn register_data(key: &SecretKey, chain_id: u64, owner: &Address, reward: &Address) -> Bytes {
    let possession = key.sign(Domain::Possession, chain_id, owner.as_slice());
    let public_key = key.public_key();
    // Three words, then the key (its length and two words), then the proof (its length and three words).
    let head = [word(U256::from(96)), word(U256::from(192)), reward.into_word()];
    let mut data = call_data("register(bytes,bytes,address)", &head).to_vec();
    for bytes in [public_key.as_slice(), possession.as_slice()] {
        data.extend(word(U256::from(bytes.len())));
        data.extend(bytes);
        data.resize(4 + (data.len() - 4).next_multiple_of(32), 0);
    }
    data.into()
}

/// Reads a validator's secret key: a file with 32 bytes of key material in hex.
pub fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    let bytes = read_file(path)?;
    // The content is never repeated in a message.
    let seed = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<B256>().ok());
    let seed = seed.ok_or_else(|| {
        Failure::usage(format!("{} holds no validator key: 32 bytes in hex are wanted", path.display()))
            .next("make one with `openssl rand -hex 32`, and keep it secret")
    })?;
    Ok(SecretKey::from_seed(&seed.0))
}

/// A validator as a node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Its place in the registry.
    pub index: u32,
    /// Its BLS key.
    pub public_key: Bytes,
    /// Who may take its stake out.
    pub owner: Address,
    /// Where its rewards go.
    pub reward: Address,
    /// Bonded, wei.
    pub stake: U256,
    /// On its way out, wei.
    pub unbonding: U256,
    /// Whether it is out for ever.
    pub slashed: bool,
}

impl Validator {
    fn decode(index: u32, output: &[u8]) -> Option<Self> {
        Some(Self {
            index,
            public_key: Bytes::copy_from_slice(bytes_at(output, 0)?),
            owner: Address::from_word(word_at(output, 1)?),
            reward: Address::from_word(word_at(output, 2)?),
            stake: word_at(output, 3)?.into(),
            unbonding: word_at(output, 4)?.into(),
            slashed: !word_at(output, 5)?.is_zero(),
        })
    }

    /// As JSON, amounts in wei.
    pub fn to_json(&self) -> Value {
        json!({
            "index": self.index,
            "public_key": self.public_key,
            "owner": self.owner,
            "reward": self.reward,
            "stake": self.stake.to_string(),
            "unbonding": self.unbonding.to_string(),
            "slashed": self.slashed,
        })
    }
}

fn word_at(output: &[u8], index: usize) -> Option<B256> {
    let at = index.checked_mul(32)?;
    output.get(at..at.checked_add(32)?).map(B256::from_slice)
}

const fn word_number(word: B256) -> U256 {
    U256::from_be_bytes(word.0)
}

fn number_at(output: &[u8], index: usize) -> Option<usize> {
    word_number(word_at(output, index)?).try_into().ok()
}

fn bytes_at(output: &[u8], index: usize) -> Option<&[u8]> {
    let tail = output.get(number_at(output, index)?..)?;
    tail.get(32..number_at(tail, 0)?.checked_add(32)?)
}

fn words_at(output: &[u8], index: usize) -> Option<Vec<U256>> {
    let tail = output.get(number_at(output, index)?..)?;
    (0..number_at(tail, 0)?).map(|item| word_at(tail, item.checked_add(1)?).map(word_number)).collect()
}

fn request(data: Bytes) -> Value {
    let call = Call { to: Some(system::STAKING), data, ..Call::default() };
    json!([call_request(None, &call), "latest"])
}

fn ask(client: &Client, data: Bytes) -> Result<Vec<u8>, Failure> {
    answer(client.call("eth_call", request(data))?)
}

fn answer(value: Value) -> Result<Vec<u8>, Failure> {
    let output: Bytes = decode("eth_call", value)?;
    Ok(output.to_vec())
}

fn understood<T>(client: &Client, decoded: Option<T>) -> Result<T, Failure> {
    decoded.ok_or_else(|| {
        Failure::new(format!("the account of the validators at {} does not answer as Lattice's does", client.url()))
            .next("check which node --rpc-url names")
    })
}

/// How many validators there are.
pub fn count(client: &Client) -> Result<u32, Failure> {
    let output = ask(client, call_data("validatorCount()", &[]))?;
    understood(client, number_at(&output, 0).and_then(|count| count.try_into().ok()))
}

/// The validators with these indices, which have to be there.
pub fn validators(client: &Client, indices: std::ops::Range<u32>) -> Result<Vec<Validator>, Failure> {
    let mut found = Vec::with_capacity(indices.len());
    for from in indices.clone().step_by(BATCH as usize) {
        let batch = from..indices.end.min(from.saturating_add(BATCH));
        let requests: Vec<Value> =
            batch.clone().map(|index| request(call_data("validator(uint32)", &[word(U256::from(index))]))).collect();
        for (index, output) in batch.zip(client.batch("eth_call", &requests)?) {
            found.push(understood(client, Validator::decode(index, &answer(output)?))?);
        }
    }
    Ok(found)
}

/// The validator with that index; the node says so when there is none.
pub fn validator(client: &Client, index: u32) -> Result<Validator, Failure> {
    let output = ask(client, call_data("validator(uint32)", &[word(U256::from(index))]))?;
    understood(client, Validator::decode(index, &output))
}

/// A validator's stake on its way out: wei, and the slot that releases it.
pub fn unbonding(client: &Client, index: u32) -> Result<Vec<(U256, u64)>, Failure> {
    let output = ask(client, call_data("unbonding(uint32)", &[word(U256::from(index))]))?;
    let (amounts, slots) = understood(client, words_at(&output, 0).zip(words_at(&output, 1)))?;
    Ok(amounts.into_iter().zip(slots.into_iter().map(|slot| slot.saturating_to())).collect())
}

/// A validator's key as people write it.
pub fn key_text(key: &Bytes) -> String {
    hex::encode_prefixed(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_that_are_cut_short_are_no_validators() {
        let key = [7; 48];
        let words = [192, 1, 2, 3, 4, 1, 48].map(|number| word(U256::from(number)));
        let mut output: Vec<u8> = words.iter().flatten().copied().collect();
        output.extend(key);
        output.extend([0; 16]);
        let validator = Validator::decode(5, &output).unwrap();
        assert_eq!(
            (validator.public_key.as_ref(), validator.stake, validator.slashed),
            (&key[..], U256::from(3), true)
        );
        for len in 0..7 * 32 + 48 {
            assert_eq!(Validator::decode(5, &output[..len]), None, "{len} bytes");
        }
        assert_eq!(words_at(&[0xff; 128], 0), None);
    }

    #[test]
    fn registering_is_encoded_as_solidity_does() {
        let key = SecretKey::from_seed(&[1; 32]);
        let data = register_data(&key, 31337, &Address::repeat_byte(1), &Address::repeat_byte(2));
        assert_eq!(data[..4], [0x70, 0x3a, 0x60, 0xcd]);
        assert_eq!(data.len(), 4 + 32 * (3 + 3 + 4));
        assert_eq!(bytes_at(&data[4..], 0), Some(key.public_key().as_slice()));
        assert_eq!(bytes_at(&data[4..], 1).map(<[u8]>::len), Some(96));
        assert_eq!(word_at(&data[4..], 2), Some(Address::repeat_byte(2).into_word()));
    }
}
