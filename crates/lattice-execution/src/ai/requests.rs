//! Proof requests: a fee in escrow for whoever proves an inference before a block.
//!
//! Proving costs about two thousand executions, so consensus never proves. ZK_PROVE opens a request and moves the fee
//! to the account INFERENCE; ZK_VERIFY settles it and pays the prover; a request that nobody settled expires, and a
//! system operation at the start of a block gives the fee back. Every wei in escrow belongs to exactly one open request.
//!
//! The layout is part of the protocol (`docs/spec/ai-state.md`).

use super::call::{AiCall, Halt};
use crate::overlay::Overlay;
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::system;
use std::convert::Infallible;

/// The longest life of a request, EVM blocks.
pub const EXPIRY_BLOCKS_MAX: u64 = 100_000;
/// The longest output that a request may be about: it is kept in the state for contracts to read.
pub const OUTPUT_BYTES_MAX: u64 = 1_024;
/// Steps of the expiry queue that one block takes at most: a request given back, or a block of the queue passed.
const EXPIRIES_PER_BLOCK_MAX: u64 = 64;

/// Slot of the number of requests ever opened.
const COUNT: &[u8] = b"lattice proof requests";
/// Slot of the place where the expiry queue stopped for lack of room, 0 when it did not.
const BACKLOG: &[u8] = b"lattice proof backlog";
/// With a block number: slot of the number of requests that expire there; they follow at keccak(slot) + i.
const QUEUE: &[u8] = b"lattice proof queue";

/// Fields of a request's record.
#[derive(Debug, Clone, Copy)]
enum Field {
    Status = 0,
    Requester = 1,
    Fee = 2,
    ModelId = 3,
    InputHash = 4,
    Expires = 5,
    Payee = 6,
    OutputBytes = 7,
    /// The output's words follow at keccak(slot) + i.
    Output = 8,
}

/// Slots that opening writes: the record's six fields, the count, the queue's length and item.
pub(crate) const OPEN_SLOTS: u64 = 9;

/// Slots that settling writes for an output of that many bytes: status, payee, length, words.
pub(crate) const fn settle_slots(output_bytes: u64) -> u64 {
    3 + output_bytes.div_ceil(32)
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestStatus {
    /// A proof may still settle it.
    Pending,
    /// Proven; the output.
    Ok(Vec<u8>),
    /// Nobody proved it in time; the fee is on its way back or has arrived.
    Expired,
}

/// A proof request as the state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRequest {
    /// What became of it.
    pub status: RequestStatus,
    /// Who asked, and gets the fee back.
    pub requester: Address,
    /// Wei for the prover.
    pub fee: U256,
    /// The model.
    pub model_id: B256,
    /// keccak256 of the raw input tensors.
    pub input_hash: B256,
    /// First EVM block in which it is expired.
    pub expires: u64,
    /// Whom a settlement paid.
    pub payee: Option<Address>,
}

const OPEN: u64 = 1;
const SETTLED: u64 = 2;
const REFUNDED: u64 = 3;

fn hash_slot(tag: &[u8]) -> U256 {
    keccak256(tag).into()
}

fn slot(id: &B256, field: Field) -> U256 {
    super::records::slot(id, field as u8)
}

fn queue_slot(block: u64) -> U256 {
    keccak256([QUEUE, &block.to_be_bytes()].concat()).into()
}

fn item_slot(list: U256, index: u64) -> U256 {
    U256::from_be_bytes(keccak256(list.to_be_bytes::<32>()).0).wrapping_add(U256::from(index))
}

/// The id of the request with this number, from 0.
pub fn request_id(number: u64) -> B256 {
    keccak256([COUNT, &number.to_be_bytes()].concat())
}

impl ProofRequest {
    /// Reads a request from a state as seen in EVM block `block`; `None` when there is none with this id.
    pub fn read(state: &State, id: &B256, block: u64) -> Option<Self> {
        let read = |slot| Ok::<_, Infallible>(state.storage(&system::INFERENCE, slot));
        let Ok(request) = Self::read_with(id, block, read);
        request
    }

    /// Reads a request through any reader of slots of the account INFERENCE.
    pub(crate) fn read_with<E>(
        id: &B256,
        block: u64,
        mut value: impl FnMut(U256) -> Result<U256, E>,
    ) -> Result<Option<Self>, E> {
        let code: u64 = value(slot(id, Field::Status))?.saturating_to();
        if code == 0 {
            return Ok(None);
        }
        let expires = value(slot(id, Field::Expires))?.saturating_to();
        let status = match code {
            SETTLED => RequestStatus::Ok(read_output(id, &mut value)?),
            OPEN if block < expires => RequestStatus::Pending,
            _ => RequestStatus::Expired,
        };
        let payee = value(slot(id, Field::Payee))?;
        Ok(Some(Self {
            status,
            requester: Address::from_word(value(slot(id, Field::Requester))?.into()),
            fee: value(slot(id, Field::Fee))?,
            model_id: value(slot(id, Field::ModelId))?.into(),
            input_hash: value(slot(id, Field::InputHash))?.into(),
            expires,
            payee: (code == SETTLED).then(|| Address::from_word(payee.into())),
        }))
    }
}

