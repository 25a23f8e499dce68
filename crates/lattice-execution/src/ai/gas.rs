//! Prices of the AI operations, all of them.
//!
//! One unit of gas stands for about 1/240 us of one core (60 M gas in a quarter of a second). The price of a model's
//! run is not here: it is static, counted from the graph and stored in the model's record. Storage and logs cost what
//! the EVM's SSTORE (EIP-2929, EIP-2200) and LOG cost, at the worst case, so that an operation costs the same every time.

use super::{
    proofs::{ProofRef, ProofShape},
    records::models::ModelTerms,
    requests,
};
use lattice_inference::tensor_op::TensorWork;
use lattice_training::train::StepCost;

/// Every entry into an AI door, also one that fails: reads up to five cold slots of a model's record and its
/// line (2,100 each).
pub(crate) const BASE: u64 = 10_500;

/// Bringing a model into memory, charged at the first touch in an EVM block, cached or not: finding and opening its
/// chunks.
const LOAD: u64 = 5_000;

/// Likewise for each 1,024 bytes of the artifact begun: reading and hashing them (SHA-256), decoding, packing. A full lane
/// of loads is what this bounds (`lattice bench gas`).
const LOAD_PER_KIB: u64 = 160;

/// Multiply-accumulates that one gas pays in a merge: ranks are small, so these are slower than a model's.
const MERGE_MACS_PER_GAS: u64 = 32;

/// Moving one byte of input or output between the EVM and the engine: copying, and conversion from little endian.
pub const RUN_GAS_PER_BYTE: u64 = 1;

/// Multiply-accumulates that one gas pays in TENSOR_OP: operands are packed for each call, so fewer than in a model.
const TENSOR_MACS_PER_GAS: u64 = 16;

/// Element steps that one gas pays in TENSOR_OP.
const TENSOR_STEPS_PER_GAS: u64 = 4;

/// Writing a slot that was empty, cold.
const STORE: u64 = 22_100;

/// Writing a slot that holds something else, cold.
const RESET: u64 = 5_000;

/// Clearing a slot, cold: the read that finds it; the write is what EIP-3529 refunds.
const CLEAR: u64 = 2_100;

/// Slots that a registration fills: head, terms, artifact, line, chain hash, name, ring, registrations' ring, list and
/// its length, the owner's account, and the latest active version that activation writes.
const REGISTER_SLOTS: u64 = 12;

/// Slots that an update fills: head, terms, artifact, line id, ring, registrations' ring.
const UPDATE_SLOTS: u64 = 6;

/// Slots that an update writes over: line, chain hash, counts.
const UPDATE_RESETS: u64 = 3;

/// Slots that activation writes over: head, line, latest active version.
const ACTIVATION_RESETS: u64 = 3;

/// Slots of a version that its pruning clears or writes over: head, terms, artifact, line id.
const PRUNED_SLOTS: u64 = 4;

/// Replacing an abandoned registration: reading and clearing its line (owner, hash, name, price, offer, ring), its
/// commitments and lineage, and the old owner's account.
pub(crate) const REPLACE: u64 = 15 * RESET;

/// Paying a model's price: reading it, two accounts' words of which the caller's is not empty, the owner's not either.
pub(crate) const PRICE: u64 = 2_100 + 2 * RESET;

/// LOG: base, each topic, each byte.
const LOG: u64 = 375;
const LOG_TOPIC: u64 = 375;
const LOG_BYTE: u64 = 8;

/// keccak256 of an input: base and each word.
const KECCAK: u64 = 30;
const KECCAK_WORD: u64 = 6;

/// Hashing a registration's payload, at its longest, into the version chain.
const PAYLOAD_HASH: u64 = 200;

/// Paying value out: a cold account that may not exist yet (EIP-2929, EIP-161).
pub(crate) const PAY_OUT: u64 = 2_600 + 9_000 + 25_000;

/// Burning value: the fee vault exists and may be cold (EIP-2929).
pub(crate) const BURN: u64 = 2_600 + 9_000;

/// An operation that fills slots, writes others over, and emits one log.
pub(crate) const fn operation(filled: u64, written_over: u64, topics: u64, data_bytes: u64) -> u64 {
    (STORE * filled + RESET * written_over).saturating_add(log(topics, data_bytes))
}

/// Cold reads beyond the five of the entry.
pub(crate) const fn reads(slots: u64) -> u64 {
    2_100 * slots
}

/// An adapter or a composition: its slots, the hash of its payload, its log.
pub(crate) const fn adapter(slots: u64, data_len: usize, name_len: usize) -> u64 {
    let data = abi_bytes(data_len as u64).saturating_add(abi_bytes(name_len as u64));
    operation(slots, 0, 4, data).saturating_add(2 * PAYLOAD_HASH)
}

/// What an adapter pays beyond that: its place among the registrations, their count, its activation.
pub(crate) const fn adapter_listing() -> u64 {
    STORE + 2 * RESET
}

/// Hashing bytes.
pub(crate) const fn hash(bytes: u64) -> u64 {
    KECCAK.saturating_add(bytes.div_ceil(32).saturating_mul(KECCAK_WORD))
}

