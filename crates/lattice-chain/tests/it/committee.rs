//! Validators among themselves: finality by votes, eligibility, certificates and evidence in blocks, each rule by its
//! error.

use crate::net::{Node, key, transfer};
use alloy_primitives::{Address, B256, U256};
use lattice_chain::{
    Chain, ChainError, ChainOptions, EvidenceRefused, Input, InvalidStanding, Penalty, TrustRefused, VoteRefused,
};
use lattice_consensus::finality::{InvalidCertificate, InvalidVote};
use lattice_storage::MemoryKv;
use lattice_types::{
    Bitmap, Certificate, ChainSpec, CheckedBlock, CheckedVote, Checkpoint, DagBlock, Evidence, InvalidBlock, Vote, bls,
    spec::DEV_CHAIN_ID,
};
use std::sync::Arc;

/// Slots between checkpoints.
const INTERVAL: u64 = 4;

/// Four validators, a checkpoint every four slots without lag, epochs of 24 slots.
fn spec() -> ChainSpec {
    ChainSpec { checkpoint_slots: INTERVAL, epoch_slots: 24, ..crate::net::spec() }
}

fn nodes_of(spec: &ChainSpec, count: u32) -> Vec<Node> {
    (0..count).map(|validator| Node::with(spec.clone(), Arc::new(MemoryKv::new()), validator)).collect()
}

pub fn nodes(count: u32) -> Vec<Node> {
    nodes_of(&spec(), count)
}

/// One node builds a block in each slot; three of four validators vote at every checkpoint.
fn grow(node: &mut Node, slots: std::ops::Range<u64>) -> Vec<CheckedBlock> {
    let mut blocks = Vec::new();
    for slot in slots {
        if slot.is_multiple_of(INTERVAL) {
            node.vote(0..3, slot);
        }
        let block = node.build(slot);
        node.give(&block).unwrap();
        blocks.push(block);
    }
    blocks
}

fn finalised(node: &Node) -> u64 {
    node.chain.finality().finalised().index
}

/// A block with another body or header, signed again.
pub fn changed(block: &CheckedBlock, change: impl FnOnce(&mut DagBlock)) -> CheckedBlock {
    let mut block: DagBlock = (**block.block()).clone();
    change(&mut block);
    block.header.body_root = block.body.root();
    block.header.sign(&key(block.header.proposer), DEV_CHAIN_ID);
    let senders = block.body.transactions.iter().map(|_| Address::ZERO).collect();
    CheckedBlock::trusted(block, senders)
}

/// Why a block is refused, whoever verifies its signatures.
pub fn refused(node: &mut Node, block: &CheckedBlock) -> InvalidStanding {
    let before = node.head();
    let by_chain = node.give_unverified(block).unwrap_err();
    let error = node.give(block).unwrap_err();
    assert_eq!(by_chain.to_string(), error.to_string());
    assert_eq!(node.head(), before, "a refused block changes nothing");
    assert_eq!(error.penalty(), Penalty::Fatal);
    match error {
        ChainError::InvalidStanding(error) => *error,
        other => panic!("{other}"),
    }
}

#[test]
fn three_of_four_votes_finalise() {
    let mut nodes = nodes(2);
    let blocks = grow(&mut nodes[0], 1..22);
    let (finality, view) = (*nodes[0].chain.finality(), nodes[0].chain.view().unwrap());
    // Checkpoint 5 (slot 20) was voted for before the block of slot 20 carried it; that makes 4 final.
    assert_eq!((finality.justified().index, finality.finalised().index), (5, 4));
    assert_eq!((view.safe_number(), view.finalized_number()), (19, 15));
    // Another node learns it from the blocks alone, and a restarted one from its store.
    nodes[1].give_all(&blocks);
    assert_eq!(*nodes[1].chain.finality(), finality);
    nodes[1].reopen();
    assert_eq!(*nodes[1].chain.finality(), finality);
    assert_eq!(nodes[1].head(), nodes[0].head());
}

