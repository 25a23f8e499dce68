//! Finality as scenarios in text: a DAG, stakes, certificates in the order they come, and what must follow.
//!
//! `link 0:A 1:B by 0 1` is a certificate for the link from checkpoint 0 (block A) to checkpoint 1 (block B), signed by
//! validators 0 and 1; after `!` stands the name of the error it must give. `is 1:B 0:A` states the newest justified and
//! finalised checkpoint. Checkpoint i may be a block of slot 10 i or before; blocks have the slots 0, 1, 2 ... as
//! written.

use lattice_consensus::{
    Dag,
    eligibility::{Candidate, InvalidBitmap, SetParams, StakeSet},
    finality::{
        Added, Bitmap, Certificate, Checkpoint, CheckpointParams, DuplicateEvidence, EvidencePool, Finality,
        InvalidCertificate, InvalidVote, LocalFinality, Offence, Refused, TargetFacts, Vote, VotePool, Watermark,
        check_certificate,
    },
};
use lattice_types::{
    Evidence,
    bls::{PublicKey, Signature},
};

use crate::text::{dag, hash, name, params};

pub const CHECKPOINTS: CheckpointParams = CheckpointParams { interval_slots: 10, lag_slots: 0 };

pub fn stake_set(stakes: &[u128]) -> StakeSet {
    let registry: Vec<_> =
        (0u32..).zip(stakes).map(|(index, &stake)| Candidate { index, stake, is_slashed: false }).collect();
    StakeSet::of_largest(&SetParams { members_max: 1024, stake_min: 1, churn_divisor: 32 }, &registry)
}

fn checkpoint(text: &str) -> Checkpoint {
    let (index, block) = text.split_once(':').expect("INDEX:BLOCK");
    Checkpoint { index: index.parse().unwrap(), hash: hash(block) }
}

fn vote(dag: &Dag, source: &str, target: &str) -> Vote {
    let target = checkpoint(target);
    Vote {
        source: checkpoint(source),
        target,
        target_blue_score: dag.blue_score(&target.hash).unwrap().unwrap_or_default(),
        target_evm_hash: target.hash,
    }
}

/// A certificate; its signature is not looked at here.
fn certified(vote: Vote, signers: Bitmap) -> Certificate {
    Certificate { vote, signers, signature: Default::default() }
}

/// What a chain looks up for a certificate in a block that has all of the DAG in its past.
fn facts(dag: &Dag, vote: &Vote) -> Option<TargetFacts> {
    let target = vote.target.hash;
    Some(TargetFacts {
        slot: dag.slot(&target).unwrap()?,
        blue_score: dag.blue_score(&target).unwrap()?,
        evm_hash: target,
        descends_from_source: dag.is_chain_ancestor(&vote.source.hash, &target).unwrap(),
    })
}

fn error_name(error: &InvalidCertificate) -> String {
    format!("{error:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_string()
}

fn scenario(stakes: &[u128], blocks: &str, lines: &str) {
    let dag = dag(params(9), blocks);
    let set = stake_set(stakes);
    let mut state = Finality::genesis(dag.genesis());
    for line in lines.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let (line, expected) = line.split_once('!').map_or((line, ""), |(line, error)| (line, error.trim()));
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "link" => {
                let vote = vote(&dag, words[1], words[2]);
                let signers = words[4..].iter().map(|position| position.parse().unwrap());
                let certificate = certified(vote, Bitmap::of(stakes.len(), signers));
                let outcome = check_certificate(&certificate, &CHECKPOINTS, &set, facts(&dag, &vote).as_ref());
                let found = outcome.as_ref().map_or_else(error_name, |()| String::new());
                assert_eq!(found, expected, "{line}: {outcome:?}");
                if outcome.is_ok() {
                    state.apply(&vote);
                }
            }
            "is" => {
                let text = |c: Checkpoint| format!("{}:{}", c.index, name(&c.hash));
                let found = format!("{} {}", text(state.justified()), text(state.finalised()));
                assert_eq!(found, words[1..].join(" "), "{line}");
            }
            other => panic!("unknown line {other}"),
        }
    }
}

const CHAIN: &str = "B <- A; C <- B; D <- C; E <- D; X <- A; Y <- X; Z <- Y";

#[test]
fn neighbours_finalise() {
    scenario(
        &[1, 1, 1],
        CHAIN,
        "is 0:A 0:A
         link 0:A 1:B by 0 1
         is 1:B 0:A
         link 1:B 2:C by 1 2
         is 2:C 1:B
         link 2:C 3:D by 0 1 2
         is 3:D 2:C",
    );
}

#[test]
fn a_link_over_a_gap_justifies_but_does_not_finalise() {
    scenario(
        &[1, 1, 1],
        CHAIN,
        "link 0:A 1:B by 0 1
         link 1:B 3:D by 0 1
         is 3:D 0:A
         link 3:D 4:E by 0 1
         is 4:E 3:D",
    );
}

