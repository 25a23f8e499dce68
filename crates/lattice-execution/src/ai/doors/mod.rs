//! The doors: what each precompile address does with its input.
//!
//! AI transactions enter as calls of a system account's door, so a plain transaction or a contract that calls the same
//! address with the same bytes does the same for the same gas. Input of these doors is `op byte ++ RLP(payload)`.

mod adapters;
mod bonded;
mod credits;
mod disputes;
mod inference;
mod lines;
mod models;
mod proofs;
mod run;
mod tensor;
mod training;

use super::{
    call::{Access, AiCall, Halt},
    gas,
};
use crate::staking;
use alloy_primitives::{Address, Bytes};
use alloy_rlp::Decodable;
use lattice_types::{
    system,
    tx::{AiKind, TxAi},
};

pub(crate) use models::new_artifacts;

/// A precompile of Lattice: those of the AI rules, and the account of the validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Tensor,
    Load,
    Exec,
    Prove,
    Verify,
    Models,
    Training,
    Inference,
    Staking,
}

impl Door {
    pub(crate) const ALL: [(Address, Self); 9] = [
        (system::TENSOR_OP, Self::Tensor),
        (system::MODEL_LOAD, Self::Load),
        (system::MODEL_EXEC, Self::Exec),
        (system::ZK_PROVE, Self::Prove),
        (system::ZK_VERIFY, Self::Verify),
        (system::MODELS, Self::Models),
        (system::TRAINING, Self::Training),
        (system::INFERENCE, Self::Inference),
        (system::STAKING, Self::Staking),
    ];

    pub(crate) fn at(address: &Address) -> Option<Self> {
        Self::ALL.iter().find(|(door, _)| door == address).map(|(_, door)| *door)
    }

    /// Runs the call; the output on success.
    pub(crate) fn enter(self, call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
        call.charge(gas::BASE)?;
        match self {
            Self::Tensor => tensor::compute(call),
            Self::Load => run::load(call),
            Self::Exec => run::exec(call),
            Self::Prove => proofs::prove(call),
            Self::Verify => proofs::verify(call),
            Self::Models => models::enter(call),
            Self::Training => training::enter(call),
            Self::Inference => inference::enter(call),
            Self::Staking => staking::enter(call),
        }
    }
}

/// Operations that take no value refuse it: at a door's account it would be lost.
pub(crate) fn refuse_value(call: &AiCall<'_, '_>) -> Result<(), Halt> {
    match call.value.is_zero() {
        true => Ok(()),
        false => Err(Halt::Revert("this operation takes no value: send 0".into())),
    }
}

fn unknown_operation(door: &str, op: u8) -> Halt {
    Halt::Revert(format!("{door} knows no operation 0x{op:02x}: see docs/spec/ai-precompiles.md"))
}

/// Operations that write refuse static calls, and calls that would write in somebody else's name.
pub(crate) fn require_plain_call(call: &AiCall<'_, '_>, operation: &str) -> Result<(), Halt> {
    match call.access {
        Access::Write => Ok(()),
        Access::Static => Err(Halt::Revert(format!("{operation} writes state: call it without STATICCALL"))),
        Access::Borrowed => {
            Err(Halt::Revert(format!("{operation} must be called with CALL, not DELEGATECALL or CALLCODE")))
        }
    }
}

/// Decodes a payload with the rules of its form, exactly as an AI transaction's is.
fn decode<K: AiKind>(input: &Bytes, operation: &str) -> Result<K::Payload, Halt> {
    let tx = TxAi::<K> { payload: input.clone(), ..TxAi::default() };
    tx.payload().map_err(|reason| Halt::Revert(format!("malformed {operation} payload: {reason}")))
}

/// Decodes the payload of an operation that has no transaction type; `input` begins behind the op byte.
fn decode_operation<T: Decodable>(mut input: &[u8], operation: &str) -> Result<T, Halt> {
    let malformed = |reason: String| Halt::Revert(format!("malformed {operation} payload: {reason}"));
    let payload = T::decode(&mut input).map_err(|error| malformed(error.to_string()))?;
    match input.len() {
        0 => Ok(payload),
        rest => Err(malformed(format!("{rest} bytes follow the payload"))),
    }
}

/// What an AI transaction's call has as input: its payload, behind the type byte where the door needs it to know the
/// class. ModelDeploy and Inference are what a bare payload means.
pub(crate) fn call_input(tx_type: u8, payload: &Bytes) -> Bytes {
    match tx_type {
        system::TX_MODEL_UPDATE | system::TX_TRAINING | system::TX_LORA => [&[tx_type], &payload[..]].concat().into(),
        _ => payload.clone(),
    }
}
