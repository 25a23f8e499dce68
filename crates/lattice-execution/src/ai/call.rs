//! One call of a door: gas, storage and logs through revm, and the three ways it can end badly.

use super::lane::LanePrice;
use crate::{error::ExecutionError, evm::LatticeContext};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};
use revm::{
    context_interface::{ContextTr, JournalTr},
    interpreter::{CallInputs, Gas},
};

/// Why a call gives no output.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The call breaks a rule: revert with this text, gas left over is returned.
    Revert(String),
    /// The gas, or the bound on AI gas, is not enough: all gas of the call is gone, no work was done.
    OutOfGas,
    /// The whole execution has to stop.
    Stop(ExecutionError),
}

impl Halt {
    fn fault(error: impl std::fmt::Display) -> Self {
        Self::Stop(ExecutionError::Fault(error.to_string()))
    }
}

/// What a call may do to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anything, in the name of the caller.
    Write,
    /// Nothing: somewhere up the stack is a STATICCALL.
    Static,
    /// Nothing: DELEGATECALL and CALLCODE would write in somebody else's name.
    Borrowed,
}

/// A call of an AI operation in progress, whichever door it came through.
pub(crate) struct AiCall<'c, 'a> {
    pub(crate) ctx: &'c mut LatticeContext<'a>,
    /// The account that asks.
    pub(crate) caller: Address,
    pub(crate) access: Access,
    /// Wei sent along.
    pub(crate) value: U256,
    /// Where they are now: revm has moved those of a call to the door's account, an instruction's are its contract's.
    purse: Address,
    pub(crate) input: Bytes,
    pub(crate) gas: Gas,
}

impl<'c, 'a> AiCall<'c, 'a> {
    /// A call of a precompile.
    pub(crate) fn from_precompile(ctx: &'c mut LatticeContext<'a>, inputs: &CallInputs) -> Self {
        let access = match inputs.is_static {
            true => Access::Static,
            false if inputs.scheme.is_call() => Access::Write,
            false => Access::Borrowed,
        };
        Self {
            caller: inputs.caller,
            access,
            value: inputs.transfer_value().unwrap_or_default(),
            purse: inputs.target_address,
            input: inputs.input.bytes(ctx),
            gas: Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit, inputs.reservoir),
            ctx,
        }
    }

    /// A call by an AI instruction of the contract `caller`, with what its frame has of gas.
    pub(crate) fn from_instruction(
        ctx: &'c mut LatticeContext<'a>,
        caller: Address,
        access: Access,
        value: U256,
        input: Bytes,
        gas: Gas,
    ) -> Self {
        Self { ctx, caller, access, value, purse: caller, input, gas }
    }
}

impl AiCall<'_, '_> {
    /// Charges gas before the work it pays for.
    pub(crate) fn charge(&mut self, amount: u64) -> Result<(), Halt> {
        if self.gas.record_regular_cost(amount) { Ok(()) } else { Err(Halt::OutOfGas) }
    }

    /// Charges AI work at the lane's price.
    pub(crate) fn charge_ai(&mut self, work: u64) -> Result<(), Halt> {
        self.charge_ai_at(self.ctx.chain.lane_price(), work)
    }

    /// Charges AI work: times the price it is gas, which also counts against the transaction's bound on AI gas. This is
    /// the only place that applies a price, so all doors pay alike.
    pub(crate) fn charge_ai_at(&mut self, price: LanePrice, work: u64) -> Result<(), Halt> {
        let amount = price.gas(work);
        if amount > self.gas.remaining() || !self.ctx.chain.record_ai_gas(work, amount) {
            return Err(Halt::OutOfGas);
        }
        self.charge(amount)
    }

    /// Number of the EVM block.
    pub(crate) fn block_number(&self) -> u64 {
        self.ctx.block.number.saturating_to()
    }

    /// Reads a slot of a system account.
    pub(crate) fn slot(&mut self, account: Address, slot: U256) -> Result<U256, Halt> {
        let journal = self.ctx.journal_mut();
        // The journal knows no slot of an account that it has not loaded.
        journal.load_account(account).map_err(Halt::fault)?;
        journal.sload(account, slot).map(|load| load.data).map_err(Halt::fault)
    }

    /// Writes a slot of a system account.
    pub(crate) fn store(&mut self, account: Address, slot: U256, value: U256) -> Result<(), Halt> {
        let journal = self.ctx.journal_mut();
        journal.load_account(account).map_err(Halt::fault)?;
        journal.sstore(account, slot, value).map(drop).map_err(Halt::fault)
    }

    /// The value sent along, which an operation needs; `what` names its purpose.
    pub(crate) fn value_needed(&self, what: &str) -> Result<u128, Halt> {
        match u128::try_from(self.value) {
            Ok(0) => Err(Halt::Revert(format!("no value came along: send {what} as value"))),
            Ok(value) => Ok(value),
            Err(_) => Err(Halt::Revert("the value exceeds 2^128 wei: send less".into())),
        }
    }

    /// Pays wei that a system account holds out to somebody. No code of theirs runs. The account always has them: that it
    /// does not is a fault of ours.
    pub(crate) fn pay_out(&mut self, from: Address, to: Address, wei: U256) -> Result<(), Halt> {
        match self.ctx.journal_mut().transfer(from, to, wei).map_err(Halt::fault)? {
            None => Ok(()),
            Some(error) => Err(Halt::fault(format!("system account {from} cannot pay {wei} wei to {to}: {error:?}"))),
        }
    }

    /// Moves the value that came with the call to a system account.
    pub(crate) fn escrow(&mut self, account: Address) -> Result<(), Halt> {
        if self.purse == account {
            return Ok(());
        }
        let (purse, value) = (self.purse, self.value);
        match self.ctx.journal_mut().transfer(purse, account, value).map_err(Halt::fault)? {
            None => Ok(()),
            Some(_) => Err(Halt::Revert(format!("{purse} does not have {value} wei to pay"))),
        }
    }

    /// Emits a log of a system account.
    pub(crate) fn log(&mut self, address: Address, topics: Vec<B256>, data: Vec<u8>) {
        let data = LogData::new_unchecked(topics, Bytes::from(data));
        self.ctx.journal_mut().log(Log { address, data });
    }
}