fn read_output<E>(id: &B256, value: &mut impl FnMut(U256) -> Result<U256, E>) -> Result<Vec<u8>, E> {
    let len: u64 = value(slot(id, Field::OutputBytes))?.saturating_to();
    let mut output = Vec::new();
    for index in 0..len.min(OUTPUT_BYTES_MAX).div_ceil(32) {
        output.extend(value(item_slot(slot(id, Field::Output), index))?.to_be_bytes::<32>());
    }
    output.truncate(len as usize);
    Ok(output)
}

/// Opens a request on behalf of the call's caller and moves the call's value into escrow. The caller has charged for
/// [`OPEN_SLOTS`].
pub(crate) fn open(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    input_hash: &B256,
    expiry_blocks: u64,
) -> Result<B256, Halt> {
    if call.value.is_zero() {
        return Err(Halt::Revert("a proof request needs a fee: send value for the prover".into()));
    }
    if expiry_blocks == 0 || expiry_blocks > EXPIRY_BLOCKS_MAX {
        return Err(Halt::Revert(format!("expiry is {expiry_blocks} blocks, allowed are 1 to {EXPIRY_BLOCKS_MAX}")));
    }
    call.escrow(system::INFERENCE)?;
    let count: u64 = call.slot(system::INFERENCE, hash_slot(COUNT))?.saturating_to();
    let id = request_id(count);
    let block: u64 = call.ctx.block.number.saturating_to();
    let expires = block.saturating_add(expiry_blocks);
    let queue = queue_slot(expires);
    let queued: u64 = call.slot(system::INFERENCE, queue)?.saturating_to();
    let writes = [
        (slot(&id, Field::Status), U256::from(OPEN)),
        (slot(&id, Field::Requester), call.caller.into_word().into()),
        (slot(&id, Field::Fee), call.value),
        (slot(&id, Field::ModelId), (*model_id).into()),
        (slot(&id, Field::InputHash), (*input_hash).into()),
        (slot(&id, Field::Expires), U256::from(expires)),
        (hash_slot(COUNT), U256::from(count + 1)),
        (queue, U256::from(queued + 1)),
        (item_slot(queue, queued), id.into()),
    ];
    for (slot, value) in writes {
        call.store(system::INFERENCE, slot, value)?;
    }
    Ok(id)
}

/// Settles a pending request: keeps the output and pays the fee out of escrow. The caller has verified the proof and
/// charged for [`settle_slots`].
pub(crate) fn settle(
    call: &mut AiCall<'_, '_>,
    id: &B256,
    request: &ProofRequest,
    payee: Address,
    output: &[u8],
) -> Result<(), Halt> {
    call.store(system::INFERENCE, slot(id, Field::Status), U256::from(SETTLED))?;
    call.store(system::INFERENCE, slot(id, Field::Payee), payee.into_word().into())?;
    call.store(system::INFERENCE, slot(id, Field::OutputBytes), U256::from(output.len()))?;
    for (index, chunk) in output.chunks(32).enumerate() {
        let mut word = [0; 32];
        word[..chunk.len()].copy_from_slice(chunk);
        let slot = item_slot(slot(id, Field::Output), index as u64);
        call.store(system::INFERENCE, slot, U256::from_be_bytes(word))?;
    }
    call.pay_out(system::INFERENCE, payee, request.fee)
}

/// System operation at the start of a block: gives the fees of expired requests back, oldest first, at most
/// [`EXPIRIES_PER_BLOCK_MAX`] steps; what remains comes first in the next block.
pub(crate) fn expire(overlay: &mut Overlay<'_>, block: u64) {
    let account = system::INFERENCE;
    let backlog: U256 = overlay.slot(account, hash_slot(BACKLOG));
    let (mut bucket, mut index) = match backlog.is_zero() {
        true => (block, 0),
        false => ((backlog >> 64usize).saturating_to::<u64>(), backlog.as_limbs()[0]),
    };
    let mut steps = EXPIRIES_PER_BLOCK_MAX;
    while bucket <= block && steps > 0 {
        let queue = queue_slot(bucket);
        let len: u64 = overlay.slot(account, queue).saturating_to();
        while index < len && steps > 0 {
            let id = B256::from(overlay.slot(account, item_slot(queue, index)));
            overlay.write_slot(account, item_slot(queue, index), U256::ZERO);
            refund(overlay, &id);
            index += 1;
            steps -= 1;
        }
        if index < len {
            break;
        }
        if len > 0 {
            overlay.write_slot(account, queue, U256::ZERO);
        }
        (bucket, index) = (bucket + 1, 0);
        steps = steps.saturating_sub(1);
    }
    let rest = if bucket > block { U256::ZERO } else { U256::from(bucket) << 64usize | U256::from(index) };
    if rest != backlog {
        overlay.write_slot(account, hash_slot(BACKLOG), rest);
    }
}

fn refund(overlay: &mut Overlay<'_>, id: &B256) {
    let account = system::INFERENCE;
    if overlay.slot(account, slot(id, Field::Status)) != U256::from(OPEN) {
        return;
    }
    let requester = Address::from_word(overlay.slot(account, slot(id, Field::Requester)).into());
    let fee = overlay.slot(account, slot(id, Field::Fee));
    overlay.transfer(account, requester, fee);
    overlay.write_slot(account, slot(id, Field::Status), U256::from(REFUNDED));
}
