//! The AI instruction table: what AI containers run with.
//!
//! It is the legacy table of the fork with three changes. 0xf0 to 0xf4 are the AI operations; what stood there (CREATE,
//! CALL, CALLCODE, RETURN, DELEGATECALL) stands at 0xb0 to 0xb4 with its gas; 0xEF at pc 0 skips the header.
//!
//! An AI instruction behaves like a CALL to the operation's precompile with all gas: operands on the stack, input and
//! output in memory, 1 or 0 pushed, RETURNDATA set, and the price of a call to a warm account before the operation's
//! own. Only running out of gas differs: it ends the frame, as it does for any instruction.
//! Specified in `docs/spec/ai-containers.md`.

use super::{
    abi,
    call::{Access, AiCall, Halt},
    doors::Door,
};
use crate::evm::LatticeContext;
use alloy_primitives::{B256, Bytes, U256};
use revm::{
    bytecode::opcode::{CALL, CALLCODE, CREATE, DELEGATECALL, OpCode, RETURN},
    context::ContextTr,
    context_interface::{JournalTr, context::ContextError},
    handler::instructions::EthInstructions,
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        instructions::contract::resize_memory,
        interpreter::EthInterpreter,
        interpreter_types::{InputsTr, Jumps, MemoryTr, ReturnData, RuntimeFlag},
    },
};
use std::ops::Range;

/// Byte of TENSOR_OP in AI containers.
pub const TENSOR_OP: u8 = 0xf0;
/// Byte of MODEL_LOAD in AI containers.
pub const MODEL_LOAD: u8 = 0xf1;
/// Byte of MODEL_EXEC in AI containers.
pub const MODEL_EXEC: u8 = 0xf2;
/// Byte of ZK_PROVE in AI containers.
pub const ZK_PROVE: u8 = 0xf3;
/// Byte of ZK_VERIFY in AI containers.
pub const ZK_VERIFY: u8 = 0xf4;

/// The displaced instructions: byte in containers, byte elsewhere.
pub const DISPLACED: [(u8, u8); 5] =
    [(0xb0, CREATE), (0xb1, CALL), (0xb2, CALLCODE), (0xb3, RETURN), (0xb4, DELEGATECALL)];

/// Header of a container, legal at pc 0 only.
const HEADER: u8 = 0xef;

/// A CALL to a warm account (EIP-2929): what reaching a precompile costs too.
const WARM_CALL: u16 = 100;

/// CALL's price of moving value, less the stipend of 2,300 that it hands to the callee, which these operations use up.
const VALUE_TRANSFER: u64 = 9_000 - 2_300;

type Instructions<'a> = EthInstructions<EthInterpreter, LatticeContext<'a>>;
type Step<'c, 'a> = InstructionContext<'c, LatticeContext<'a>, EthInterpreter>;

/// The table of AI containers, from the legacy table of the fork.
pub(crate) fn ai_instructions<'a>(legacy: &Instructions<'a>) -> Instructions<'a> {
    let mut table = legacy.clone();
    for (byte, displaced) in DISPLACED {
        let row = usize::from(displaced);
        table.insert_instruction(byte, legacy.instruction_table()[row], legacy.gas_table()[row]);
    }
    table.insert_instruction(HEADER, Instruction::new(header), 0);
    table.insert_instruction(TENSOR_OP, Instruction::new(tensor_op), WARM_CALL);
    table.insert_instruction(MODEL_LOAD, Instruction::new(model_load), WARM_CALL);
    table.insert_instruction(MODEL_EXEC, Instruction::new(model_exec), WARM_CALL);
    table.insert_instruction(ZK_PROVE, Instruction::new(zk_prove), WARM_CALL);
    table.insert_instruction(ZK_VERIFY, Instruction::new(zk_verify), WARM_CALL);
    table
}

/// The mnemonic of a byte in legacy code or in a container; `None` where no instruction is.
pub fn instruction_name(byte: u8, in_container: bool) -> Option<&'static str> {
    if in_container {
        match byte {
            HEADER => return Some("HEADER"),
            TENSOR_OP => return Some("TENSOR_OP"),
            MODEL_LOAD => return Some("MODEL_LOAD"),
            MODEL_EXEC => return Some("MODEL_EXEC"),
            ZK_PROVE => return Some("ZK_PROVE"),
            ZK_VERIFY => return Some("ZK_VERIFY"),
            _ => {}
        }
        if let Some((_, legacy)) = DISPLACED.iter().find(|(own, _)| *own == byte) {
            return OpCode::new(*legacy).map(|op| op.as_str());
        }
    }
    OpCode::new(byte).map(|op| op.as_str())
}

