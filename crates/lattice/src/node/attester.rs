//! The thread that verifies the artifacts of pending models and attests readiness.
//!
//! Loading a model takes long, so it happens here and not on the chain's thread. Attestations are of an epoch: what
//! still waits in the next one is attested again.

use super::{
    chain_thread::Message,
    clock::{now_ms, slot_at},
    shared::Shared,
    signer::Signer,
};
use alloy_primitives::B256;
use lattice_chain::{ArtifactError, Backend, ModelError, ModelStatus, ModelStore};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// How often artifacts that were missing are looked for again.
const RETRY: Duration = Duration::from_millis(200);
/// Registrations read at a time.
const PAGE: u64 = 64;

/// Attests until the channel is closed.
pub fn run(shared: &Shared, models: &ModelStore, signers: &[Arc<Signer>], woken: &Receiver<()>) {
    let mut attester = Attester { shared, models, signers, seen: 0, pending: BTreeMap::new() };
    loop {
        attester.look();
        // Without pending models there is nothing to look for until the next head.
        let wait = if attester.pending.is_empty() { Duration::MAX } else { RETRY };
        match woken.recv_timeout(wait) {
            Ok(()) => while woken.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Attester<'a> {
    shared: &'a Shared,
    models: &'a ModelStore,
    /// The validators of this process.
    signers: &'a [Arc<Signer>],
    /// Registrations that were looked at.
    seen: u64,
    /// Models that wait, with the epoch in which this validator has attested.
    pending: BTreeMap<B256, Option<u64>>,
}

impl Attester<'_> {
    fn look(&mut self) {
        let view = self.shared.view();
        loop {
            let (total, page) = view.registrations(self.seen, PAGE);
            // A reorganisation may have taken registrations back.
            self.seen = self.seen.min(total);
            if self.seen == total {
                break;
            }
            self.seen = total.min(self.seen + PAGE);
            let pending = |id: &B256| view.model(id).is_some_and(|record| record.status == ModelStatus::Pending);
            self.pending.extend(page.into_iter().filter(pending).map(|id| (id, None)));
        }
        let spec = view.spec();
        let epoch = slot_at(spec, now_ms()) / spec.epoch_slots;
        let (shared, models, signers) = (self.shared, self.models, self.signers);
        self.pending.retain(|model_id, attested| {
            let record = view.model(model_id).filter(|record| record.status == ModelStatus::Pending);
            let Some(record) = record else { return false };
            // The word of an earlier epoch is of no use any more.
            if *attested == Some(epoch) {
                return true;
            }
            match models.verify(model_id, &record) {
                Ok(()) => {
                    for signer in signers {
                        shared.send(Message::Attestation(signer.attest(*model_id, epoch, spec.chain_id)));
                    }
                    *attested = Some(epoch);
                    true
                }
                // Its chunks may still arrive.
                Err(ModelError::Artifact(ArtifactError::Missing { .. })) => true,
                Err(error) => {
                    tracing::warn!("model {model_id} stays pending: {error}");
                    false
                }
            }
        });
    }
}