#[test]
fn two_thirds_are_needed() {
    scenario(
        &[10, 10, 10, 1],
        CHAIN,
        "link 0:A 1:B by 0 1 !Stake
         link 0:A 1:B by 3 !Stake
         link 0:A 1:B by !Stake
         is 0:A 0:A
         link 0:A 1:B by 0 1 3
         is 1:B 0:A",
    );
}

#[test]
fn a_link_from_an_unjustified_source_waits() {
    scenario(
        &[1],
        CHAIN,
        "link 1:B 2:C by 0
         link 2:C 3:D by 0
         is 0:A 0:A
         link 0:A 1:B by 0
         is 3:D 2:C",
    );
}

#[test]
fn a_checkpoint_may_repeat_a_block() {
    scenario(&[1], CHAIN, "link 0:A 1:A by 0; is 1:A 0:A; link 1:A 2:A by 0; is 2:A 1:A");
}

#[test]
fn links_follow_selected_chains() {
    scenario(
        &[1],
        CHAIN,
        "link 0:A 1:X by 0
         link 1:X 2:C by 0 !NotOnChain
         link 1:X 1:X by 0 !NotForward
         link 2:C 1:B by 0 !NotForward
         link 0:A 1:unknown by 0 !TargetNotInPast
         is 1:X 0:A
         link 1:X 2:Y by 0
         is 2:Y 1:X",
    );
}

#[test]
fn what_is_older_than_the_finalised_one_changes_nothing() {
    scenario(
        &[1],
        CHAIN,
        "link 0:A 2:C by 0
         link 2:C 3:D by 0
         is 3:D 2:C
         link 0:A 1:B by 0
         link 1:B 4:E by 0
         is 3:D 2:C",
    );
}

#[test]
fn a_target_has_its_slot_and_score() {
    let dag = dag(params(9), CHAIN);
    let set = stake_set(&[1]);
    let vote = vote(&dag, "0:A", "1:B");
    let facts = facts(&dag, &vote).unwrap();
    let certificate = certified(vote, Bitmap::of(1, [0]));
    let late = CheckpointParams { interval_slots: 10, lag_slots: 4 };
    let at = |slot: u64| check_certificate(&certificate, &late, &set, Some(&TargetFacts { slot, ..facts }));
    assert_eq!(at(6), Ok(()));
    assert_eq!(at(7), Err(InvalidCertificate::TargetTooYoung { index: 1, slot: 7, max: Some(6) }));
    let young = CheckpointParams { interval_slots: 10, lag_slots: 11 };
    let error = check_certificate(&certificate, &young, &set, Some(&facts)).unwrap_err();
    assert_eq!(error, InvalidCertificate::TargetTooYoung { index: 1, slot: 1, max: None });
    let other = TargetFacts { blue_score: 7, ..facts };
    let error = check_certificate(&certificate, &CHECKPOINTS, &set, Some(&other)).unwrap_err();
    assert_eq!(error, InvalidCertificate::WrongBlueScore { claimed: 1, computed: 7 });
    let other = TargetFacts { evm_hash: hash("Z"), ..facts };
    let error = check_certificate(&certificate, &CHECKPOINTS, &set, Some(&other)).unwrap_err();
    assert_eq!(error, InvalidCertificate::WrongEvmHash { claimed: hash("B"), found: hash("Z") });
    assert_eq!((late.index_at(39), late.index_at(40), late.slot_max(2)), (3, 4, Some(16)));
}

#[test]
fn bitmaps_have_the_length_of_the_set_and_no_more_bits() {
    let dag = dag(params(9), CHAIN);
    let vote = vote(&dag, "0:A", "1:B");
    let facts = facts(&dag, &vote);
    let check = |members: usize, bytes: &[u8]| {
        let signers = Bitmap::new(bytes.to_vec().into());
        check_certificate(&certified(vote, signers), &CHECKPOINTS, &stake_set(&vec![1; members]), facts.as_ref())
    };
    assert_eq!(check(9, &[0xff, 0x01]), Ok(()));
    for bytes in [&[0xffu8][..], &[0xff, 1, 0], &[]] {
        let error = InvalidBitmap::Length { found: bytes.len(), expected: 2, members: 9 };
        assert_eq!(check(9, bytes), Err(error.into()));
    }
    assert_eq!(check(9, &[0xff, 0x81]), Err(InvalidBitmap::Padding(15).into()));
    assert_eq!(check(0, &[]), Err(InvalidCertificate::Stake { signed: 0, total: 0 }));
    assert_eq!(Bitmap::of(11, [10, 0, 3, 99]).positions().collect::<Vec<_>>(), [0, 3, 10]);
}