/// The header: three bytes that do nothing where code begins, and no instruction anywhere else.
fn header(step: Step<'_, '_>) -> InstructionExecResult {
    let code = &mut step.interpreter.bytecode;
    // The counter stands behind this byte already.
    if code.pc() != 1 {
        return Err(InstructionResult::OpcodeNotFound);
    }
    code.relative_jump(2);
    Ok(())
}

/// `[in_offset, in_len, out_offset, out_len] -> [success]`
fn tensor_op(mut step: Step<'_, '_>) -> InstructionExecResult {
    let ranges = pop(&mut step)?;
    enter(step, Door::Tensor, U256::ZERO, &[], ranges)
}

/// `[model_id, out_offset, out_len] -> [success]`
fn model_load(mut step: Step<'_, '_>) -> InstructionExecResult {
    let [id, out_offset, out_len] = pop(&mut step)?;
    enter(step, Door::Load, U256::ZERO, B256::from(id).as_slice(), [U256::ZERO, U256::ZERO, out_offset, out_len])
}

/// `[model_id, in_offset, in_len, out_offset, out_len] -> [success]`
fn model_exec(mut step: Step<'_, '_>) -> InstructionExecResult {
    let [id, in_offset, in_len, out_offset, out_len] = pop(&mut step)?;
    enter(step, Door::Exec, U256::ZERO, B256::from(id).as_slice(), [in_offset, in_len, out_offset, out_len])
}

/// `[value, in_offset, in_len, out_offset, out_len] -> [success]`
fn zk_prove(mut step: Step<'_, '_>) -> InstructionExecResult {
    let [value, in_offset, in_len, out_offset, out_len] = pop(&mut step)?;
    if !value.is_zero() {
        if step.interpreter.runtime_flag.is_static() {
            return Err(InstructionResult::CallNotAllowedInsideStatic);
        }
        if !step.interpreter.gas.record_regular_cost(VALUE_TRANSFER) {
            return Err(InstructionResult::OutOfGas);
        }
    }
    enter(step, Door::Prove, value, &[], [in_offset, in_len, out_offset, out_len])
}

/// `[in_offset, in_len, out_offset, out_len] -> [success]`
fn zk_verify(mut step: Step<'_, '_>) -> InstructionExecResult {
    let ranges = pop(&mut step)?;
    enter(step, Door::Verify, U256::ZERO, &[], ranges)
}

fn pop<const N: usize>(step: &mut Step<'_, '_>) -> Result<[U256; N], InstructionResult> {
    step.interpreter.stack.popn().ok_or(InstructionResult::StackUnderflow)
}

/// Grows memory over a range and pays for it, as CALL does. An empty range touches nothing.
fn memory_range(step: &mut Step<'_, '_>, offset: U256, len: U256) -> Result<Range<usize>, InstructionResult> {
    let gas_params = &step.host.cfg.gas_params;
    resize_memory(step.interpreter, gas_params, offset, len)
}

/// Runs an operation for the contract whose frame this is.
fn enter(
    mut step: Step<'_, '_>,
    door: Door,
    value: U256,
    head: &[u8],
    [in_offset, in_len, out_offset, out_len]: [U256; 4],
) -> InstructionExecResult {
    let from = memory_range(&mut step, in_offset, in_len)?;
    let to = memory_range(&mut step, out_offset, out_len)?;
    let Step { interpreter, host } = step;
    let mut input = head.to_vec();
    if !from.is_empty() {
        input.extend_from_slice(&interpreter.memory.slice(from));
    }
    let caller = interpreter.input.target_address();
    let access = if interpreter.runtime_flag.is_static() { Access::Static } else { Access::Write };

    let checkpoint = host.journal_mut().checkpoint();
    let mut call = AiCall::from_instruction(host, caller, access, value, input.into(), interpreter.gas);
    let ended = door.enter(&mut call);
    interpreter.gas = call.gas;
    let (success, output) = match ended {
        Ok(output) => {
            host.journal_mut().checkpoint_commit();
            (true, output)
        }
        Err(halt) => {
            host.journal_mut().checkpoint_revert(checkpoint);
            match halt {
                Halt::Revert(reason) => (false, Bytes::from(abi::encode_error(&reason))),
                Halt::OutOfGas => return Err(InstructionResult::OutOfGas),
                Halt::Stop(error) => {
                    let text = host.chain.fail(error);
                    *host.error() = Err(ContextError::Custom(text));
                    return Err(InstructionResult::FatalExternalError);
                }
            }
        }
    };
    let copied = to.len().min(output.len());
    if copied > 0 {
        interpreter.memory.set(to.start, &output[..copied]);
    }
    interpreter.return_data.set_buffer(output);
    if interpreter.stack.push(U256::from(success)) { Ok(()) } else { Err(InstructionResult::StackOverflow) }
}
