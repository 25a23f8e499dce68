//! ZK_PROVE and ZK_VERIFY: asking for a proof, reading what became of it, settling it.

use super::{refuse_value, require_plain_call};
use crate::{
    ai::{
        abi,
        call::{AiCall, Halt},
        engine, gas,
        proofs::{ProofError, ProofRef, ProofStatement},
        requests::{self, OUTPUT_BYTES_MAX, ProofRequest, RequestStatus},
    },
    error::ExecutionError,
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_types::system;

/// Signature of the log of a request.
const PROOF_REQUESTED: &[u8] = b"ProofRequested(bytes32,bytes32,address,bytes32,uint256,uint256)";
/// Signature of the log of a settlement.
const PROOF_SETTLED: &[u8] = b"ProofSettled(bytes32,address,bytes)";

/// Word `index` of an input that is long enough.
fn word(input: &[u8], index: usize) -> B256 {
    B256::from_slice(&input[index * 32..][..32])
}

/// ZK_PROVE: 32 bytes read a request's status, 96 bytes (model id, input hash, expiry in blocks) open one.
pub(super) fn prove(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.input.clone();
    match input.len() {
        32 => status(call, &word(&input, 0)),
        96 => {
            require_plain_call(call, "ZK_PROVE")?;
            let expiry = U256::from_be_bytes(word(&input, 2).0).saturating_to();
            let id = request(call, &word(&input, 0), &word(&input, 1), expiry)?;
            Ok(Bytes::copy_from_slice(id.as_slice()))
        }
        len => Err(Halt::Revert(format!(
            "the input has {len} bytes: send a request id (32) to read its status, or model id, input hash and expiry in blocks (96)"
        ))),
    }
}

/// Opens a request, logs it; its id.
pub(super) fn request(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    input_hash: &B256,
    expiry_blocks: u64,
) -> Result<B256, Halt> {
    let model = engine::active_model(call, model_id)?;
    if model.output_bytes > OUTPUT_BYTES_MAX {
        let len = model.output_bytes;
        return Err(Halt::Revert(format!("the model's output has {len} bytes, a request carries {OUTPUT_BYTES_MAX}")));
    }
    call.charge(gas::open_request())?;
    let id = requests::open(call, model_id, input_hash, expiry_blocks)?;
    let expires = call.ctx.block.number.saturating_add(U256::from(expiry_blocks));
    let topics = vec![keccak256(PROOF_REQUESTED), id, *model_id, call.caller.into_word()];
    let data = [input_hash.0, call.value.to_be_bytes(), expires.to_be_bytes()].concat();
    call.log(system::INFERENCE, topics, data);
    Ok(id)
}

fn read(call: &mut AiCall<'_, '_>, id: &B256) -> Result<ProofRequest, Halt> {
    let block: u64 = call.ctx.block.number.saturating_to();
    let request = ProofRequest::read_with(id, block, |slot| call.slot(system::INFERENCE, slot))?;
    request.ok_or_else(|| Halt::Revert(format!("there is no proof request {id}: open one with ZK_PROVE")))
}

/// The status (0 pending, 1 ok, 2 expired), the fee, the block of expiry, then the output of a settled request.
fn status(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Bytes, Halt> {
    call.charge(gas::read_request())?;
    refuse_value(call)?;
    let request = read(call, id)?;
    let (code, output) = match request.status {
        RequestStatus::Pending => (0, Vec::new()),
        RequestStatus::Ok(output) => (1, output),
        RequestStatus::Expired => (2, Vec::new()),
    };
    let words = [abi::word(code), request.fee.to_be_bytes(), abi::word(request.expires)];
    Ok([words.as_flattened(), &output].concat().into())
}

/// ZK_VERIFY: request id, payee, proof hash, proof length (four words) and the output settle a request.
///
/// The price follows from the registered shape and the stated length, and is paid before the proof is looked at.
pub(super) fn verify(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    require_plain_call(call, "ZK_VERIFY")?;
    refuse_value(call)?;
    let input = call.input.clone();
    let Some((head, output)) = input.split_at_checked(128) else {
        return Err(Halt::Revert(format!(
            "the input has {} bytes: send request id, payee, proof hash and proof length (128), then the output",
            input.len()
        )));
    };
    let id = word(head, 0);
    let payee = Address::from_word(word(head, 1));
    let proof = ProofRef { hash: word(head, 2), bytes: U256::from_be_bytes(word(head, 3).0).saturating_to() };
    call.charge(gas::read_request())?;
    let request = read(call, &id)?;
    if request.status != RequestStatus::Pending {
        return Err(Halt::Revert(format!("proof request {id} is settled or expired: there is nothing to prove")));
    }
    let proofs = call.ctx.chain.inference().proofs();
    let Some(shape) = proofs.shape(&request.model_id) else {
        return Err(Halt::Revert(format!(
            "proof verification is not enabled: model {} has no registered verification key",
            request.model_id
        )));
    };
    if proof.bytes > shape.bytes_max || output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(Halt::Revert(format!(
            "the proof or output is too long: proofs of this key have {} bytes",
            shape.bytes_max
        )));
    }
    call.charge_ai(gas::verify(&shape, &proof))?;
    call.charge(gas::settle_request(output.len() as u64))?;
    let statement = ProofStatement {
        chain_id: call.ctx.cfg.chain_id,
        request_id: id,
        model_id: request.model_id,
        input_hash: request.input_hash,
        output_hash: keccak256(output),
        requester: request.requester,
        payee,
    };
    match proofs.verify(&statement, &proof) {
        Ok(true) => {}
        Ok(false) => return Err(Halt::Revert(format!("the proof {} does not prove request {id}", proof.hash))),
        Err(ProofError::Missing(hash)) => return Err(Halt::Stop(ExecutionError::MissingProof(hash))),
        Err(ProofError::Fault(reason)) => return Err(Halt::Stop(ExecutionError::Fault(reason))),
    }
    requests::settle(call, &id, &request, payee, output)?;
    let topics = vec![keccak256(PROOF_SETTLED), id, payee.into_word()];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[output]));
    Ok(Bytes::copy_from_slice(id.as_slice()))
}