/// Votes for targets that nobody has heard of may be signed by any key.
#[test]
fn votes_before_their_targets_are_kept_within_bounds() {
    let mut node = nodes(1).remove(0);
    let checkpoint = |index: u64, mark: u8| Checkpoint { index, hash: B256::repeat_byte(mark) };
    let early = |node: &mut Node, by: u32, index: u64, mark: u8| {
        let (source, target) = (checkpoint(0, 1), checkpoint(index, mark));
        let vote = Vote { source, target, target_blue_score: 1, target_evm_hash: B256::ZERO };
        node.give_vote(4, CheckedVote::sign(vote, by, &key(by), DEV_CHAIN_ID))
    };
    for (by, index, kept) in [(0, 1, 1), (0, 2, 2), (0, 1, 2), (9, 1, 3), (9, 1, 3)] {
        let error = early(&mut node, by, index, 7).unwrap_err();
        assert!(matches!(error, ChainError::Vote(VoteRefused::UnknownTarget(_))), "{error}");
        assert_eq!(node.chain.early_votes(), kept);
    }
    let far = early(&mut node, 0, 33, 7).unwrap_err();
    assert!(matches!(far, ChainError::Vote(VoteRefused::Invalid(InvalidVote::OutOfWindow { index: 33, .. }))), "{far}");
    // A double vote convicts whatever its targets are; a stranger has nothing to lose.
    assert_eq!(early(&mut node, 0, 1, 8).unwrap().evidence.len(), 1);
    assert_eq!(early(&mut node, 9, 1, 8).unwrap().evidence.len(), 0);
    assert_eq!(node.chain.early_votes(), 3);
}

#[test]
fn two_of_four_votes_finalise_nothing_and_the_chain_goes_on() {
    let mut node = nodes(1).remove(0);
    for slot in 1..22 {
        if slot % INTERVAL == 0 {
            node.vote(0..2, slot);
        }
        let block = node.build(slot);
        assert!(block.block().body.certificates.is_empty());
        node.give(&block).unwrap();
    }
    assert_eq!((finalised(&node), node.head().0), (0, 21));
}

#[test]
fn a_vote_needs_its_signers_key_a_member_and_a_known_target() {
    let mut nodes = nodes(2);
    let blocks = grow(&mut nodes[0], 1..5);
    let vote = nodes[0].vote_of(0, 4).unwrap().vote().vote;
    let early = CheckedVote::sign(vote, 0, &key(0), DEV_CHAIN_ID);
    let error = nodes[1].give_vote(4, early).unwrap_err();
    assert!(matches!(error, ChainError::Vote(VoteRefused::UnknownTarget(target)) if target == vote.target.hash));
    assert_eq!(error.penalty(), Penalty::None, "its target may be on its way");
    nodes[1].give_all(&blocks);
    for validator in 1..3 {
        // The early vote was counted when its target came.
        nodes[1].give_vote(4, CheckedVote::sign(vote, validator, &key(validator), DEV_CHAIN_ID)).unwrap();
    }
    assert_eq!(nodes[1].build(5).block().body.certificates.len(), 1);

    let forged = CheckedVote::sign(vote, 3, &key(1), DEV_CHAIN_ID);
    let error = nodes[0].give_vote(4, forged).unwrap_err();
    assert!(matches!(error, ChainError::Vote(VoteRefused::Key { signer: 3, .. })), "{error}");
    assert_eq!(error.penalty(), Penalty::Fatal);
    let stranger = CheckedVote::sign(vote, 7, &key(7), DEV_CHAIN_ID);
    let error = nodes[0].give_vote(4, stranger).unwrap_err();
    assert!(matches!(error, ChainError::Vote(VoteRefused::Invalid(InvalidVote::UnknownValidator(7)))), "{error}");
    assert_eq!(error.penalty(), Penalty::Fatal);
}

