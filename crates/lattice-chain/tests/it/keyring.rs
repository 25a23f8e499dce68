//! Checks before the chain: what several say is verified together, comes out in order, and counts only where the chain
//! needs the same keys.

use crate::{
    committee::{changed, nodes},
    net::{Node, key, solo, transfer},
};
use alloy_primitives::{Address, B256};
use lattice_chain::{ChainError, CheckRefused, Input, InvalidStanding, Penalty, Unchecked, VoteRefused};
use lattice_storage::MemoryKv;
use lattice_types::{
    Attestation, Bitmap, CheckedBlock, Evidence, InvalidBlock, InvalidEvidence, SealKey, SetVerdict, SignedVote,
    Verdicts, bls::InvalidBls, spec::DEV_CHAIN_ID,
};
use std::sync::Arc;

fn said(block: &CheckedBlock) -> Unchecked {
    Unchecked::Block(alloy_rlp::encode(&**block.block()).into())
}

/// What the checks say, in words.
fn check(node: &Node, said: Vec<Unchecked>) -> Vec<String> {
    let word = |checked| match checked {
        Ok(Input::Block(block)) => match &block.verdicts().seal {
            None => "block".to_owned(),
            Some((_, verdict)) => format!("block, {verdict:?}"),
        },
        Ok(Input::Vote(vote)) => format!("vote of {}", vote.vote().signer),
        Ok(Input::Attestation(given)) => format!("attestation, {:?}", given.verdict.map(|(_, verdict)| verdict)),
        Ok(Input::Evidence(_)) => "evidence".to_owned(),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => format!("{refused:?}"),
    };
    node.chain.keyring().unwrap().check(said).into_iter().map(word).collect()
}

