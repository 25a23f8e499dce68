//! Versions of the state against plain maps, and the encoding of diffs.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use lattice_state::trie::EMPTY_ROOT;
use lattice_state::{Account, AccountDiff, InvalidDiff, State, StateDiff};
use proptest::prelude::*;

use crate::oracle::{self, Model};

fn check_same(state: &State, model: &Model) {
    assert_eq!(state.root(), oracle::state_root(model));
    for last_byte in 0..24 {
        let address = Address::with_last_byte(last_byte);
        let expected = model.get(&address);
        assert_eq!(state.account(&address), expected.map(|(account, _)| *account));
        for slot in (0..20).map(U256::from) {
            let value = expected.and_then(|(_, storage)| storage.get(&slot));
            assert_eq!(state.storage(&address, slot), value.copied().unwrap_or_default());
        }
    }
}

fn check_proof(state: &State, address: &Address, slots: &[U256]) {
    let proof = state.proof(address, slots);
    let account = state.account(address);
    let fields = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_root,
        code_hash: proof.code_hash,
    };
    assert_eq!(
        account.unwrap_or_default(),
        Account { nonce: proof.nonce, balance: proof.balance, code_hash: proof.code_hash }
    );
    assert_eq!(state.storage_root(address), proof.storage_root);
    let expected = account.map(|_| alloy_rlp::encode(fields));
    verify_proof(state.root(), Nibbles::unpack(keccak256(address)), expected, &proof.account_proof).unwrap();
    assert_eq!(proof.storage_proofs.iter().map(|slot| slot.key).collect::<Vec<_>>(), slots);
    for slot in &proof.storage_proofs {
        assert_eq!(slot.value, state.storage(address, slot.key));
        let expected = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
        let key = Nibbles::unpack(keccak256(B256::from(slot.key)));
        verify_proof(proof.storage_root, key, expected, &slot.proof).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn versions_match_plain_maps_and_stay_as_they_are(history in prop::collection::vec(oracle::diffs(), 1..8)) {
        let mut versions = vec![(State::empty(), Model::new())];
        for diff in &history {
            let (state, model) = versions.last().unwrap();
            let mut model = model.clone();
            oracle::apply(&mut model, diff);
            let state = state.apply(diff);
            for (hash, code) in &diff.codes {
                prop_assert_eq!(state.code(hash).unwrap(), Some(code.clone()));
            }
            versions.push((state, model));
        }
        for (state, model) in versions.iter().rev() {
            check_same(state, model);
        }
    }

    #[test]
    fn proofs_verify(
        history in prop::collection::vec(oracle::diffs(), 1..4),
        address in oracle::addresses(),
        slots in prop::collection::vec(oracle::words(), 0..6),
    ) {
        let state = history.iter().fold(State::empty(), |state, diff| state.apply(diff));
        check_proof(&state, &address, &slots);
        check_proof(&state, &Address::repeat_byte(0xee), &slots);
        let known: Vec<_> = (0..20).map(U256::from).collect();
        check_proof(&state, &address, &known);
    }

    #[test]
    fn a_diff_comes_back_from_its_bytes(diff in oracle::diffs()) {
        prop_assert_eq!(StateDiff::decode(&diff.encode()).unwrap(), diff);
    }

    #[test]
    fn damaged_bytes_never_decode_to_something_else(
        diff in oracle::diffs(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = diff.encode();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= flip;
        if let Ok(other) = StateDiff::decode(&flipped) {
            // Canonical: whatever decodes is the encoding of what it decodes to.
            prop_assert_eq!(other.encode(), flipped);
            prop_assert_ne!(other, diff);
        }
        prop_assert!(StateDiff::decode(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(StateDiff::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn a_sum_of_diffs_leads_where_they_lead(history in prop::collection::vec(oracle::diffs(), 1..6)) {
        let start = State::empty().apply(&history[0]);
        let mut sum = StateDiff::default();
        let mut state = start.clone();
        for diff in &history[1..] {
            sum.extend(diff.clone());
            state = state.apply(diff);
        }
        prop_assert_eq!(start.apply(&sum).root(), state.root());
    }
}

fn account(nonce: u64, balance: u64) -> Account {
    Account { nonce, balance: U256::from(balance), ..Account::EMPTY }
}

fn one_account(address: Address, diff: AccountDiff) -> StateDiff {
    StateDiff { accounts: [(address, diff)].into(), ..StateDiff::default() }
}

#[test]
fn the_empty_state_is_that_of_ethereum() {
    let state = State::empty();
    assert_eq!(state.root(), EMPTY_ROOT);
    assert_eq!(state.code(&KECCAK256_EMPTY).unwrap(), Some(Bytes::new()));
    assert_eq!(state.code(&B256::ZERO).unwrap(), None);
    let proof = state.proof(&Address::ZERO, &[U256::ZERO]);
    assert_eq!((proof.code_hash, proof.storage_root), (KECCAK256_EMPTY, EMPTY_ROOT));
    assert!(proof.account_proof.is_empty() && proof.storage_proofs[0].proof.is_empty());
}

/// The bytes are on disks: they may not change silently.
#[test]
fn diff_encoding_fixture() {
    let code = Bytes::from_static(&[0x60, 0x01]);
    let mut diff = one_account(
        Address::with_last_byte(1),
        AccountDiff {
            account: Some(account(7, 1_000)),
            storage_cleared: true,
            storage: [(U256::from(2), U256::from(0x80)), (U256::from(3), U256::ZERO)].into(),
        },
    );
    diff.accounts.insert(Address::with_last_byte(2), AccountDiff::default());
    diff.codes.insert(keccak256(&code), code);
    let before_code_hash = "f887f85ff844940000000000000000000000000000000000000001e5078203e8a0c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a47001c7c3028180c20380d89400000000000000000000000000000000000000028080c0e5e4a0";
    let hash = alloy_primitives::hex::encode(keccak256([0x60, 0x01]));
    let expected = format!("{before_code_hash}{hash}826001");
    assert_eq!(alloy_primitives::hex::encode(diff.encode()), expected);
}

#[test]
fn diffs_out_of_order_or_with_a_wrong_code_are_refused() {
    let ordered = StateDiff {
        accounts: [1, 2].map(|last| (Address::with_last_byte(last), AccountDiff::default())).into(),
        ..StateDiff::default()
    };
    let mut bytes = ordered.encode();
    assert!(StateDiff::decode(&bytes).is_ok());
    for wrong in [1, 0] {
        let position = bytes.iter().rposition(|&byte| byte == wrong + 1).unwrap();
        bytes[position] = wrong;
        assert_eq!(StateDiff::decode(&bytes), Err(InvalidDiff::NotAscending));
    }
    let hash = B256::repeat_byte(1);
    let wrong = StateDiff { codes: [(hash, Bytes::from_static(&[0]))].into(), ..StateDiff::default() };
    assert_eq!(StateDiff::decode(&wrong.encode()), Err(InvalidDiff::CodeHash { hash }));
}

#[test]
fn storage_outlives_code_and_goes_with_the_account() {
    let address = Address::repeat_byte(7);
    let storage = [(U256::from(1), U256::from(5))].into();
    let code_hash = keccak256([0x00]);
    let contract = Account { code_hash, ..account(1, 0) };
    let state = State::empty()
        .apply(&one_account(address, AccountDiff { account: Some(contract), storage, ..AccountDiff::default() }));
    // An EIP-7702 delegation that is taken back leaves the storage.
    let plain = AccountDiff { account: Some(account(2, 0)), ..AccountDiff::default() };
    let bare = state.apply(&one_account(address, plain.clone()));
    assert_eq!(bare.storage(&address, U256::from(1)), U256::from(5));
    assert_eq!(bare.account(&address).unwrap().code_hash, KECCAK256_EMPTY);
    let gone = bare.apply(&one_account(address, AccountDiff::default()));
    assert_eq!(gone.root(), EMPTY_ROOT);
    let back = gone.apply(&one_account(address, plain.clone()));
    assert_eq!(back.storage(&address, U256::from(1)), U256::ZERO);
    let cleared = AccountDiff { storage_cleared: true, ..plain };
    assert_eq!(bare.apply(&one_account(address, cleared)).root(), back.root());
}

#[test]
fn versions_are_read_by_many_threads() {
    let state = State::empty()
        .apply(&one_account(Address::ZERO, AccountDiff { account: Some(account(1, 2)), ..AccountDiff::default() }));
    let roots: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| (state.root(), state.account(&Address::ZERO)))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|read| *read == (roots[0].0, Some(account(1, 2)))));
}
