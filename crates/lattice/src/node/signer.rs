//! A validator's key, and the watermark that keeps it from ever signing two things that contradict each other.
//!
//! The watermark is written before anything is signed. It lies in a file of its own beside the store, so that a store that
//! is restored from a copy does not bring an older one back.

use alloy_primitives::B256;
use lattice_chain::Template;
use lattice_consensus::finality::{Refused, Watermark};
use lattice_types::{
    CheckedAttestation, CheckedBlock, CheckedVote, Vote,
    bls::{self, SecretKey},
};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// File of the watermark in the data directory.
const FILE: &str = "watermark";

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The watermark forbids it.
    #[error("not signed: {0}")]
    Refused(#[from] Refused),
    /// The watermark cannot be read or written.
    #[error("the signer's watermark {path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The file does not hold a watermark.
    #[error(
        "the signer's watermark {0} is damaged: nothing may be signed with this key until all it may have signed is out of \
         date. Restore the file, or register a new key"
    )]
    Damaged(PathBuf),
}

/// One validator of this node.
pub struct Signer {
    key: SecretKey,
    index: u32,
    path: PathBuf,
    /// Whether each mark goes to the disk itself before the signature leaves, and not only to the operating system.
    synced: bool,
    mark: Mutex<Watermark>,
}

impl Signer {
    /// Opens the signer of validator `index`; a data directory without a watermark has signed nothing yet.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(key: SecretKey, index: u32, datadir: &Path, synced: bool) -> Result<Self, SignerError> {
        let path = datadir.join(FILE);
        let mark = match fs::read(&path) {
            Ok(bytes) => Watermark::decode(&bytes).ok_or_else(|| SignerError::Damaged(path.clone()))?,
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Watermark::default(),
            Err(reason) => return Err(SignerError::Io { path, reason }),
        };
        Ok(Self { key, index, path, synced, mark: Mutex::new(mark) })
    }

    /// Place in the validator registry.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The first slot for which a new block may be signed.
    pub fn next_slot(&self) -> u64 {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).next_slot()
    }

    /// The VRF of a slot. It commits to nothing: a VRF has one output.
    pub fn vrf(&self, epoch_seed: &B256, slot: u64, chain_id: u64) -> bls::Signature {
        self.key.sign(bls::Domain::Vrf, chain_id, &bls::vrf_content(epoch_seed, slot))
    }

    /// Signs a block.
    ///
    /// # Errors
    /// When the watermark forbids it or cannot be written.
    pub fn seal(&self, template: Template, chain_id: u64) -> Result<CheckedBlock, SignerError> {
        let header = template.header();
        self.admit(|mark| mark.admit_block(header.slot, header.signing_hash()))?;
        Ok(template.seal(&self.key, chain_id))
    }

    /// Signs a vote.
    ///
    /// # Errors
    /// When the watermark forbids it or cannot be written.
    pub fn vote(&self, vote: Vote, chain_id: u64) -> Result<CheckedVote, SignerError> {
        self.admit(|mark| mark.admit_vote(&vote))?;
        Ok(CheckedVote::sign(vote, self.index, &self.key, chain_id))
    }

    /// Says that this node holds a model. Saying so twice is no offence.
    pub fn attest(&self, model_id: B256, epoch: u64, chain_id: u64) -> CheckedAttestation {
        CheckedAttestation::sign(model_id, epoch, self.index, &self.key, chain_id)
    }

    fn admit(&self, rule: impl FnOnce(&Watermark) -> Result<Watermark, Refused>) -> Result<(), SignerError> {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let next = rule(&mark)?;
        if next != *mark {
            self.write(&next).map_err(|reason| SignerError::Io { path: self.path.clone(), reason })?;
            *mark = next;
        }
        Ok(())
    }

    /// Replaces the file as a whole: a crash leaves the old mark or the new one.
    fn write(&self, mark: &Watermark) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&mark.encode())?;
        if self.synced {
            file.sync_all()?;
        }
        fs::rename(&new, &self.path)?;
        if self.synced
            && let Some(folder) = self.path.parent()
        {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lattice_types::Checkpoint;

    fn vote(source: u64, target: u64, mark: u8) -> Vote {
        let checkpoint = |index, byte| Checkpoint { index, hash: B256::repeat_byte(byte) };
        Vote {
            source: checkpoint(source, 1),
            target: checkpoint(target, mark),
            target_blue_score: 1,
            target_evm_hash: B256::ZERO,
        }
    }

    fn open(folder: &Path) -> Result<Signer, SignerError> {
        Signer::open(SecretKey::from_seed(&[1; 32]), 0, folder, true)
    }

    #[test]
    fn a_restarted_signer_remembers_what_it_has_signed() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap().vote(vote(1, 2, 7), 5).unwrap();
        let again = open(folder.path()).unwrap();
        assert_eq!(again.vote(vote(1, 2, 7), 5).unwrap(), first, "the same vote may be signed again");
        let refused = again.vote(vote(1, 2, 8), 5).unwrap_err();
        assert!(matches!(refused, SignerError::Refused(Refused::Target { target: 2, signed: 2 })), "{refused}");
        again.vote(vote(2, 3, 8), 5).unwrap();
    }

    #[test]
    fn a_damaged_watermark_signs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap().vote(vote(1, 2, 7), 5).unwrap();
        let path = folder.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open(folder.path()), Err(SignerError::Damaged(_))));
    }
}