#[test]
fn what_is_said_is_checked_together_and_comes_out_in_order() {
    let mut node = nodes(1).remove(0);
    let block = node.seal([transfer(0, 0, Address::ZERO, 1)]);
    let stranger = changed(&block, |block| block.header.proposer = 9);
    let stolen = changed(&block, |block| block.header.proposer = 1);
    let mut unsigned = (**block.block()).clone();
    unsigned.header.evm_hash = B256::ZERO;
    let unsigned = CheckedBlock::trusted(unsigned, block.senders().to_vec());
    let headless = changed(&block, |block| block.header.parents.clear());

    let vote = *node.vote_of(2, 4).unwrap().vote();
    let forged = SignedVote { signer: 1, ..vote };
    let unknown = SignedVote { signer: 9, ..vote };
    let attestation = |signer, by| Attestation::sign(B256::ZERO, 0, signer, &key(by), DEV_CHAIN_ID);
    let headers = |a: &CheckedBlock, b: &CheckedBlock| {
        Evidence::of_headers(key(0).public_key(), a.block().header.clone(), b.block().header.clone())
    };
    let cases = [
        (said(&block), "block, Ok(())".to_owned()),
        (said(&stolen), format!("block, {:?}", Err::<(), _>(InvalidBlock::Vrf))),
        (said(&stranger), "block".to_owned()),
        (Unchecked::Vote(vote), "vote of 2".to_owned()),
        (said(&unsigned), format!("block, {:?}", Err::<(), _>(InvalidBlock::Signature))),
        (Unchecked::Vote(forged), format!("{:?}", CheckRefused::Signature(InvalidBls::Signature))),
        (Unchecked::Vote(unknown), format!("{:?}", CheckRefused::UnknownSigner(9))),
        (said(&headless), format!("{:?}", CheckRefused::Block(InvalidBlock::NoParents))),
        (Unchecked::Attestation(attestation(1, 1)), "attestation, Some(Ok(()))".to_owned()),
        (Unchecked::Attestation(attestation(1, 2)), "attestation, Some(Err(Signature))".to_owned()),
        (Unchecked::Attestation(attestation(9, 2)), "attestation, None".to_owned()),
        (
            Unchecked::Evidence(headers(&block, &changed(&block, |block| block.header.ai_class = 1))),
            "evidence".to_owned(),
        ),
        (Unchecked::Evidence(headers(&block, &block)), format!("{:?}", CheckRefused::Evidence(InvalidEvidence::Order))),
    ];
    let (all, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(check(&node, all.clone()), expected);
    for (said, expected) in all.iter().zip(&expected) {
        assert_eq!(check(&node, vec![said.clone()]), [expected.as_str()], "alone");
    }
    assert_eq!(check(&node, Vec::new()), Vec::<String>::new());

    let huge = check(&node, vec![Unchecked::Block(vec![0; 1 << 20].into())]);
    assert!(huge[0].contains("1048576 bytes, at most 589824 are allowed"), "{huge:?}");
    assert_eq!(CheckRefused::UnknownSigner(9).penalty(), Penalty::None, "this node may be behind");
    assert_eq!(CheckRefused::Block(InvalidBlock::NoParents).penalty(), Penalty::Fatal);
}

/// A node, and a block with a certificate that it has not seen.
fn carrier() -> (Node, CheckedBlock) {
    let node = |validator| Node::with(solo(), Arc::new(MemoryKv::new()), validator);
    let (mut maker, mut taker) = (node(0), node(0));
    let first = maker.seal([]);
    taker.give(&first).unwrap();
    maker.vote(0..1, 2);
    let block = maker.build(2);
    assert_eq!(block.block().body.certificates.len(), 1);
    (taker, block)
}

fn checked(node: &Node, block: &CheckedBlock) -> CheckedBlock {
    match node.chain.keyring().unwrap().check(vec![said(block)]).remove(0).unwrap() {
        Input::Block(block) => block,
        other => panic!("{other:?}"),
    }
}

/// A certificate with a signature of something else.
fn spoilt(block: &CheckedBlock) -> CheckedBlock {
    changed(block, |block| block.body.certificates[0].signature = block.header.vrf)
}

#[test]
fn certificates_are_verified_with_the_set_that_most_likely_votes() {
    let (node, block) = carrier();
    let set = node.chain.dag().genesis();
    let of = |block: &CheckedBlock| checked(&node, block).verdicts().certificates.clone();
    assert_eq!(of(&block), [Some(SetVerdict { set, verdict: Ok(()) })]);
    assert_eq!(of(&spoilt(&block)), [Some(SetVerdict { set, verdict: Err(InvalidBls::Signature) })]);
    let none = changed(&block, |block| block.body.certificates[0].signers = Bitmap::of(1, []));
    assert_eq!(of(&none), [Some(SetVerdict { set, verdict: Err(InvalidBls::Signature) })]);
}

#[test]
fn the_chain_verifies_only_what_nobody_did_with_the_right_keys() {
    let (mut node, block) = carrier();
    let now = node.time(2);
    let wrong = checked(&node, &spoilt(&block));
    let (set, seal) = (node.chain.dag().genesis(), wrong.verdicts().seal.clone());
    let mut give = |certificate: Option<SetVerdict>, seal: Option<(SealKey, Result<(), InvalidBlock>)>| {
        let verdicts = Verdicts { seal, certificates: vec![certificate], readiness: Vec::new() };
        match node.chain.handle(now, Input::Block(wrong.clone().with_verdicts(verdicts))) {
            Ok(_) => Ok(()),
            Err(ChainError::InvalidStanding(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    };
    let bad_certificate = |given: Result<(), Box<InvalidStanding>>| matches!(given, Err(refusal) if matches!(*refusal, InvalidStanding::CertificateSignature { .. }));
    assert!(bad_certificate(give(None, seal.clone())), "nobody verified it");
    let other_set = SetVerdict { set: B256::ZERO, verdict: Ok(()) };
    assert!(bad_certificate(give(Some(other_set), seal.clone())), "another set signed it");
    assert!(bad_certificate(give(Some(SetVerdict { set, verdict: Err(InvalidBls::Signature) }), seal.clone())));
    let (right, _) = seal.clone().unwrap();
    let other_seed = SealKey { epoch_seed: B256::ZERO, ..right };
    let known = Some(SetVerdict { set, verdict: Ok(()) });
    let stale = Some((other_seed, Err(InvalidBlock::Vrf)));
    let refused = Some((right, Err(InvalidBlock::Vrf)));
    assert_eq!(give(known, refused), Err(InvalidStanding::Seal(InvalidBlock::Vrf).into()), "what was found counts");
    assert_eq!(give(known, stale), Ok(()), "a verdict on another seed does not, and the certificate's is believed");
}

#[test]
fn an_early_vote_of_a_member_has_its_signature_checked_with_its_key() {
    let mut nodes = nodes(2);
    nodes[0].seal([]);
    let vote = *nodes[0].vote_of(1, 4).unwrap().vote();
    let input = nodes[1].chain.keyring().unwrap().check(vec![Unchecked::Vote(vote)]).remove(0).unwrap();
    let now = nodes[1].time(4);
    let error = nodes[1].chain.handle(now, input).unwrap_err();
    assert!(matches!(error, ChainError::Vote(VoteRefused::UnknownTarget(_))), "{error}");
    assert_eq!(nodes[1].chain.early_votes(), 1);
}
