//! Operations on AI records that have no transaction type of their own.
//!
//! They are ordinary calls to a system account with `op byte ++ RLP(payload)` as input, so a wallet, a contract and a
//! command line send them alike. The AI transaction classes have op bytes too: their type bytes.

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};

/// A payload and the op byte that announces it.
pub trait Operation: Encodable {
    /// First byte of the call's input.
    const OP: u8;

    /// The input of a call: op byte and payload.
    fn input(&self) -> Bytes {
        let mut out = vec![Self::OP];
        self.encode(&mut out);
        out.into()
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $op:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Operation for $name {
            const OP: u8 = $op;
        }
    )*};
}

operations! {
    /// MODELS: offers a model's ownership. The zero address takes the offer back.
    0x01 OfferModel {
        /// The model: the id of its first version.
        model_id: B256,
        /// Who may accept.
        to: Address,
    }
    /// MODELS: accepts the ownership that was offered.
    0x02 AcceptModel {
        /// The model: the id of its first version.
        model_id: B256,
    }
    /// MODELS: sets who may run a model, and for how much.
    0x03 PermitModel {
        /// The model: the id of its first version.
        model_id: B256,
        /// 0 public, 1 allow list, 2 price.
        mode: u8,
        /// Wei a run, with mode 2; 0 otherwise.
        price: u128,
    }
    /// MODELS: edits a model's allow list.
    0x04 AllowAccounts {
        /// The model: the id of its first version.
        model_id: B256,
        /// The accounts, at most 16.
        accounts: Vec<Address>,
        /// Whether they are allowed from now on.
        allowed: bool,
    }
    /// MODELS: ends a model. No version of it runs any more, for good.
    0x05 RetireModel {
        /// The model: the id of its first version.
        model_id: B256,
    }
    /// MODELS: turns the value sent along into compute credits.
    0x06 DepositCredits {
        /// Whose credits.
        account: Address,
    }
    /// MODELS: turns the caller's compute credits back into value.
    0x07 WithdrawCredits {
        /// Wei.
        amount: u128,
    }
    /// MODELS: stakes the value sent along on a model's quality.
    0x08 StakeOnModel {
        /// The model: the id of its first version.
        model_id: B256,
    }
    /// MODELS: begins to take stake off a model; it is released after a delay.
    0x09 UnstakeFromModel {
        /// The model: the id of its first version.
        model_id: B256,
        /// Wei.
        amount: u128,
    }
    /// MODELS: pays out the stake whose delay is over.
    0x0a CollectStake {
        /// The model: the id of its first version.
        model_id: B256,
    }
    /// INFERENCE: answers a bonded request; the value sent along is the bond.
    0x01 AnswerRequest {
        /// The request's id.
        request_id: B256,
        /// Raw output tensors.
        output: Bytes,
    }
    /// INFERENCE: has every validator replay an answered request.
    0x02 ChallengeAnswer {
        /// The request's id.
        request_id: B256,
        /// Raw input tensors of the request.
        input: Bytes,
    }
    /// INFERENCE: answers a traced request; the value sent along is the bond.
    0x04 AnswerTraced {
        /// The request's id.
        request_id: B256,
        /// Raw output tensors.
        output: Bytes,
        /// keccak256 of the whole input, of each result of each node, and of the whole output, step by step.
        trace: Vec<Vec<B256>>,
    }
    /// INFERENCE: has every validator judge one operator of an answer to a traced request.
    0x05 ChallengeOperator {
        /// The request's id.
        request_id: B256,
        /// The operator with its operands, opened, in the form of `docs/spec/training.md`.
        opening: Bytes,
    }
    /// INFERENCE: ends a request: pays an answer that nobody challenged, or refunds one that nobody gave.
    0x03 SettleRequest {
        /// The request's id.
        request_id: B256,
    }
}
