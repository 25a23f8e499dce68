//! What comes with the block: headers, system contracts, BLOCKHASH, genesis.

use crate::lab::{Block, Lab, address};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{B256, U256, b256, keccak256};
use lattice_execution::{genesis, inference_root, model_root, training_root};
use lattice_types::{ChainSpec, spec::GenesisAccount, system};

fn word(number: u64) -> Vec<u8> {
    U256::from(number).to_be_bytes_vec()
}

#[test]
fn genesis_holds_balances_contracts_and_system_accounts() {
    let spec = ChainSpec::dev();
    let (block, state, _) = genesis(&spec);
    assert_eq!(state.account(&address(3)).unwrap().balance, spec.alloc[3].balance);
    for contract in [BEACON_ROOTS_ADDRESS, HISTORY_STORAGE_ADDRESS] {
        let account = state.account(&contract).unwrap();
        assert_eq!(account.nonce, 1);
        assert!(!state.code(&account.code_hash).unwrap().unwrap().is_empty());
    }
    for account in [system::MODELS, system::TRAINING, system::INFERENCE, system::STAKING, system::FEE_VAULT] {
        assert_eq!(state.account(&account).unwrap().nonce, 1);
    }
    assert_eq!([model_root(&state), inference_root(&state), training_root(&state)], [EMPTY_ROOT_HASH; 3]);
    let header = &block.header;
    assert_eq!((header.number, header.timestamp, header.gas_limit), (0, spec.genesis_time_s, spec.gas_limit));
    assert_eq!(header.base_fee_per_gas, Some(spec.base_fee_initial));
    assert_eq!(header.parent_hash, B256::ZERO);
}

#[test]
fn genesis_adds_up_what_is_given_twice() {
    let account = address(0);
    let twice = GenesisAccount { address: account, balance: U256::from(5) };
    let spec = ChainSpec { alloc: vec![twice, twice], ..ChainSpec::dev() };
    assert_eq!(genesis(&spec).1.account(&account).unwrap().balance, U256::from(10));
}

#[test]
fn the_header_is_a_genuine_ethereum_header() {
    let mut lab = Lab::new();
    let parent = lab.header.clone();
    let (_, executed) = lab.execute(&Block { dag_blocks: 3, ..Block::default() }).unwrap();
    let header = &executed.evm.header;
    assert_eq!(header.parent_hash, parent.hash_slow());
    assert_eq!(header.number, 1);
    assert_eq!(header.beneficiary, system::FEE_VAULT);
    assert_eq!(header.ommers_hash, EMPTY_OMMER_ROOT_HASH);
    assert_eq!(header.gas_limit, 3 * lab.spec.gas_limit);
    assert_eq!(header.mix_hash, B256::repeat_byte(0x11));
    assert_eq!(header.parent_beacon_block_root, Some(keccak256(1u64.to_be_bytes())));
    assert_eq!((header.blob_gas_used, header.excess_blob_gas), (Some(0), Some(0)));
    assert_eq!(header.requests_hash, Some(EMPTY_REQUESTS_HASH));
    assert_eq!(header.withdrawals_root, Some(EMPTY_ROOT_HASH));
    assert_eq!([header.transactions_root, header.receipts_root], [EMPTY_ROOT_HASH; 2]);
    assert!(header.extra_data.is_empty());
    assert_eq!(header.hash_slow(), keccak256(alloy_rlp::encode(header)));
    // SHA-256 of nothing: the requests hash of EIP-7685 without requests.
    assert_eq!(EMPTY_REQUESTS_HASH, b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
}

#[test]
fn time_never_runs_backwards() {
    let spec = ChainSpec { slot_ms: 400, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    let genesis_time = lab.spec.genesis_time_s;
    let times: Vec<u64> = (0..6).map(|_| lab.block(&[]).1.evm.header.timestamp - genesis_time).collect();
    assert_eq!(times, [0, 0, 1, 1, 2, 2]);
    lab.header.timestamp += 100; // as if the parent had been far ahead
    *lab.hashes.last_mut().unwrap() = lab.header.hash_slow();
    assert_eq!(lab.block(&[]).1.evm.header.timestamp, genesis_time + 102);
}

#[test]
fn eip_2935_serves_block_hashes() {
    let mut lab = Lab::new();
    for _ in 0..5 {
        lab.block(&[]);
    }
    for number in 0..4 {
        let outcome = lab.call(HISTORY_STORAGE_ADDRESS, word(number));
        assert_eq!(outcome.output[..], lab.hashes[number as usize][..], "block {number}");
    }
    assert!(!lab.call(HISTORY_STORAGE_ADDRESS, word(99)).success());
}

#[test]
fn eip_4788_serves_the_dag_hash_of_the_selected_parent() {
    let spec = ChainSpec { slot_ms: 1000, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    for _ in 0..3 {
        lab.block(&[]);
    }
    for slot in 1..=3u64 {
        let outcome = lab.call(BEACON_ROOTS_ADDRESS, word(lab.spec.timestamp(slot)));
        assert_eq!(outcome.output[..], keccak256(slot.to_be_bytes())[..], "slot {slot}");
    }
}

#[test]
fn blockhash_returns_evm_hashes() {
    let mut lab = Lab::new();
    // SSTORE(0, BLOCKHASH(CALLDATALOAD(0)))
    let contract = lab.deploy(0, &[0x5f, 0x35, 0x40, 0x5f, 0x55, 0x00]);
    for (asked, known) in [(0, true), (1, true), (2, true), (3, true), (9, false)] {
        let tx = lab.call_tx(0, contract, word(asked), 100_000);
        assert!(lab.one(tx).0);
        let stored = lab.state.storage(&contract, U256::ZERO);
        let hash = if known { lab.hashes[asked as usize] } else { B256::ZERO };
        assert_eq!(B256::from(stored), hash, "block {asked} from block {}", lab.header.number);
    }
}

#[test]
fn a_block_hash_that_is_not_handed_over_is_a_fault_not_a_guess() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, &[0x5f, 0x35, 0x40, 0x5f, 0x55, 0x00]);
    lab.block(&[]);
    let head = lab.hashes.pop().unwrap();
    lab.hashes.truncate(1);
    lab.hashes.push(head); // number 2 is now unknown
    let tx = lab.call_tx(0, contract, word(2), 100_000);
    let error = lab.execute(&Block { txs: &[tx], ..Block::default() }).unwrap_err();
    assert!(error.to_string().contains("hash of EVM block 2"), "{error}");
}
