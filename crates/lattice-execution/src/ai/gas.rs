//! Prices of the AI operations, all of them.
//!
//! One unit of gas stands for about 1/240 us of one core (60 M gas in a quarter of a second). The price of a model's
//! run is not here: it is static, counted from the graph and stored in the model's record. Storage and logs cost what
//! the EVM's SSTORE (EIP-2929, EIP-2200) and LOG cost, at the worst case, so that an operation costs the same every time.

use super::models::ModelTerms;

/// Every entry into an AI door, also one that fails: reads up to five cold slots of a model's record (2,100 each).
pub(crate) const BASE: u64 = 10_500;

/// Bringing a model into memory, for each 1,024 bytes of its artifact begun, charged at the first touch in an EVM
/// block, cached or not: about 3 GB/s from a page cache.
pub const LOAD_GAS_PER_KIB: u64 = 80;

/// Moving one byte of input or output between the EVM and the engine: copying, and conversion from little endian.
pub const RUN_GAS_PER_BYTE: u64 = 1;

/// Writing a slot that was empty, cold.
const STORE: u64 = 22_100;

/// Slots that a registration pays for: the ten fields it writes, the one that activation writes later, the list's length
/// and its new item.
const REGISTER_SLOTS: u64 = 13;

/// LOG: base, each topic, each byte.
const LOG: u64 = 375;
const LOG_TOPIC: u64 = 375;
const LOG_BYTE: u64 = 8;

/// keccak256 of an input: base and each word.
const KECCAK: u64 = 30;
const KECCAK_WORD: u64 = 6;

/// A log with that many topics and bytes of data.
const fn log(topics: u64, data_bytes: u64) -> u64 {
    LOG.saturating_add(LOG_TOPIC * topics).saturating_add(data_bytes.saturating_mul(LOG_BYTE))
}

/// Bytes of one dynamic `bytes` value in an ABI encoding: offset, length, padded content.
const fn abi_bytes(len: u64) -> u64 {
    len.div_ceil(32).saturating_mul(32).saturating_add(64)
}

/// Loading a model at its first touch in a block.
pub(crate) const fn load(artifact_bytes: u64) -> u64 {
    artifact_bytes.div_ceil(1024).saturating_mul(LOAD_GAS_PER_KIB)
}

/// One run of a loaded model: the graph's static cost and the bytes moved.
pub const fn model_run_gas(model: &ModelTerms) -> u64 {
    let bytes = model.input_bytes.saturating_add(model.output_bytes);
    model.gas.saturating_add(bytes.saturating_mul(RUN_GAS_PER_BYTE))
}

/// Registering a model: its slots and its log.
pub(crate) const fn register(artifact_len: usize, name_len: usize) -> u64 {
    let data = abi_bytes(artifact_len as u64).saturating_add(abi_bytes(name_len as u64));
    (STORE * REGISTER_SLOTS).saturating_add(log(3, data))
}

/// Recording an inference: the hash of the input, one slot, one log with the output.
pub(crate) const fn record(model: &ModelTerms) -> u64 {
    let hash = KECCAK.saturating_add(model.input_bytes.div_ceil(32).saturating_mul(KECCAK_WORD));
    hash.saturating_add(STORE).saturating_add(log(4, abi_bytes(model.output_bytes)))
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
        assert_eq!(load(u64::MAX), (u64::MAX / 1024 + 1) * LOAD_GAS_PER_KIB);
    }

    #[test]
    fn prices_of_the_specification() {
        // 13 slots, a log of three topics, two dynamic values of 36 and 8 bytes.
        assert_eq!(register(36, 8), 13 * 22_100 + 4 * 375 + 8 * (128 + 96));
        let model = ModelTerms { gas: 1_000, input_bytes: 33, output_bytes: 7, ..ModelTerms::default() };
        assert_eq!(model_run_gas(&model), 1_040);
        assert_eq!(record(&model), 30 + 2 * 6 + 22_100 + 5 * 375 + 8 * 96);
    }

    #[test]
    fn loading_is_charged_by_begun_kibibytes() {
        assert_eq!([load(0), load(1), load(1024), load(1025)], [0, 80, 80, 160]);
    }
}