#[test]
fn each_wrong_certificate_is_named() {
    let mut nodes = nodes(2);
    let mut blocks = grow(&mut nodes[0], 1..4);
    nodes[0].vote(0..3, 4);
    let carrier = nodes[0].build(4);
    nodes[1].give_all(&blocks);
    let good = carrier.block().body.certificates[0].clone();
    assert_eq!((good.vote.source.index, good.vote.target.index), (0, 1));

    let with = |change: &dyn Fn(&mut Certificate)| changed(&carrier, |block| change(&mut block.body.certificates[0]));
    let certificate = |node: &mut Node, change: &dyn Fn(&mut Certificate)| match refused(node, &with(change)) {
        InvalidStanding::Certificate { error, .. } => error,
        other => panic!("{other}"),
    };
    let node = &mut nodes[1];
    let stake = certificate(node, &|good| good.signers = Bitmap::of(4, [0, 1]));
    assert!(matches!(stake, InvalidCertificate::Stake { .. }), "{stake}");
    let bitmap = certificate(node, &|good| good.signers = Bitmap::of(20, [0, 1, 2]));
    assert!(matches!(bitmap, InvalidCertificate::Bitmap(_)), "{bitmap}");
    let score = certificate(node, &|good| good.vote.target_blue_score += 1);
    assert!(matches!(score, InvalidCertificate::WrongBlueScore { .. }), "{score}");
    let evm = certificate(node, &|good| good.vote.target_evm_hash = B256::ZERO);
    assert!(matches!(evm, InvalidCertificate::WrongEvmHash { .. }), "{evm}");
    let back = certificate(node, &|good| good.vote.source.index = 1);
    assert!(matches!(back, InvalidCertificate::NotForward { .. }), "{back}");
    let old = certificate(node, &|good| good.vote.target.index = 0);
    assert_eq!(old, InvalidCertificate::Overtaken { index: 0, finalised: 0 });
    let unknown = certificate(node, &|good| good.vote.target.hash = B256::repeat_byte(1));
    assert_eq!(unknown, InvalidCertificate::TargetNotInPast);
    let source = certificate(node, &|good| good.vote.source.hash = B256::repeat_byte(1));
    assert_eq!(source, InvalidCertificate::NotOnChain);
    let signature = refused(node, &with(&|good| good.signers = Bitmap::of(4, [0, 1, 3])));
    assert!(matches!(signature, InvalidStanding::CertificateSignature { .. }), "{signature}");
    blocks.push(carrier);
    node.give_all(&blocks);
    assert_eq!(node.chain.finality().justified().index, 1);
}

/// It held once, but whether it does could not be told by nodes that have pruned its target.
#[test]
fn a_certificate_that_finality_has_overtaken_is_refused() {
    let mut node = nodes(1).remove(0);
    let blocks = grow(&mut node, 1..22);
    assert_eq!(finalised(&node), 4);
    let carried = |index| {
        let mut certificates = blocks.iter().flat_map(|block| &block.block().body.certificates);
        certificates.find(|certificate| certificate.vote.target.index == index).unwrap().clone()
    };
    let next = node.build(22);
    for index in [1, 4] {
        let again = changed(&next, |block| block.body.certificates = vec![carried(index)]);
        match refused(&mut node, &again) {
            InvalidStanding::Certificate { error, .. } => {
                assert_eq!(error, InvalidCertificate::Overtaken { index, finalised: 4 });
            }
            other => panic!("{other}"),
        }
    }
    // The next one says nothing new, but it may still serve as a source.
    let again = changed(&next, |block| block.body.certificates = vec![carried(5)]);
    assert!(node.give(&again).is_ok());
}

