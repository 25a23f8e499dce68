//! The thread that verifies the artifacts of pending models and attests readiness.
//!
//! Loading a model takes long, so it happens here and not on the chain's thread. The development chain has one
//! validator, whose signature alone is two thirds of the stake.

use super::{chain_thread::Message, shared::Shared};
use alloy_primitives::B256;
use lattice_chain::{ArtifactError, Backend, ModelError, ModelStatus, ModelStore};
use lattice_types::{ReadinessCertificate, bls::SecretKey, readiness};
use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

/// How often artifacts that were missing are looked for again.
const RETRY: Duration = Duration::from_millis(200);
/// Registrations read at a time.
const PAGE: u64 = 64;

/// Attests until the channel is closed.
pub fn run(shared: &Shared, models: &ModelStore, key: &SecretKey, woken: &Receiver<()>) {
    let mut attester = Attester { shared, models, key, seen: 0, pending: BTreeSet::new() };
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
    key: &'a SecretKey,
    /// Registrations that were looked at.
    seen: u64,
    pending: BTreeSet<B256>,
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
            self.pending.extend(page.into_iter().filter(pending));
        }
        for model_id in self.pending.clone() {
            match view.model(&model_id) {
                Some(record) if record.status == ModelStatus::Pending => match self.models.verify(&model_id, &record) {
                    Ok(()) => self.attest(model_id, view.spec().chain_id),
                    // Its chunks may still arrive.
                    Err(ModelError::Artifact(ArtifactError::Missing { .. })) => continue,
                    Err(error) => tracing::warn!("model {model_id} stays pending: {error}"),
                },
                _ => {}
            }
            self.pending.remove(&model_id);
        }
    }

    fn attest(&self, model_id: B256, chain_id: u64) {
        let signature = readiness::sign(self.key, chain_id, &model_id);
        let certificate = ReadinessCertificate { model_id, signers: vec![0], signature };
        self.shared.send(Message::Readiness(certificate));
    }
}
