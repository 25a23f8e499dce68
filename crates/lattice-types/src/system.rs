//! Addresses that the protocol gives a meaning, and the AI transaction types.

use alloy_primitives::{Address, address};

/// In an access list this address declares AI gas: one storage key, the bound as a number. It is the first address of
/// the AI precompiles, so the entry warms nothing that was cold.
pub const AI_GAS: Address = address!("0x000000000000000000000000000000000000a1f0");

/// Precompile TENSOR_OP (opcode 0xf0 in AI containers).
pub const TENSOR_OP: Address = address!("0x000000000000000000000000000000000000a1f0");
/// Precompile MODEL_LOAD (opcode 0xf1 in AI containers).
pub const MODEL_LOAD: Address = address!("0x000000000000000000000000000000000000a1f1");
/// Precompile MODEL_EXEC (opcode 0xf2 in AI containers).
pub const MODEL_EXEC: Address = address!("0x000000000000000000000000000000000000a1f2");
/// Precompile ZK_PROVE (opcode 0xf3 in AI containers).
pub const ZK_PROVE: Address = address!("0x000000000000000000000000000000000000a1f3");
/// Precompile ZK_VERIFY (opcode 0xf4 in AI containers).
pub const ZK_VERIFY: Address = address!("0x000000000000000000000000000000000000a1f4");

/// System account of the models: registry and versions; its storage root is `model_root`. Also the precompile door
/// of ModelDeploy.
pub const MODELS: Address = address!("0x00000000000000000000000000000000000a1000");
/// System account of training jobs and checkpoints; its storage root is `training_root`.
pub const TRAINING: Address = address!("0x00000000000000000000000000000000000a2000");
/// System account of inference results; its storage root is `inference_root`. Also the precompile door of Inference.
pub const INFERENCE: Address = address!("0x00000000000000000000000000000000000a3000");

/// Every address that an AI operation is reached at.
pub const DOORS: [Address; 8] = [TENSOR_OP, MODEL_LOAD, MODEL_EXEC, ZK_PROVE, ZK_VERIFY, MODELS, TRAINING, INFERENCE];

/// System account of the validators: its storage is their registry, its balance exactly what they have staked. Ordinary
/// transactions and contracts reach it with Solidity's ABI.
pub const STAKING: Address = address!("0x0000000000000000000000000000000000057a4e");

/// Beneficiary of every EVM block. Nobody holds its key: what lands here is burned, and producers are paid their tips
/// by withdrawals instead, because one EVM block carries the transactions of many producers.
pub const FEE_VAULT: Address = address!("0x000000000000000000000000000000000000fee0");

/// EIP-2718 type of ModelDeploy.
pub const TX_MODEL_DEPLOY: u8 = 0x50;
/// EIP-2718 type of ModelUpdate.
pub const TX_MODEL_UPDATE: u8 = 0x51;
/// EIP-2718 type of Inference.
pub const TX_INFERENCE: u8 = 0x52;
/// EIP-2718 type of Training.
pub const TX_TRAINING: u8 = 0x53;
/// EIP-2718 type of LoRA.
pub const TX_LORA: u8 = 0x54;

/// The system account that serves an AI transaction type; `None` for every other type.
pub const fn account_of(tx_type: u8) -> Option<Address> {
    match tx_type {
        TX_MODEL_DEPLOY | TX_MODEL_UPDATE | TX_LORA => Some(MODELS),
        TX_TRAINING => Some(TRAINING),
        TX_INFERENCE => Some(INFERENCE),
        _ => None,
    }
}
