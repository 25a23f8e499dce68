//! A validator's key with its watermark. The watermark lies in a store of its own and survives every crash.

use alloy_primitives::B256;
use lattice_chain::Template;
use lattice_consensus::finality::Watermark;
use lattice_types::{
    CheckedBlock, CheckedVote, Vote,
    bls::{self, Domain, SecretKey, vrf_content},
};

/// Signs for one validator.
pub struct Signer {
    key: SecretKey,
    index: u32,
    chain_id: u64,
    mark: Watermark,
    /// The slot and seed that were signed last, with their VRF.
    last_vrf: Option<(u64, B256, bls::Signature)>,
}

/// Key of a validator.
pub fn secret_key(index: u32) -> SecretKey {
    let mut seed = [0x5a; 32];
    seed[..4].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_seed(&seed)
}

impl Signer {
    /// The signer of a validator that has signed nothing yet.
    pub fn new(index: u32, chain_id: u64) -> Self {
        Self { key: secret_key(index), index, chain_id, mark: Watermark::default(), last_vrf: None }
    }

    /// The secret key, for those who break the rules.
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The VRF of a slot.
    pub fn vrf(&mut self, seed: &B256, slot: u64) -> bls::Signature {
        match &self.last_vrf {
            Some((s, e, vrf)) if (*s, e) == (slot, seed) => *vrf,
            _ => {
                let vrf = self.key.sign(Domain::Vrf, self.chain_id, &vrf_content(seed, slot));
                self.last_vrf = Some((slot, *seed, vrf));
                vrf
            }
        }
    }

    /// Signs a block, unless the watermark forbids it.
    pub fn seal(&mut self, template: Template) -> Option<CheckedBlock> {
        let header = template.header();
        self.mark = self.mark.admit_block(header.slot, header.signing_hash()).ok()?;
        Some(template.seal(&self.key, self.chain_id))
    }

    /// Signs a block whatever the watermark says: an offence.
    pub fn seal_anyway(&self, template: Template) -> CheckedBlock {
        template.seal(&self.key, self.chain_id)
    }

    /// Signs a vote, unless the watermark forbids it.
    pub fn vote(&mut self, vote: Vote) -> Option<CheckedVote> {
        self.mark = self.mark.admit_vote(&vote).ok()?;
        Some(self.vote_anyway(vote))
    }

    /// Signs a vote whatever the watermark says.
    pub fn vote_anyway(&self, vote: Vote) -> CheckedVote {
        CheckedVote::sign(vote, self.index, &self.key, self.chain_id)
    }

    /// What a restart reads back: the mark goes through its stored form.
    ///
    /// # Panics
    /// When the stored form does not decode, which is a bug.
    pub fn restart(&mut self) {
        self.mark = Watermark::decode(&self.mark.encode()).expect("a watermark decodes");
        self.last_vrf = None;
    }
}