#[test]
fn a_producer_must_be_a_member_win_and_sign_by_itself() {
    let lottery = ChainSpec { active_slot_ppm: 100_000, ..spec() };
    let mut node = nodes_of(&lottery, 1).remove(0);
    let seal = node.chain.seal_key(9, 0).unwrap().unwrap();
    let vrf = |slot: u64| key(0).sign(bls::Domain::Vrf, DEV_CHAIN_ID, &bls::vrf_content(&seal.epoch_seed, slot));
    let mut won = 0;
    for slot in 1..24 {
        let wins = node.chain.wins(slot, 0, &vrf(slot)).unwrap();
        let block = node.build(slot);
        match node.give(&block) {
            Ok(_) => won += 1,
            Err(ChainError::InvalidStanding(refusal)) => {
                assert!(matches!(*refusal, InvalidStanding::NotEligible { proposer: 0, .. }), "{refusal}");
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(node.chain.block(&block.hash()).unwrap().is_some(), wins, "slot {slot}");
    }
    assert!(won < 12, "a quarter of the stake wins few of 23 slots at f = 0.1, not {won}");

    let mut node = nodes(1).remove(0);
    assert_eq!(node.chain.seal_key(1, 9).unwrap(), None);
    let block = node.build(1);
    let stranger = changed(&block, |block| block.header.proposer = 9);
    assert_eq!(refused(&mut node, &stranger), InvalidStanding::NotInSet(9));
    let other = changed(&block, |block| block.header.proposer = 1);
    assert_eq!(refused(&mut node, &other), InvalidStanding::Seal(InvalidBlock::Vrf));
    let mut unsigned: DagBlock = (**block.block()).clone();
    unsigned.header.evm_hash = B256::ZERO;
    let unsigned = CheckedBlock::trusted(unsigned, Vec::new());
    assert_eq!(refused(&mut node, &unsigned), InvalidStanding::Seal(InvalidBlock::Signature));
}

#[test]
fn seeds_change_with_the_epoch_and_follow_from_the_past() {
    let mut nodes = nodes(2);
    let blocks = grow(&mut nodes[0], 1..30);
    nodes[1].give_all(&blocks);
    let seed = |node: &mut Node, slot| node.chain.seal_key(slot, 0).unwrap().unwrap().epoch_seed;
    assert_ne!(seed(&mut nodes[0], 30), spec().epoch_seed);
    assert_eq!(seed(&mut nodes[0], 30), seed(&mut nodes[1], 30));
    assert_ne!(seed(&mut nodes[0], 30), seed(&mut nodes[0], 48));
    let stale = {
        let block = nodes[0].build(30);
        let vrf = bls::vrf_content(&spec().epoch_seed, 30);
        changed(&block, |block| block.header.vrf = key(0).sign(bls::Domain::Vrf, DEV_CHAIN_ID, &vrf))
    };
    assert_eq!(refused(&mut nodes[1], &stale), InvalidStanding::Seal(InvalidBlock::Vrf));
}

#[test]
fn a_double_vote_is_found_carried_and_punished() {
    let mut nodes = nodes(2);
    let mut blocks = grow(&mut nodes[0], 1..4);
    let honest = nodes[0].vote_of(1, 4).unwrap().vote().vote;
    let other = Vote { target: Checkpoint { index: 1, hash: blocks[0].hash() }, ..honest };
    let other = Vote { target_blue_score: 1, target_evm_hash: blocks[0].block().header.evm_hash, ..other };
    let sign = |vote| CheckedVote::sign(vote, 1, &key(1), DEV_CHAIN_ID);
    nodes[0].give_vote(4, sign(honest)).unwrap();
    let effects = nodes[0].give_vote(4, sign(other)).unwrap();
    assert_eq!(effects.evidence.len(), 1);
    effects.evidence[0].check(DEV_CHAIN_ID).unwrap();
    let now = nodes[0].time(4);
    let again = nodes[0].chain.handle(now, Input::Evidence(effects.evidence[0].clone())).unwrap_err();
    assert!(matches!(again, ChainError::Evidence(EvidenceRefused::Duplicate(_))), "{again}");
    assert_eq!(again.penalty(), Penalty::None);

    assert!(nodes[0].chain.has_work(now).unwrap(), "evidence alone is worth a block");
    let carrier = nodes[0].build(4);
    assert_eq!(carrier.block().body.evidence, effects.evidence);
    nodes[0].give(&carrier).unwrap();
    blocks.push(carrier);
    nodes[1].give_all(&blocks);
    assert_eq!(nodes[1].head(), nodes[0].head());
    let record = lattice_execution::staking::validator(nodes[1].chain.view().unwrap().head_state(), 1).unwrap();
    assert!(record.slashed && record.stake.is_zero(), "{record:?}");
    // It produces no more, not even in the same epoch, and the evidence is used up.
    assert_eq!(nodes[1].chain.seal_key(5, 1).unwrap(), None);
    let block = nodes[0].build(5);
    assert!(block.block().body.evidence.is_empty());
    let theirs = {
        let seed = spec().epoch_seed;
        let vrf = key(1).sign(bls::Domain::Vrf, DEV_CHAIN_ID, &bls::vrf_content(&seed, 5));
        changed(&block, |block| (block.header.proposer, block.header.vrf) = (1, vrf))
    };
    assert_eq!(refused(&mut nodes[1], &theirs), InvalidStanding::Convicted(1));
    let late = nodes[1].chain.handle(now, Input::Evidence(effects.evidence[0].clone())).unwrap_err();
    assert!(matches!(late, ChainError::Evidence(EvidenceRefused::Slashed(1))), "{late}");
}

#[test]
fn evidence_against_nobody_is_refused() {
    let mut node = nodes(1).remove(0);
    let stranger = bls::SecretKey::from_seed(&[99; 32]);
    let vote = |mark: u8| {
        let checkpoint = |index, byte| Checkpoint { index, hash: B256::repeat_byte(byte) };
        let vote = Vote {
            source: checkpoint(0, 1),
            target: checkpoint(1, mark),
            target_blue_score: 1,
            target_evm_hash: B256::ZERO,
        };
        (vote, vote.sign(&stranger, DEV_CHAIN_ID))
    };
    let evidence = Evidence::of_votes(stranger.public_key(), vote(1), vote(2));
    evidence.check(DEV_CHAIN_ID).unwrap();
    let error = node.chain.handle(0, Input::Evidence(evidence)).unwrap_err();
    assert!(matches!(error, ChainError::Evidence(EvidenceRefused::Unregistered(_))), "{error}");
    assert_eq!(error.penalty(), Penalty::Minor);
}

#[test]
fn the_sink_holds_the_justified_checkpoint_even_when_it_is_lighter() {
    let mut nodes = nodes(3);
    // Validator 1 builds a chain by itself that is heavier in the end; three others justify a block of the first one.
    let first = grow(&mut nodes[0], 1..4);
    nodes[0].vote(0..3, 4);
    let carrier = nodes[0].build(4);
    nodes[0].give(&carrier).unwrap();
    let heavier: Vec<_> = (1..9).map(|_| nodes[1].seal([])).collect();
    for block in first.iter().chain([&carrier]) {
        nodes[2].give(block).unwrap();
    }
    nodes[2].give_all(&heavier);
    assert_eq!(nodes[2].chain.head().dag_hash, carrier.hash());
    // The other way round: first the heavy chain, then what justifies the light one.
    let mut late = Node::with(spec(), Arc::new(MemoryKv::new()), 3);
    late.give_all(&heavier);
    assert_eq!(late.chain.head().dag_hash, heavier[7].hash());
    late.give_all(first.iter().chain([&carrier]));
    assert_eq!(late.chain.head().dag_hash, carrier.hash(), "fork choice goes back to the justified chain");
}

#[test]
fn a_block_beside_what_its_past_finalises_is_refused() {
    let mut nodes = nodes(2);
    let ours = grow(&mut nodes[0], 1..14);
    let theirs: Vec<_> = (1..20).map(|_| nodes[1].seal([])).collect();
    assert!(finalised(&nodes[0]) > 0);
    let mut node = Node::with(spec(), Arc::new(MemoryKv::new()), 3);
    node.give_all(ours.iter().chain(&theirs));
    // A block on the heavier chain, of the same epoch, that merges the one which finalised a checkpoint.
    let mut parents = vec![ours.last().unwrap().hash(), theirs.last().unwrap().hash()];
    parents.sort_unstable();
    let dag = node.chain.dag();
    let data = dag.virtual_data(&parents).unwrap();
    assert_eq!(data.selected_parent, theirs.last().unwrap().hash());
    let newest_pruning_point = dag.pruning_point_above(&data.selected_parent).unwrap().unwrap();
    let block = changed(&node.build(22), |block| {
        let header = &mut block.header;
        (header.blue_score, header.blue_work) = (data.blue_score, data.blue_work);
        (header.parents, header.newest_pruning_point) = (parents, newest_pruning_point);
        block.body = Default::default();
    });
    let refusal = refused(&mut node, &block);
    assert!(matches!(refusal, InvalidStanding::OffFinalisedChain(Checkpoint { index: 1.., .. })), "{refusal}");
}

#[test]
fn a_trusted_checkpoint_decides_whom_to_follow() {
    let mut nodes = nodes(2);
    let ours = grow(&mut nodes[0], 1..10);
    let theirs: Vec<_> = (1..20).map(|_| nodes[1].seal([])).collect();
    let trusted = Checkpoint { index: 2, hash: ours[7].hash() };
    let mut node = Node::with(spec(), Arc::new(MemoryKv::new()), 3);
    node.options = ChainOptions { trusted: Some(trusted), ..ChainOptions::default() };
    node.reopen();
    node.give_all(&theirs);
    assert!(node.vote_of(3, 30).is_none(), "it votes for no chain before the checkpoint has come");
    assert_eq!(node.chain.seal_key(30, 3).unwrap(), None, "nor does it build on one");
    node.give_all(&ours);
    assert!(node.vote_of(3, 30).is_some() && node.chain.seal_key(30, 3).unwrap().is_some());
    assert_eq!(node.chain.head().dag_hash, ours[8].hash(), "the heavier chain lacks the trusted checkpoint");
}

#[test]
fn a_trusted_checkpoint_that_is_wrong_is_refused_by_name() {
    let mut nodes = nodes(2);
    let ours = grow(&mut nodes[0], 1..22);
    let theirs: Vec<_> = (1..22).map(|_| nodes[1].seal([])).collect();
    assert_eq!(finalised(&nodes[0]), 4);
    nodes[0].give_all(&theirs);
    let node = &nodes[0];
    let open = |trusted| {
        let options = ChainOptions { trusted: Some(trusted), ..ChainOptions::default() };
        let opened = Chain::open_with(spec(), node.kv.clone(), node.models.clone(), options);
        opened.map(|chain| chain.finality().finalised())
    };
    let held = node.chain.finality().finalised();
    let at = |index: u64, blocks: &[CheckedBlock]| Checkpoint { index, hash: blocks[index as usize * 4 - 2].hash() };
    assert_eq!(held, at(4, &ours));
    // What agrees is taken, and what is newer than ours is held on to; what has not come yet decides later.
    assert_eq!(open(at(2, &ours)).unwrap(), held);
    assert_eq!(open(held).unwrap(), held);
    assert_eq!(open(at(5, &ours)).unwrap(), at(5, &ours));
    let unknown = Checkpoint { index: 9, hash: B256::repeat_byte(9) };
    assert_eq!(open(unknown).unwrap(), unknown);
    for wrong in [at(2, &theirs), at(4, &theirs), at(5, &theirs), Checkpoint { index: 3, ..unknown }] {
        let error = open(wrong).unwrap_err();
        assert!(
            matches!(error, ChainError::Trust(TrustRefused::Contradicts { trusted, finalised })
                if trusted == wrong && finalised == held),
            "{wrong}: {error}"
        );
        assert!(error.to_string().contains("empty data directory"), "{error}");
    }
}

#[test]
fn a_trusted_checkpoint_has_its_time() {
    let spec = ChainSpec::network(spec().validators);
    let trusted = Checkpoint { index: 1_000, hash: B256::repeat_byte(1) };
    let made_ms = spec.genesis_time_s * 1_000 + 1_000 * 12 * 250;
    let check = |now_ms| Chain::check_trusted_age(&spec, trusted, now_ms);
    let period_ms = 10 * 24 * 3_600 * 1_000;
    assert_eq!(check(made_ms), Ok(()));
    assert_eq!(check(made_ms + period_ms), Ok(()));
    let max_s = period_ms / 1_000;
    let expired = check(made_ms + period_ms + 1_000).unwrap_err();
    assert_eq!(expired, TrustRefused::Expired { trusted, age_s: max_s + 1, max_s });
    assert!(expired.to_string().contains("get a newer one"), "{expired}");
    assert_eq!(check(made_ms - 5_000), Err(TrustRefused::Future { trusted, ahead_s: 5 }));
}

#[test]
fn transactions_survive_a_switch_to_the_justified_chain() {
    let mut nodes = nodes(2);
    let target = Address::repeat_byte(0x77);
    let first = grow(&mut nodes[0], 1..4);
    nodes[0].vote(0..3, 4);
    let carrier = nodes[0].build(4);
    let lost = nodes[1].seal([transfer(0, 0, target, 5)]);
    for _ in 0..8 {
        nodes[1].seal([]);
    }
    assert_eq!(nodes[1].nonce(crate::net::address(0)), 1);
    nodes[1].give_all(first.iter().chain([&carrier]));
    assert_eq!(nodes[1].chain.head().dag_hash, carrier.hash());
    assert_eq!(nodes[1].nonce(crate::net::address(0)), 0);
    // It comes back from the pool, or by merging the block that carried it.
    let next = nodes[1].build(20);
    nodes[1].give(&next).unwrap();
    assert_eq!(nodes[1].nonce(crate::net::address(0)), 1, "lost with {}", lost.hash());
}

#[test]
fn of_two_blocks_of_a_slot_one_executes_and_their_producer_is_slashed() {
    let mut nodes = nodes(3);
    let target = Address::repeat_byte(0x77);
    // Validator 1 makes two blocks in slot 1, with different transfers, and shows one to each half of the network.
    let empty = nodes[1].build(1);
    nodes[1].submit(transfer(0, 0, target, 5)).unwrap();
    let twin = nodes[1].build(1);
    assert_ne!(empty.hash(), twin.hash());
    assert!(nodes[0].give(&empty).unwrap().evidence.is_empty());
    let found = nodes[0].give(&twin).unwrap().evidence;
    assert_eq!(found.len(), 1);
    found[0].check(DEV_CHAIN_ID).unwrap();

    let merging = nodes[0].build(2);
    assert_eq!(merging.block().header.parents.len(), 2, "both are merged");
    assert_eq!((merging.block().header.blue_score, &merging.block().body.evidence), (2, &found), "one of them is blue");
    nodes[0].give(&merging).unwrap();
    let selected = nodes[0].chain.dag().selected_parent(&merging.hash()).unwrap().unwrap();
    let paid = u64::from(selected == twin.hash()) * 5;
    assert_eq!(nodes[0].balance(target), U256::from(paid), "the other one does not execute");
    nodes[2].give_all([&twin, &empty, &merging]);
    assert_eq!(nodes[2].head(), nodes[0].head());
    let record = lattice_execution::staking::validator(nodes[2].chain.view().unwrap().head_state(), 1).unwrap();
    let whole = U256::from(1_000u64) * U256::from(10).pow(U256::from(18));
    assert!(record.slashed && record.stake == whole / U256::from(20) * U256::from(19), "{record:?}");
    // A worse offence afterwards costs the rest.
    let checkpoint = |index, byte| Checkpoint { index, hash: B256::repeat_byte(byte) };
    let (source, target_evm_hash) = (checkpoint(0, 1), B256::ZERO);
    let votes = [2, 3].map(|mark| {
        let vote = Vote { source, target: checkpoint(1, mark), target_blue_score: 1, target_evm_hash };
        (vote, vote.sign(&key(1), DEV_CHAIN_ID))
    });
    let double = Evidence::of_votes(key(1).public_key(), votes[0], votes[1]);
    nodes[0].chain.handle(0, Input::Evidence(double.clone())).unwrap();
    let worse = nodes[0].build(3);
    assert_eq!(worse.block().body.evidence, [double]);
    nodes[0].give(&worse).unwrap();
    nodes[2].give(&worse).unwrap();
    assert_eq!(nodes[2].head(), nodes[0].head());
    let record = lattice_execution::staking::validator(nodes[2].chain.view().unwrap().head_state(), 1).unwrap();
    assert_eq!((record.stake, record.slashed_ppm), (U256::ZERO, 1_000_000));
    let again = nodes[0].chain.handle(0, Input::Evidence(found[0].clone())).unwrap_err();
    assert!(matches!(again, ChainError::Evidence(EvidenceRefused::Slashed(1))), "{again}");
    // The third copy tells nothing new.
    nodes[1].submit(transfer(2, 0, target, 7)).unwrap();
    let third = nodes[1].build(1);
    assert!(nodes[0].give(&third).unwrap().evidence.is_empty());
}