/// A log with that many topics and bytes of data.
const fn log(topics: u64, data_bytes: u64) -> u64 {
    LOG.saturating_add(LOG_TOPIC * topics).saturating_add(data_bytes.saturating_mul(LOG_BYTE))
}

/// Bytes of one dynamic `bytes` value in an ABI encoding: offset, length, padded content.
pub(crate) const fn abi_bytes(len: u64) -> u64 {
    len.div_ceil(32).saturating_mul(32).saturating_add(64)
}

/// Loading a model at its first touch in a block.
pub const fn load(artifact_bytes: u64) -> u64 {
    artifact_bytes.div_ceil(1024).saturating_mul(LOAD_PER_KIB).saturating_add(LOAD)
}

/// Merging adapters of that rank together into a base, at most: every weight is four bytes of its artifact, takes one
/// multiply-accumulate a rank, and is read and written once.
const fn merge(rank: u64, artifact_bytes: u64) -> u64 {
    let macs = rank.saturating_mul(artifact_bytes / 4);
    (macs / MERGE_MACS_PER_GAS).saturating_add(load(artifact_bytes))
}

/// AI work of loading adapters, given by bytes and rank, and merging them into a base of that many bytes.
pub fn adapter_work(adapters: &[(u64, u64)], base_bytes: u64) -> u64 {
    let loads = adapters.iter().fold(0u64, |sum, (bytes, _)| sum.saturating_add(load(*bytes)));
    let rank = adapters.iter().fold(0u64, |sum, (_, rank)| sum.saturating_add(*rank));
    loads.saturating_add(merge(rank, base_bytes))
}

/// One run of a loaded model: the graph's static cost and the bytes moved.
pub const fn model_run_gas(model: &ModelTerms) -> u64 {
    let bytes = model.input_bytes.saturating_add(model.output_bytes);
    model.gas.saturating_add(bytes.saturating_mul(RUN_GAS_PER_BYTE))
}

/// TENSOR_OP: multiply-accumulates, element steps, bytes moved.
pub(crate) const fn tensor_op(work: &TensorWork) -> u64 {
    (work.macs / TENSOR_MACS_PER_GAS)
        .saturating_add(work.steps / TENSOR_STEPS_PER_GAS)
        .saturating_add(work.bytes.saturating_mul(RUN_GAS_PER_BYTE))
}

/// Gas of a byte of a training state: read, hashed, written and hashed again.
const STATE_BYTE: u64 = 4;

/// Judging one step of a training on a base of that many bytes: the step, as products whose operands are packed for each
/// call; or the result, which is the base with other weights at most.
pub(crate) const fn training_step(cost: &StepCost, base_bytes: u64) -> u64 {
    (cost.macs / TENSOR_MACS_PER_GAS)
        .saturating_add(cost.steps / TENSOR_STEPS_PER_GAS)
        .saturating_add(cost.state_bytes.saturating_mul(STATE_BYTE))
        .saturating_add(load(base_bytes))
}

/// Checking openings: each word is a node of a Merkle path at most, which is a hash of three words.
pub(crate) const fn opening(bytes: u64) -> u64 {
    (bytes.div_ceil(32)).saturating_mul(KECCAK + 3 * KECCAK_WORD).saturating_add(KECCAK)
}

/// The Merkle root over hashes: a leaf and a node each.
pub(crate) const fn merkle_root(hashes: u64) -> u64 {
    hashes.saturating_mul(2 * (KECCAK + 3 * KECCAK_WORD))
}

/// Opening a proof request: its slots, the two that the refund changes, its log.
pub(crate) const fn open_request() -> u64 {
    (STORE * (requests::OPEN_SLOTS + 2)).saturating_add(log(4, 96))
}

/// Reading a proof request: its record and the longest output, cold.
pub(crate) const fn read_request() -> u64 {
    2_100 * (8 + requests::OUTPUT_BYTES_MAX / 32)
}

/// Settling a proof request: its slots, its log, the payment (a value transfer to a new account).
pub(crate) const fn settle_request(output_bytes: u64) -> u64 {
    STORE
        .saturating_mul(requests::settle_slots(output_bytes))
        .saturating_add(log(3, abi_bytes(output_bytes)))
        .saturating_add(34_000)
}

/// Base price of a verification.
const VERIFY: u64 = 100_000;
/// Opening one column in one query.
const VERIFY_QUERY_COLUMN: u64 = 24;
/// One level of one Merkle path in one query.
const VERIFY_QUERY_LEVEL: u64 = 240;
/// One byte of a proof: decoding and hashing.
const VERIFY_BYTE: u64 = 2;

/// Verifying a proof: what its shape and stated length cost on a core, doubled; the same for accept and reject.
pub(crate) const fn verify(shape: &ProofShape, proof: &ProofRef) -> u64 {
    let columns = shape.queries.saturating_mul(shape.columns).saturating_mul(VERIFY_QUERY_COLUMN);
    let levels = shape.queries.saturating_mul(shape.log_heights).saturating_mul(VERIFY_QUERY_LEVEL);
    let bytes = proof.bytes.saturating_mul(VERIFY_BYTE);
    VERIFY.saturating_add(columns).saturating_add(levels).saturating_add(bytes).saturating_mul(2)
}

