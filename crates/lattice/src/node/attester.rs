//! The thread that verifies the artifacts of models and attests readiness.
//!
//! Loading a model takes long, so it happens here and not on the chain's thread. A model is looked at when it is
//! registered, when the block that its artifact lacked arrives, and once in each further epoch while it waits, or has to be
//! certified anew: attestations are of an epoch. So models whose artifacts never come cost one look an epoch.

use super::{
    chain_thread::Message,
    clock::{now_ms, slot_at},
    shared::Shared,
    signer::Signer,
};
use alloy_primitives::B256;
use lattice_chain::{ArtifactError, Backend, ModelError, ModelStatus, ModelStore, ReadinessNeed, View};
use lattice_types::Cid;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// Registrations read at a time.
const PAGE: u64 = 64;

/// What there is to look at.
#[derive(Debug)]
pub enum Wake {
    /// A new head: it may register models.
    Head,
    /// A block of an artifact.
    Arrived(Cid),
}

/// Attests until the channel is closed.
pub fn run(shared: &Shared, models: &ModelStore, signers: &[Arc<Signer>], woken: &Receiver<Wake>) {
    let mut attester =
        Attester { shared, models, signers, seen: 0, epoch: 0, watched: BTreeSet::new(), missing: BTreeMap::new() };
    let mut arrived = Vec::new();
    loop {
        let wait = attester.look(arrived.drain(..));
        let first = match woken.recv_timeout(wait) {
            Ok(wake) => Some(wake),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        arrived.extend(first.into_iter().chain(woken.try_iter()).filter_map(|wake| match wake {
            Wake::Head => None,
            Wake::Arrived(cid) => Some(cid),
        }));
    }
}

struct Attester<'a> {
    shared: &'a Shared,
    models: &'a ModelStore,
    /// The validators of this process.
    signers: &'a [Arc<Signer>],
    /// Registrations that were looked at.
    seen: u64,
    /// The epoch of the last look.
    epoch: u64,
    /// Models that wait for a certificate, now or in a later epoch, attested or not.
    watched: BTreeSet<B256>,
    /// Those of them that lack a block of their artifact, by this block.
    missing: BTreeMap<Cid, Vec<B256>>,
}

impl Attester<'_> {
    /// Looks at what is due; how long to wait when nothing happens.
    fn look(&mut self, arrived: impl Iterator<Item = Cid>) -> Duration {
        let view = self.shared.view();
        let mut due: BTreeSet<B256> = arrived.filter_map(|cid| self.missing.remove(&cid)).flatten().collect();
        loop {
            let (total, page) = view.registrations(self.seen, PAGE);
            // A reorganisation may have taken registrations back.
            self.seen = self.seen.min(total);
            if self.seen == total {
                break;
            }
            self.seen = total.min(self.seen + PAGE);
            due.extend(page);
        }
        let spec = view.spec();
        let now = now_ms();
        let epoch = slot_at(spec, now) / spec.epoch_slots;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.missing.clear();
            due.append(&mut self.watched);
        }
        for model_id in due {
            self.attest(&view, model_id);
        }
        if self.watched.is_empty() {
            return Duration::MAX;
        }
        let next_ms = spec.genesis_time_s * 1000 + (epoch + 1) * spec.epoch_slots * spec.slot_ms;
        Duration::from_millis(next_ms.saturating_sub(now).max(1))
    }

    /// Attests a model or an adapter that needs it, and is here and whole.
    fn attest(&mut self, view: &View, model_id: B256) {
        self.watched.remove(&model_id);
        let need = view.readiness_need(&model_id, self.epoch);
        // A model waits for, or needs, certificates of later epochs too; an adapter does not.
        let renewed = view.spec().readiness_renewed;
        let lives = view.model(&model_id).is_some_and(|record| match record.status {
            ModelStatus::Pending => true,
            ModelStatus::Active => renewed,
            ModelStatus::Pruned => false,
        });
        if need == ReadinessNeed::None && !lives {
            return;
        }
        self.watched.insert(model_id);
        if need == ReadinessNeed::None {
            return;
        }
        match view.verify(self.models, &model_id) {
            Ok(()) => {
                for signer in self.signers {
                    let attestation = signer.attest(model_id, self.epoch, view.spec().chain_id);
                    self.shared.send(Message::Attestation(attestation));
                }
            }
            Err(ModelError::Artifact(ArtifactError::Missing { missing, .. })) => {
                self.missing.entry(missing[0]).or_default().push(model_id);
            }
            Err(error) => {
                tracing::warn!("model {model_id} is not attested: {error}");
                self.watched.remove(&model_id);
            }
        }
    }
}
