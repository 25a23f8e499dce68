//! Readiness: when models begin to run, and when they stop.
//!
//! A certificate of two thirds of the stake makes a pending model active at the beginning of the next epoch. From then on
//! each epoch needs a certificate of half of the stake for the next one; without it the model is *suspended*: its record
//! stays, but it does not run until two thirds certify it again. All this is done by system operations; that a model is
//! suspended follows from its record and the epoch, so that nothing has to visit every model.

use super::{
    Registry, Word, adapters,
    models::{FOR_GOOD, Field, Head, ModelStatus},
    slot,
    versions::activate,
};
use crate::{context::Readiness, overlay::Overlay};
use alloy_primitives::{B256, U256, keccak256};

/// The queue: epoch and number of the models certified in it. Their ids follow at keccak(slot) + i.
const QUEUE_SLOT: U256 = U256::from_limbs([2, 0, 0, 0]);

fn queue_slot(index: u64) -> U256 {
    U256::from_be_bytes(keccak256(QUEUE_SLOT.to_be_bytes::<32>()).0).wrapping_add(U256::from(index))
}

/// Models certified in one epoch, which begin to run in the next one.
struct Queue {
    epoch: u64,
    models: u64,
}

impl Queue {
    fn read<R: Registry>(registry: &mut R) -> Result<Self, R::Error> {
        let word = Word::new(registry.read(QUEUE_SLOT)?);
        Ok(Self { epoch: word.short(0, 8), models: word.short(8, 8) })
    }

    fn push<R: Registry>(registry: &mut R, epoch: u64, id: &B256) -> Result<(), R::Error> {
        let Self { models, .. } = Self::read(registry)?;
        registry.write(queue_slot(models), U256::from_be_bytes(id.0))?;
        registry.write(QUEUE_SLOT, Word::default().with(0, 8, epoch).with(8, 8, models + 1).value())
    }
}

/// System operation: in the first block of an epoch, what was certified in an earlier one begins to run.
pub(crate) fn begin_epoch(overlay: &mut Overlay<'_>, epoch: u64, block: u64) {
    let Ok(()) = start_queued(overlay, epoch, block);
}

fn start_queued<R: Registry>(registry: &mut R, epoch: u64, block: u64) -> Result<(), R::Error> {
    let queue = Queue::read(registry)?;
    if queue.models == 0 || queue.epoch >= epoch {
        return Ok(());
    }
    for index in 0..queue.models {
        let id: B256 = registry.read(queue_slot(index))?.into();
        registry.write(queue_slot(index), U256::ZERO)?;
        let mut head = Head::read(registry, &id)?;
        // Its record may have been cleared, or registered anew, since.
        if head.scheduled {
            head.scheduled = false;
            head.write(registry, &id)?;
            refresh(registry, &id, epoch)?;
            activate(registry, &id, block)?;
        }
    }
    registry.write(QUEUE_SLOT, U256::ZERO)
}

/// System operation: what a certificate of this epoch does. With `renewed`, models have to be certified epoch after epoch;
/// else one certificate of two thirds is enough, at once and for good.
pub(crate) fn certify(overlay: &mut Overlay<'_>, certificate: &Readiness, renewed: bool, epoch: u64, block: u64) {
    let Ok(()) = count(overlay, certificate, renewed, epoch, block);
}

fn count<R: Registry>(
    registry: &mut R,
    certificate: &Readiness,
    renewed: bool,
    epoch: u64,
    block: u64,
) -> Result<(), R::Error> {
    let id = &certificate.model_id;
    let mut head = Head::read(registry, id)?;
    let is_running = match head.status {
        Some(ModelStatus::Active) => fresh_until(registry, id)? >= epoch.min(FOR_GOOD),
        Some(ModelStatus::Pending) => false,
        Some(ModelStatus::Pruned) => return Ok(()),
        // An adapter becomes active at once and for good.
        None if certificate.is_two_thirds => return adapters::activate(registry, id),
        None => return Ok(()),
    };
    if is_running {
        return refresh(registry, id, epoch + 1);
    }
    if !certificate.is_two_thirds || head.scheduled {
        return Ok(());
    }
    if renewed {
        head.scheduled = true;
        head.write(registry, id)?;
        return Queue::push(registry, epoch, id);
    }
    refresh(registry, id, FOR_GOOD)?;
    activate(registry, id, block)
}

fn fresh_until<R: Registry>(registry: &mut R, id: &B256) -> Result<u64, R::Error> {
    Ok(Word::new(registry.read(slot(id, Field::Terms as u8))?).short(24, 4))
}

/// Lets a model run up to this epoch, if it could not anyway.
fn refresh<R: Registry>(registry: &mut R, id: &B256, epoch: u64) -> Result<(), R::Error> {
    let terms = Word::new(registry.read(slot(id, Field::Terms as u8))?);
    if terms.short(24, 4) >= epoch.min(FOR_GOOD) {
        return Ok(());
    }
    registry.write(slot(id, Field::Terms as u8), terms.with(24, 4, epoch).value())
}
