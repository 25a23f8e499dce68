//! The precompile provider: Ethereum's precompiles of the fork, and beside them the AI doors and that of stake.

use super::{
    abi,
    call::{AiCall, Halt},
    doors::Door,
};
use crate::{evm::LatticeContext, simulate::PrecompileMoves};
use alloy_primitives::{Address, Bytes};
use revm::{
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InstructionResult, InterpreterResult},
    primitives::{AddressSet, hardfork::SpecId},
};

/// Ethereum's precompiles and Lattice's doors. All of them are warm (EIP-2929).
#[derive(Debug, Clone)]
pub struct LatticePrecompiles {
    ethereum: EthPrecompiles,
    warm: AddressSet,
    /// Overrides of a simulation; none on the chain.
    moves: PrecompileMoves,
}

impl LatticePrecompiles {
    /// The precompiles of a fork.
    pub fn new(spec: SpecId) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let mut warm = ethereum.warm_addresses().clone();
        warm.extend(Door::ALL.iter().map(|(address, _)| *address));
        Self { ethereum, warm, moves: PrecompileMoves::default() }
    }

    /// Has other precompiles answer at some addresses.
    pub(crate) fn set_moves(&mut self, moves: &PrecompileMoves) {
        self.moves = moves.clone();
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: &Address) -> bool {
        self.warm.contains(address)
    }
}

impl<'a> PrecompileProvider<LatticeContext<'a>> for LatticePrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = spec != self.ethereum.spec;
        if changed {
            *self = Self { moves: std::mem::take(&mut self.moves), ..Self::new(spec) };
        }
        changed
    }

    fn run(&mut self, ctx: &mut LatticeContext<'a>, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let Some(address) = self.moves.resolve(inputs.bytecode_address) else { return Ok(None) };
        match Door::at(&address) {
            Some(door) => enter(door, ctx, inputs).map(Some),
            None if address == inputs.bytecode_address => self.ethereum.run(ctx, inputs),
            None => self.ethereum.run(ctx, &CallInputs { bytecode_address: address, ..inputs.clone() }),
        }
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}

fn enter(door: Door, ctx: &mut LatticeContext<'_>, inputs: &CallInputs) -> Result<InterpreterResult, String> {
    let mut call = AiCall::from_precompile(ctx, inputs);
    let (result, output) = match door.enter(&mut call) {
        Ok(output) => (InstructionResult::Return, output),
        Err(Halt::Revert(reason)) => (InstructionResult::Revert, Bytes::from(abi::encode_error(&reason))),
        Err(Halt::OutOfGas) => {
            call.gas.spend_all();
            (InstructionResult::PrecompileOOG, Bytes::new())
        }
        Err(Halt::Stop(error)) => return Err(call.ctx.chain.fail(error)),
    };
    Ok(InterpreterResult { result, output, gas: call.gas })
}
