//! The struct logger: what a transaction did, instruction by instruction, in the shape of geth's default tracer.
//!
//! Mnemonics follow the table of the code that runs: 0xf2 is CALLCODE in ordinary code and MODEL_EXEC in an AI
//! container. The logger only watches: execution with it gives the same result, state and gas as without.
//! What it keeps is bounded; past the bound it goes on without keeping, and says so.

use crate::{
    ai::{container, opcodes},
    evm::LatticeContext,
};
use alloy_primitives::{Address, Bytes, U256};
use revm::{
    Inspector,
    bytecode::opcode::{SLOAD, SSTORE},
    interpreter::{
        Interpreter, InterpreterAction,
        interpreter::EthInterpreter,
        interpreter_types::{InputsTr, Jumps, LegacyBytecode, LoopControl, MemoryTr, ReturnData},
    },
};
use std::collections::BTreeMap;

/// Bytes that one trace may keep.
pub const TRACE_BYTES_MAX: usize = 32 << 20;
/// What a step takes beside its stack, memory and storage, about.
const STEP_BYTES: usize = 160;

/// What a trace keeps, as geth's `traceConfig` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceOptions {
    /// Keep the stack of each step.
    pub stack: bool,
    /// Keep the memory of each step.
    pub memory: bool,
    /// Keep the slots that SLOAD and SSTORE touched so far, at these steps.
    pub storage: bool,
    /// Keep the return data of the last call.
    pub return_data: bool,
    /// Keep at most that many steps; 0 for no such bound.
    pub steps_max: usize,
}

impl Default for TraceOptions {
    /// geth's defaults: stack and storage.
    fn default() -> Self {
        Self { stack: true, memory: false, storage: true, return_data: false, steps_max: 0 }
    }
}

/// One executed instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStep {
    /// Offset in the code, header of a container included.
    pub pc: u64,
    /// The byte.
    pub op: u8,
    /// Whether the code is an AI container.
    pub in_container: bool,
    /// Gas of the frame before the instruction.
    pub gas: u64,
    /// Gas that it took, gas handed to a callee included.
    pub gas_cost: u64,
    /// Call depth; 1 is the transaction's own frame.
    pub depth: u64,
    /// Refund counter of the transaction (EIP-3529).
    pub refund: u64,
    /// Stack before the instruction, top last.
    pub stack: Option<Vec<U256>>,
    /// Memory before the instruction.
    pub memory: Option<Bytes>,
    /// Slots of this contract touched so far: at SLOAD and SSTORE.
    pub storage: Option<BTreeMap<U256, U256>>,
    /// Return data of the last call.
    pub return_data: Option<Bytes>,
    /// How the instruction ended its frame exceptionally.
    pub error: Option<String>,
}

impl TraceStep {
    /// The mnemonic by the table of the code; geth's words for a byte that is no instruction.
    pub fn name(&self) -> String {
        opcodes::instruction_name(self.op, self.in_container)
            .map_or_else(|| format!("opcode 0x{:x} not defined", self.op), Into::into)
    }

    fn bytes(&self) -> usize {
        STEP_BYTES
            + self.stack.as_ref().map_or(0, |stack| stack.len() * 32)
            + self.memory.as_ref().map_or(0, |bytes| bytes.len())
            + self.storage.as_ref().map_or(0, |slots| slots.len() * 64)
            + self.return_data.as_ref().map_or(0, |bytes| bytes.len())
    }
}

/// The steps of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order of execution.
    pub steps: Vec<TraceStep>,
    /// Whether steps are missing at the end because the trace would take more than [`TRACE_BYTES_MAX`].
    pub is_cut: bool,
}

/// Collects a [`Trace`].
#[derive(Debug, Clone, Default)]
pub struct StructLogger {
    options: TraceOptions,
    trace: Trace,
    bytes: usize,
    /// Whether the step in progress is kept.
    keeps_step: bool,
    storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// The slot that the SLOAD in progress reads.
    reads: Option<U256>,
    /// Refund counter of each open frame.
    refunds: Vec<i64>,
}

impl StructLogger {
    /// A logger that has seen nothing yet.
    pub fn new(options: TraceOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What it saw.
    pub fn into_trace(self) -> Trace {
        self.trace
    }

    fn storage_at(&mut self, interpreter: &Interpreter<EthInterpreter>, op: u8) -> Option<BTreeMap<U256, U256>> {
        if !self.options.storage || !matches!(op, SLOAD | SSTORE) {
            return None;
        }
        let touched = self.storage.entry(interpreter.input.target_address()).or_default();
        if let ([.., value, slot], SSTORE) = (interpreter.stack.data().as_slice(), op) {
            touched.insert(*slot, *value);
        }
        Some(touched.clone())
    }

    fn refund(&mut self, depth: usize, own: i64) -> u64 {
        self.refunds.resize(depth + 1, 0);
        self.refunds[depth] = own;
        u64::try_from(self.refunds.iter().sum::<i64>()).unwrap_or(0)
    }
}

impl<'a> Inspector<LatticeContext<'a>, EthInterpreter> for StructLogger {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut LatticeContext<'a>) {
        let bound = self.options.steps_max;
        self.keeps_step = !self.trace.is_cut && (bound == 0 || self.trace.steps.len() < bound);
        if !self.keeps_step {
            return;
        }
        let op = interpreter.bytecode.opcode();
        let depth = interpreter.input.depth();
        let options = self.options;
        let step = TraceStep {
            pc: interpreter.bytecode.pc() as u64,
            op,
            in_container: container::is_container(interpreter.bytecode.bytecode_slice()),
            gas: interpreter.gas.remaining(),
            gas_cost: 0,
            depth: depth as u64 + 1,
            refund: self.refund(depth, interpreter.gas.refunded()),
            stack: options.stack.then(|| interpreter.stack.data().to_vec()),
            memory: options
                .memory
                .then(|| Bytes::copy_from_slice(&interpreter.memory.slice(0..interpreter.memory.size()))),
            storage: self.storage_at(interpreter, op),
            return_data: options.return_data.then(|| interpreter.return_data.buffer().clone()),
            error: None,
        };
        self.reads = interpreter.stack.data().last().copied().filter(|_| op == SLOAD);
        self.bytes += step.bytes();
        if self.bytes > TRACE_BYTES_MAX {
            self.trace.is_cut = true;
            self.keeps_step = false;
            return;
        }
        self.trace.steps.push(step);
    }

    fn step_end(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut LatticeContext<'a>) {
        if !self.keeps_step {
            return;
        }
        let Some(step) = self.trace.steps.last_mut() else { return };
        step.gas_cost = step.gas.saturating_sub(interpreter.gas.remaining());
        if let Some(InterpreterAction::Return(result)) = interpreter.bytecode.action()
            && result.result.is_halt()
        {
            step.error = Some(format!("{:?}", result.result));
        } else if let (Some(slot), Some(slots)) = (self.reads, &mut step.storage)
            && let Some(value) = interpreter.stack.data().last()
        {
            slots.insert(slot, *value);
            self.storage.entry(interpreter.input.target_address()).or_default().insert(slot, *value);
        }
    }
}