/// A vote by indices alone, all on one chain; `mark` makes votes differ in something else.
fn bare(source: u64, target: u64, mark: &str) -> Vote {
    Vote {
        source: Checkpoint { index: source, hash: hash("S") },
        target: Checkpoint { index: target, hash: hash("T") },
        target_blue_score: 1,
        target_evm_hash: hash(mark),
    }
}

#[test]
fn the_two_offences() {
    let conflict = |a: (u64, u64), b: (u64, u64)| {
        let (a, b) = (bare(a.0, a.1, "e"), bare(b.0, b.1, "e"));
        assert_eq!(a.conflict(&b), b.conflict(&a));
        a.conflict(&b)
    };
    assert_eq!(conflict((1, 4), (2, 3)), Some(Offence::Surround));
    assert_eq!(conflict((1, 4), (0, 4)), Some(Offence::Double));
    assert_eq!(bare(1, 4, "e").conflict(&bare(1, 4, "f")), Some(Offence::Double), "another EVM block");
    for harmless in [((1, 4), (1, 4)), ((1, 4), (1, 3)), ((1, 4), (2, 5)), ((1, 4), (4, 5)), ((1, 4), (5, 9))] {
        assert_eq!(conflict(harmless.0, harmless.1), None, "{harmless:?}");
    }
}

#[test]
fn the_watermark_admits_nothing_slashable() {
    let first = Watermark::default().admit_vote(&bare(3, 5, "e")).unwrap();
    assert_eq!(first.admit_vote(&bare(3, 5, "e")), Ok(first), "the same vote again");
    assert_eq!(first.admit_vote(&bare(3, 5, "f")), Err(Refused::Target { target: 5, signed: 5 }));
    assert_eq!(first.admit_vote(&bare(3, 4, "e")), Err(Refused::Target { target: 4, signed: 5 }));
    assert_eq!(first.admit_vote(&bare(2, 6, "e")), Err(Refused::Source { source_index: 2, signed: 3 }));
    assert_eq!(first.admit_vote(&bare(6, 6, "e")), Err(Refused::NotForward { source_index: 6, target: 6 }));
    assert!(first.admit_vote(&bare(3, 6, "e")).is_ok());

    let block = first.admit_block(9, hash("h")).unwrap();
    assert_eq!(block.admit_block(9, hash("h")), Ok(block));
    assert_eq!(block.admit_block(9, hash("i")), Err(Refused::Slot { slot: 9, signed: 9 }));
    assert_eq!(block.admit_block(8, hash("h")), Err(Refused::Slot { slot: 8, signed: 9 }));
    assert!(block.admit_block(10, hash("i")).is_ok());
    assert_eq!(block.admit_vote(&bare(3, 4, "e")), Err(Refused::Target { target: 4, signed: 5 }), "kept by a block");

    let bytes = block.encode();
    assert_eq!(Watermark::decode(&bytes), Some(block));
    for at in 0..bytes.len() {
        let mut spoilt = bytes;
        spoilt[at] ^= 1;
        assert_eq!(Watermark::decode(&spoilt), None, "byte {at}");
    }
    assert_eq!(Watermark::decode(&bytes[1..]), None);
}

