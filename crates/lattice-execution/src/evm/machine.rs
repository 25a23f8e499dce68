//! The machine: revm's, with two instruction tables and the rule of EIP-3541 that lets containers pass.
//!
//! All of it happens where a frame runs: [`EvmTr::frame_run`], and its twin that an inspector watches. The table is
//! picked by the code of the frame, so legacy code, containers and set-code delegations (EIP-7702) nest as they like.

use super::LatticeContext;
use crate::{
    ai::{LatticePrecompiles, ai_instructions, container},
    overlay::{Overlay, OverlayFault},
    trace::{StructLogger, Trace, TraceOptions},
};
use revm::{
    context::{ContextTr, Evm, FrameStack},
    context_interface::context::ContextError,
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, ItemOrResult, evm::FrameInitResult,
        instructions::EthInstructions,
    },
    inspector::{
        InspectorEvmTr,
        handler::{frame_end, inspect_instructions},
    },
    interpreter::{
        InstructionResult, InterpreterAction, interpreter::EthInterpreter, interpreter_action::FrameInit,
        interpreter_types::LegacyBytecode,
    },
    primitives::hardfork::SpecId,
};
use std::ops::{Deref, DerefMut};

pub(super) type Instructions<'a> = EthInstructions<EthInterpreter, LatticeContext<'a>>;
type Frame = EthFrame<EthInterpreter>;
type Inner<'a> = Evm<LatticeContext<'a>, StructLogger, Instructions<'a>, LatticePrecompiles, Frame>;
type RunError = ContextError<OverlayFault>;

/// The machine. What it sees stands in `ctx`.
pub struct LatticeEvm<'a> {
    /// revm with the legacy table.
    inner: Inner<'a>,
    /// The table of containers.
    ai: Instructions<'a>,
    is_watched: bool,
}

impl<'a> LatticeEvm<'a> {
    pub(super) fn new(fork: SpecId, ctx: LatticeContext<'a>) -> Self {
        let legacy = Instructions::new_mainnet_with_spec(fork);
        let ai = ai_instructions(&legacy);
        let inner = Evm::new_with_inspector(ctx, StructLogger::default(), legacy, LatticePrecompiles::new(fork));
        Self { inner, ai, is_watched: false }
    }

    /// Logs the steps of what runs from now on, until [`Self::take_trace`].
    pub fn watch(&mut self, options: TraceOptions) {
        self.inner.inspector = StructLogger::new(options);
        self.is_watched = true;
    }

    /// Ends the logging; what was logged.
    pub fn take_trace(&mut self) -> Trace {
        self.is_watched = false;
        std::mem::take(&mut self.inner.inspector).into_trace()
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Ends the machine; the state with its changes remains.
    pub fn into_overlay(self) -> Overlay<'a> {
        self.inner.ctx.journaled_state.database
    }
}

/// For `ctx`. Do not run anything through it (`transact`, `system_call`): revm's own loop knows neither containers nor
/// our EIP-3541; [`super::transact`] and [`super::system_call`] do.
impl<'a> Deref for LatticeEvm<'a> {
    type Target = Inner<'a>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for LatticeEvm<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

fn runs_container(frame: &Frame) -> bool {
    container::is_container(frame.interpreter.bytecode.bytecode_slice())
}

/// EIP-3541 as this chain has it: of all code that begins with 0xEF only a well-formed container may be deployed.
/// revm's own check is off, because it knows no exception.
fn check_deployment(fork: SpecId, frame: &Frame, action: &mut InterpreterAction) {
    if let InterpreterAction::Return(result) = action
        && frame.data.is_create()
        && fork.is_enabled_in(SpecId::LONDON)
        && result.is_ok()
        && result.output.first() == Some(&0xef)
        && !container::is_deployable(&result.output)
    {
        result.result = InstructionResult::CreateContractStartingWithEF;
    }
}

impl<'a> EvmTr for LatticeEvm<'a> {
    type Context = LatticeContext<'a>;
    type Instructions = Instructions<'a>;
    type Precompiles = LatticePrecompiles;
    type Frame = Frame;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>) {
        self.inner.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Frame>) {
        self.inner.all_mut()
    }

    fn frame_init(&mut self, input: FrameInit) -> Result<FrameInitResult<'_, Frame>, RunError> {
        self.inner.frame_init(input)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, RunError> {
        let Inner { ctx, instruction, frame_stack, .. } = &mut self.inner;
        let frame = frame_stack.get();
        let table = if runs_container(frame) { &self.ai } else { &*instruction };
        let mut action = frame.interpreter.run_plain(table.instruction_table(), table.gas_table(), ctx);
        check_deployment(ctx.cfg().spec, frame, &mut action);
        let result = frame.process_next_action::<_, RunError>(ctx, action)?;
        if result.is_result() {
            frame.set_finished(true);
        }
        Ok(result)
    }

    fn frame_return_result(
        &mut self,
        result: <Frame as FrameTr>::FrameResult,
    ) -> Result<Option<FrameResult>, RunError> {
        self.inner.frame_return_result(result)
    }
}

impl InspectorEvmTr for LatticeEvm<'_> {
    type Inspector = StructLogger;

    fn all_inspector(
        &self,
    ) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>, &Self::Inspector) {
        self.inner.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Frame>,
        &mut Self::Inspector,
    ) {
        self.inner.all_mut_inspector()
    }

    fn inspect_frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, RunError> {
        let Inner { ctx, instruction, frame_stack, inspector, .. } = &mut self.inner;
        let frame = frame_stack.get();
        let table = if runs_container(frame) { &self.ai } else { &*instruction };
        let interpreter = &mut frame.interpreter;
        let mut action =
            inspect_instructions(ctx, interpreter, &mut *inspector, table.instruction_table(), table.gas_table());
        check_deployment(ctx.cfg().spec, frame, &mut action);
        let mut result = frame.process_next_action::<_, RunError>(ctx, action)?;
        if let ItemOrResult::Result(outcome) = &mut result {
            frame_end(ctx, inspector, &frame.input, outcome);
            frame.set_finished(true);
        }
        Ok(result)
    }
}
