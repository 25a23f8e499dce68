//! What a caller asks for, and the transaction it becomes.

use super::{SimulationContext, SimulationError};
use crate::{
    ai::{self, AiLane, LanePrice},
    tx,
};
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_state::State;
use lattice_types::{ai_gas, system};
use revm::context::TxEnv;

/// A call as RPC clients describe it. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallRequest {
    /// Sender; the zero address when absent.
    pub from: Option<Address>,
    /// Callee; a contract creation when absent. AI transaction types go to their system account.
    pub to: Option<Address>,
    /// Gas limit; as much as a call may have when absent.
    pub gas: Option<u64>,
    /// Price for legacy and EIP-2930 transactions, wei a gas.
    pub gas_price: Option<u128>,
    /// Fee cap of EIP-1559, wei a gas.
    pub max_fee_per_gas: Option<u128>,
    /// Tip of EIP-1559, wei a gas.
    pub max_priority_fee_per_gas: Option<u128>,
    /// Wei sent along.
    pub value: Option<U256>,
    /// Call data, init code, or the payload of an AI transaction.
    pub data: Bytes,
    /// Not checked: a call has no place in the order of its sender.
    pub nonce: Option<u64>,
    /// EIP-2930 access list.
    pub access_list: Option<AccessList>,
    /// EIP-7702 authorizations.
    pub authorization_list: Option<Vec<SignedAuthorization>>,
    /// EIP-2718 type, for AI transactions; ordinary types follow from the fields.
    pub tx_type: Option<u8>,
    /// Declared bound on AI gas: the field of an AI transaction. It goes before a declaration in the access list; without
    /// either, calls may use the whole AI lane, and estimates assume what a transaction may use that declares nothing.
    pub ai_gas_limit: Option<u64>,
}

/// A request as revm runs it.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) tx: TxEnv,
    pub(super) ai_gas_limit: u64,
    /// Whether the request declared the bound.
    pub(super) declared: bool,
    pub(super) lane_price: LanePrice,
}

impl Prepared {
    /// Makes the run one that serves as an estimate: with the bound of a transaction that declares as this request does,
    /// at the price after two full blocks, so that the transaction still has enough when it waits a little.
    pub(super) fn for_estimate(&mut self, env: &SimulationContext<'_>, is_ai: bool) {
        let target = env.spec.ai_gas_target();
        self.lane_price = self.lane_price.after(u64::MAX, target).after(u64::MAX, target);
        if !self.declared && !is_ai {
            self.ai_gas_limit = self.ai_gas_limit.min(env.spec.ai_gas_undeclared);
        }
    }

    /// Bounds AI gas by a block's lane alone, whatever the request declared.
    pub(super) fn lift_ai_bound(&mut self, env: &SimulationContext<'_>) {
        self.ai_gas_limit = env.spec.ai_gas_limit;
    }

    /// Whether no gas price was given: then gas costs nothing.
    pub(super) fn is_free(&self) -> bool {
        self.tx.gas_price == 0 && self.tx.gas_priority_fee.unwrap_or(0) == 0
    }
}

fn invalid<T>(text: impl Into<String>) -> Result<T, SimulationError> {
    Err(SimulationError::Invalid(text.into()))
}

impl CallRequest {
    /// The most gas that a simulation may burn: what one DAG block can.
    pub(super) fn gas_max(env: &SimulationContext<'_>) -> u64 {
        env.spec.gas_limit
    }

    pub(super) fn sender(&self) -> Address {
        self.from.unwrap_or_default()
    }

    /// The fee cap, and the tip where the type has one.
    fn fees(&self) -> Result<(u128, Option<u128>), SimulationError> {
        let dynamic = self.max_fee_per_gas.is_some() || self.max_priority_fee_per_gas.is_some();
        match self.gas_price {
            Some(_) if dynamic => {
                invalid("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified: send one kind")
            }
            Some(price) => Ok((price, None)),
            None if dynamic => {
                let (cap, tip) = (self.max_fee_per_gas.unwrap_or(0), self.max_priority_fee_per_gas.unwrap_or(0));
                if cap < tip {
                    return invalid(format!("maxFeePerGas ({cap}) < maxPriorityFeePerGas ({tip})"));
                }
                Ok((cap, Some(tip)))
            }
            None => Ok((0, None)),
        }
    }

    fn kind(&self) -> Result<TxKind, SimulationError> {
        match self.tx_type {
            None | Some(0..=2 | 4) => Ok(self.to.map_or(TxKind::Create, TxKind::Call)),
            Some(3) => invalid("blob transactions (type 0x03, EIP-4844) are not supported"),
            Some(ty) => {
                let Some(account) = system::account_of(ty) else {
                    return invalid(format!("transaction type 0x{ty:02x} is not enabled on this chain"));
                };
                match self.to {
                    Some(to) if to != account => {
                        invalid(format!("transaction type 0x{ty:02x} goes to {account}, not to {to}"))
                    }
                    _ => Ok(TxKind::Call(account)),
                }
            }
        }
    }

    /// Whether this is one of the AI transaction types, which declare AI gas in a field.
    pub(super) fn is_ai(&self) -> bool {
        self.tx_type.is_some_and(|ty| system::account_of(ty).is_some())
    }

    /// The transaction that this request stands for, with the nonce that its sender has.
    pub(super) fn prepare(&self, env: &SimulationContext<'_>, state: &State) -> Result<Prepared, SimulationError> {
        let (gas_price, tip) = self.fees()?;
        let kind = self.kind()?;
        let authorizations = self.authorization_list.as_deref().unwrap_or_default();
        if !authorizations.is_empty() && kind.is_create() {
            return invalid("an EIP-7702 transaction cannot create a contract: name the callee in `to`");
        }
        let caller = self.sender();
        let account = state.account(&caller).unwrap_or_default();
        let tx = TxEnv {
            tx_type: match (authorizations.is_empty(), tip, &self.access_list) {
                (false, ..) => 4,
                (true, Some(_), _) => 2,
                (true, None, Some(_)) => 1,
                (true, None, None) => 0,
            },
            caller,
            gas_limit: self.gas.unwrap_or(u64::MAX).min(Self::gas_max(env)),
            gas_price,
            kind,
            value: self.value.unwrap_or_default(),
            data: ai::call_input(self.tx_type.unwrap_or(0), &self.data),
            nonce: account.nonce,
            chain_id: Some(env.spec.chain_id),
            access_list: self.access_list.clone().unwrap_or_default(),
            gas_priority_fee: tip,
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: tx::authorizations(authorizations),
        };
        let listed = match ai_gas::declared_in(&tx.access_list) {
            Ok(listed) => listed,
            Err(error) => return invalid(error.to_string()),
        };
        let declared = self.ai_gas_limit.or(listed);
        let lane = env.spec.ai_gas_limit;
        let lane_price = AiLane::read(state, env.spec).price_next;
        let ai_gas_limit = declared.unwrap_or(lane).min(lane);
        Ok(Prepared { tx, ai_gas_limit, declared: declared.is_some(), lane_price })
    }
}