#[test]
fn the_pool_makes_certificates() {
    let set = stake_set(&[10, 10, 10, 1]);
    let mut pool = VotePool::default();
    let vote = bare(0, 1, "e");
    assert_eq!(pool.add(vote, 3, 'd', &set), Ok(Added::Counted(1)));
    assert_eq!(pool.add(vote, 2, 'c', &set), Ok(Added::Counted(11)));
    assert_eq!(pool.add(vote, 2, 'c', &set), Ok(Added::Known));
    assert_eq!(pool.add(bare(0, 1, "f"), 1, 'x', &set), Ok(Added::Counted(10)), "another vote");
    assert_eq!(pool.quorum(&vote, &set), None);
    assert_eq!(pool.add(vote, 0, 'a', &set), Ok(Added::Counted(21)));
    let (signers, signatures) = pool.quorum(&vote, &set).unwrap();
    assert_eq!(signers.positions().collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(signatures, ['a', 'c', 'd']);
}

#[test]
fn the_pool_finds_offenders_and_refuses_strangers() {
    let set = stake_set(&[1, 1]);
    let mut pool = VotePool::default();
    pool.add(bare(3, 9, "e"), 0, 'a', &set).unwrap();
    for (offence, vote) in [
        (Offence::Double, bare(3, 9, "f")),
        (Offence::Surround, bare(4, 8, "e")),
        (Offence::Surround, bare(2, 10, "e")),
    ] {
        let Added::Conflict(pair) = pool.add(vote, 0, 'b', &set).unwrap() else { panic!("no conflict: {vote:?}") };
        assert_eq!(pair[0].0.conflict(&pair[1].0), Some(offence));
        assert_eq!(pool.add(vote, 1, 'b', &set), Ok(Added::Counted(1)));
        pool = VotePool::default();
        pool.add(bare(3, 9, "e"), 0, 'a', &set).unwrap();
    }
    assert_eq!(pool.add(bare(3, 9, "e"), 2, 'c', &set), Err(InvalidVote::UnknownValidator(2)));
    let error = InvalidVote::NotForward { source_index: 4, target_index: 4 };
    assert_eq!(pool.add(bare(4, 4, "e"), 1, 'c', &set), Err(error));
}

#[test]
fn the_pool_is_bounded() {
    let set = stake_set(&[1; 5]);
    let mut pool = VotePool::default();
    for index in 0..1_000u64 {
        for signer in 0..7 {
            for mark in ["e", "f"] {
                let _ = pool.add(bare(index / 2, index, mark), signer, (), &set);
            }
        }
    }
    assert_eq!(pool.len(), 5 * 32);
    let error = InvalidVote::OutOfWindow { index: 33, from: 1, to: 32 };
    assert_eq!(pool.add(bare(0, 33, "e"), 0, (), &set), Err(error));
    pool.raise_floor(30);
    assert_eq!(pool.len(), 5 * 2);
    assert_eq!(pool.add(bare(30, 33, "e"), 0, (), &set), Ok(Added::Counted(1)));
    pool.raise_floor(10);
    assert_eq!(pool.len(), 11, "a floor does not fall");

    let mut evidence = EvidencePool::default();
    let against = |byte: u8, mark: &str| {
        let vote = |mark| (bare(1, 2, mark), Signature::ZERO);
        Evidence::of_votes(PublicKey::repeat_byte(byte), vote("e"), vote(mark))
    };
    assert_eq!(evidence.add(against(4, "f")), Ok(()));
    assert_eq!(evidence.add(against(4, "g")), Err(DuplicateEvidence(PublicKey::repeat_byte(4))));
    assert_eq!(evidence.add(against(5, "f")), Ok(()));
    assert_eq!(evidence.iter().collect::<Vec<_>>(), [&against(4, "f"), &against(5, "f")]);
    evidence.retain(|evidence| *evidence != against(4, "f"));
    assert_eq!(evidence.iter().collect::<Vec<_>>(), [&against(5, "f")]);
}

#[test]
fn sources_are_justified_and_on_the_chain_of_the_target() {
    let dag = dag(params(9), CHAIN);
    let mut state = Finality::genesis(dag.genesis());
    state.apply(&vote(&dag, "0:A", "1:B"));
    state.apply(&vote(&dag, "0:A", "2:X"));
    let source = |index: u64, target: &str| {
        let on_chain =
            |block: &_| Ok::<_, std::convert::Infallible>(dag.is_chain_ancestor(block, &hash(target)).unwrap());
        state.source_for(index, on_chain).unwrap().map(|source| name(&source.hash))
    };
    assert_eq!(source(3, "D"), Some("B".into()));
    assert_eq!(source(3, "Z"), Some("X".into()));
    assert_eq!(source(2, "Z"), Some("A".into()), "a source is before its target");
    assert_eq!(source(3, "nowhere"), None);
}

#[test]
fn a_node_keeps_what_it_has_finalised() {
    let dag = dag(params(9), CHAIN);
    let finality = |links: &[(&str, &str)]| {
        let mut state = Finality::genesis(dag.genesis());
        for (source, target) in links {
            state.apply(&vote(&dag, source, target));
        }
        state
    };
    let mut local = LocalFinality::new(checkpoint("0:A"));
    let mut observe = |state: &Finality| {
        let ancestor = |a: &Checkpoint, b: &Checkpoint| {
            Ok::<_, std::convert::Infallible>(dag.is_chain_ancestor(&a.hash, &b.hash).unwrap())
        };
        let outcome = local.observe(state, ancestor).unwrap();
        (outcome.is_ok(), local.justified(), local.finalised())
    };
    let (one, two, none) = (checkpoint("1:B"), checkpoint("2:C"), checkpoint("0:A"));
    assert_eq!(observe(&finality(&[("0:A", "1:B")])), (true, one, none));
    assert_eq!(observe(&finality(&[("0:A", "1:B"), ("1:B", "2:C")])), (true, two, one));
    // Blocks that know less, and one of a conflicting branch.
    assert_eq!(observe(&finality(&[("0:A", "1:B")])), (true, two, one));
    assert_eq!(observe(&finality(&[("0:A", "3:X")])), (true, two, one), "justified elsewhere, not above ours");
    let other = finality(&[("0:A", "3:X"), ("3:X", "4:Y")]);
    assert_eq!(observe(&other), (false, two, one));
    let conflict = local.observe(&other, |_, _| Ok::<_, ()>(false)).unwrap().unwrap_err();
    assert_eq!((conflict.ours, conflict.theirs), (one, checkpoint("3:X")));
}
