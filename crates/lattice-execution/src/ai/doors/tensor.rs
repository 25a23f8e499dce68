//! TENSOR_OP: arithmetic on small tensors that lie in memory.

use super::refuse_value;
use crate::{
    ai::{
        call::{AiCall, Halt},
        gas,
    },
    error::ExecutionError,
};
use alloy_primitives::Bytes;
use lattice_inference::tensor_op::TensorOp;

/// TENSOR_OP: header and raw operands in, the raw result out. Pure.
///
/// The price follows from the header alone and is charged before any element is read.
pub(super) fn compute(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    refuse_value(call)?;
    let input = call.input.clone();
    let op = TensorOp::decode(&input).map_err(|error| Halt::Revert(format!("malformed TENSOR_OP: {error}")))?;
    call.charge_ai(gas::tensor_op(&op.work()))?;
    let output = op.run().map_err(|fault| Halt::Stop(ExecutionError::Fault(fault.to_string())))?;
    Ok(output.into())
}