/// What each optional slot of a version costs: filling it, and clearing it in the end.
const fn optional(slots: u64) -> u64 {
    slots * (STORE + CLEAR)
}

/// Registering a model: its slots, activation and pruning, its log, and the hash of the payload.
pub(crate) const fn register(commitments: u64, artifact_len: usize, name_len: usize) -> u64 {
    let data = abi_bytes(artifact_len as u64).saturating_add(abi_bytes(name_len as u64));
    let slots = STORE * REGISTER_SLOTS + RESET * ACTIVATION_RESETS + CLEAR * PRUNED_SLOTS + optional(commitments);
    slots.saturating_add(PAYLOAD_HASH).saturating_add(log(3, data))
}

/// Appending a version, likewise. A name costs its slot.
pub(crate) const fn update(commitments: u64, lineage: bool, delta_len: usize, name_len: usize) -> u64 {
    let data = abi_bytes(36) + abi_bytes(delta_len as u64) + abi_bytes(name_len as u64);
    let slots = STORE * UPDATE_SLOTS
        + RESET * (UPDATE_RESETS + ACTIVATION_RESETS)
        + CLEAR * PRUNED_SLOTS
        + optional(commitments + if lineage { 2 } else { 0 });
    let name = if name_len > 0 { STORE } else { 0 };
    slots.saturating_add(name + PAYLOAD_HASH).saturating_add(log(4, data))
}

/// Recording an inference: the hash of the input, one slot, the model's metrics, one log with the output.
pub(crate) const fn record(model: &ModelTerms) -> u64 {
    hash(model.input_bytes).saturating_add(STORE + RESET).saturating_add(log(4, abi_bytes(model.output_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_saturate_instead_of_wrapping() {
        let model =
            ModelTerms { gas: u64::MAX, input_bytes: u64::MAX, output_bytes: u64::MAX, ..ModelTerms::default() };
        assert_eq!(model_run_gas(&model), u64::MAX);
        assert_eq!(record(&model), u64::MAX);
        assert_eq!(load(u64::MAX), (u64::MAX / 1024 + 1) * 160 + 5_000);
    }

    #[test]
    fn a_lane_full_of_any_kind_of_work_fits_a_slot() {
        let spec = lattice_types::ChainSpec::network(Vec::new());
        // The slowest that is allowed for a unit of each kind, in picoseconds of one core: above what was measured, or, of
        // loading, estimated from the rates of its parts (`docs/spec/gas.md`).
        let million = 1_000_000;
        let tensor = |macs, steps, bytes| tensor_op(&TensorWork { macs, steps, bytes });
        let worst: [(&str, u64, u64); 6] = [
            ("integer multiply-accumulate", tensor(million, 0, 0), 300),
            ("f32 multiply-accumulate", tensor(0, 4 * million, 0), 3_500),
            ("step", tensor(0, million, 0), 1_500),
            ("byte", tensor(0, 0, million), 1_500),
            ("loading of 1,024 bytes", load(1024 * million) - load(0), 1_300_000),
            ("loading of a small artifact", million * load(1), 40_000_000),
        ];
        for (kind, gas_of_a_million, ps) in worst {
            let units = u128::from(spec.ai_gas_limit) * u128::from(million) / u128::from(gas_of_a_million);
            let ms = units * u128::from(ps) / 1_000_000_000;
            assert!(ms <= u128::from(spec.slot_ms), "a lane of {kind} takes {ms} ms");
        }
    }

    #[test]
    fn prices_of_the_specification() {
        assert_eq!([load(0), load(1), load(1024), load(1025)], [5_000, 5_160, 5_160, 5_320]);
        // 12 slots filled, 3 and 4 by activation and pruning, a log of three topics and of 36 and 8 bytes.
        let register_slots = 12 * 22_100 + 3 * 5_000 + 4 * 2_100;
        assert_eq!(register(0, 36, 8), register_slots + 200 + 4 * 375 + 8 * (128 + 96));
        assert_eq!(register(2, 36, 8) - register(0, 36, 8), 2 * 24_200);
        let update_slots = 6 * 22_100 + 6 * 5_000 + 4 * 2_100;
        assert_eq!(update(0, false, 0, 0), update_slots + 200 + 5 * 375 + 8 * (128 + 64 + 64));
        assert_eq!(update(1, true, 36, 4) - update(0, false, 0, 0), 3 * 24_200 + 22_100 + 8 * (64 + 32));
        let model = ModelTerms { gas: 1_000, input_bytes: 33, output_bytes: 7, ..ModelTerms::default() };
        assert_eq!(model_run_gas(&model), 1_040);
        assert_eq!(record(&model), 30 + 2 * 6 + 22_100 + 5_000 + 5 * 375 + 8 * 96);
    }
}
