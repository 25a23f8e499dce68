//! The AI transactions: EIP-1559 fee fields and a payload.
//!
//! All five share one shape and differ by type byte and payload, so there is one struct, generic over a marker.
//! To the EVM and to Ethereum tools such a transaction is a call: `to` is the system account that serves its type and
//! `input` is the RLP of the payload. A plain type-2 transaction to that account with the same input does the same.

use super::payload::{InferencePayload, LoraPayload, ModelDeployPayload, ModelUpdatePayload, TrainingPayload};
use crate::system;
use alloy_consensus::{
    SignableTransaction, Transaction,
    transaction::{RlpEcdsaDecodableTx, RlpEcdsaEncodableTx},
};
use alloy_eips::{Typed2718, eip2718::IsTyped2718, eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, ChainId, Signature, TxKind, U256};
use alloy_rlp::{BufMut, Decodable, Encodable};
use serde::{Deserialize, Serialize};
use std::{fmt::Debug, hash::Hash, marker::PhantomData};

/// One of the five AI transaction classes.
pub trait AiKind: Debug + Clone + Copy + Default + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// EIP-2718 type byte.
    const TX_TYPE: u8;
    /// The system account that serves the class.
    const ACCOUNT: Address;
    /// What the transaction carries.
    type Payload: Encodable + Decodable + Debug + PartialEq;

    /// Checks the payload's rules of form (lengths, ranges) beyond its encoding.
    fn check(_payload: &Self::Payload) -> Result<(), String> {
        Ok(())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $ty:expr, $payload:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $kind;

        impl AiKind for $kind {
            const TX_TYPE: u8 = $ty;
            const ACCOUNT: Address = system::account_of($ty).expect("every AI type has its account");
            type Payload = $payload;

            fn check(payload: &Self::Payload) -> Result<(), String> {
                payload.check()
            }
        }
    )*};
}

kinds! {
    /// Marker of ModelDeploy (0x50).
    ModelDeploy: system::TX_MODEL_DEPLOY, ModelDeployPayload;
    /// Marker of ModelUpdate (0x51).
    ModelUpdate: system::TX_MODEL_UPDATE, ModelUpdatePayload;
    /// Marker of Inference (0x52).
    Inference: system::TX_INFERENCE, InferencePayload;
    /// Marker of Training (0x53).
    Training: system::TX_TRAINING, TrainingPayload;
    /// Marker of LoRA (0x54).
    Lora: system::TX_LORA, LoraPayload;
}

/// An AI transaction. RLP: `[chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gasLimit, aiGasLimit, value,
/// accessList, payload]`, then the signature, behind the type byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "K: AiKind", from = "Json", into = "Json")]
pub struct TxAi<K: AiKind> {
    /// Chain id (EIP-155).
    pub chain_id: ChainId,
    /// Sender's nonce.
    pub nonce: u64,
    /// Tip, wei a gas.
    pub max_priority_fee_per_gas: u128,
    /// Fee cap, wei a gas.
    pub max_fee_per_gas: u128,
    /// Gas limit, AI gas included.
    pub gas_limit: u64,
    /// The bound on AI gas within the gas limit, by which the block's AI lane is filled.
    pub ai_gas_limit: u64,
    /// Wei sent along, for priced models.
    pub value: U256,
    /// EIP-2930 access list.
    pub access_list: AccessList,
    /// RLP of the payload.
    pub payload: Bytes,
    /// The class.
    pub kind: PhantomData<K>,
}

impl<K: AiKind> TxAi<K> {
    /// Encodes a payload for the field of that name.
    pub fn encode_payload(payload: &K::Payload) -> Bytes {
        alloy_rlp::encode(payload).into()
    }

    /// The decoded payload, with the rules of its form checked; the error says which one it breaks.
    pub fn payload(&self) -> Result<K::Payload, String> {
        let mut rest: &[u8] = &self.payload;
        let payload = K::Payload::decode(&mut rest).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the payload", rest.len()));
        }
        K::check(&payload)?;
        Ok(payload)
    }
}

impl<K: AiKind> RlpEcdsaEncodableTx for TxAi<K> {
    fn rlp_encoded_fields_length(&self) -> usize {
        self.chain_id.length()
            + self.nonce.length()
            + self.max_priority_fee_per_gas.length()
            + self.max_fee_per_gas.length()
            + self.gas_limit.length()
            + self.ai_gas_limit.length()
            + self.value.length()
            + self.access_list.length()
            + self.payload.length()
    }

    fn rlp_encode_fields(&self, out: &mut dyn BufMut) {
        self.chain_id.encode(out);
        self.nonce.encode(out);
        self.max_priority_fee_per_gas.encode(out);
        self.max_fee_per_gas.encode(out);
        self.gas_limit.encode(out);
        self.ai_gas_limit.encode(out);
        self.value.encode(out);
        self.access_list.encode(out);
        self.payload.encode(out);
    }
}

impl<K: AiKind> RlpEcdsaDecodableTx for TxAi<K> {
    const DEFAULT_TX_TYPE: u8 = K::TX_TYPE;

    fn rlp_decode_fields(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Ok(Self {
            chain_id: Decodable::decode(buf)?,
            nonce: Decodable::decode(buf)?,
            max_priority_fee_per_gas: Decodable::decode(buf)?,
            max_fee_per_gas: Decodable::decode(buf)?,
            gas_limit: Decodable::decode(buf)?,
            ai_gas_limit: Decodable::decode(buf)?,
            value: Decodable::decode(buf)?,
            access_list: Decodable::decode(buf)?,
            payload: Decodable::decode(buf)?,
            kind: PhantomData,
        })
    }
}

impl<K: AiKind> Encodable for TxAi<K> {
    fn encode(&self, out: &mut dyn BufMut) {
        self.rlp_encode(out);
    }

    fn length(&self) -> usize {
        self.rlp_encoded_length()
    }
}

impl<K: AiKind> Decodable for TxAi<K> {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Self::rlp_decode(buf)
    }
}

impl<K: AiKind> Typed2718 for TxAi<K> {
    fn ty(&self) -> u8 {
        K::TX_TYPE
    }
}

impl<K: AiKind> IsTyped2718 for TxAi<K> {
    fn is_type(type_id: u8) -> bool {
        type_id == K::TX_TYPE
    }
}

impl<K: AiKind> SignableTransaction<Signature> for TxAi<K> {
    fn set_chain_id(&mut self, chain_id: ChainId) {
        self.chain_id = chain_id;
    }

    fn encode_for_signing(&self, out: &mut dyn BufMut) {
        out.put_u8(K::TX_TYPE);
        self.encode(out);
    }

    fn payload_len_for_signature(&self) -> usize {
        self.length() + 1
    }
}

impl<K: AiKind> Transaction for TxAi<K> {
    fn chain_id(&self) -> Option<ChainId> {
        Some(self.chain_id)
    }

    fn nonce(&self) -> u64 {
        self.nonce
    }

    fn gas_limit(&self) -> u64 {
        self.gas_limit
    }

    fn gas_price(&self) -> Option<u128> {
        None
    }

    fn max_fee_per_gas(&self) -> u128 {
        self.max_fee_per_gas
    }

    fn max_priority_fee_per_gas(&self) -> Option<u128> {
        Some(self.max_priority_fee_per_gas)
    }

    fn max_fee_per_blob_gas(&self) -> Option<u128> {
        None
    }

    fn priority_fee_or_price(&self) -> u128 {
        self.max_priority_fee_per_gas
    }

    fn effective_gas_price(&self, base_fee: Option<u64>) -> u128 {
        alloy_eips::eip1559::calc_effective_gas_price(self.max_fee_per_gas, self.max_priority_fee_per_gas, base_fee)
    }

    fn is_dynamic_fee(&self) -> bool {
        true
    }

    fn kind(&self) -> TxKind {
        TxKind::Call(K::ACCOUNT)
    }

    fn is_create(&self) -> bool {
        false
    }

    fn value(&self) -> U256 {
        self.value
    }

    fn input(&self) -> &Bytes {
        &self.payload
    }

    fn access_list(&self) -> Option<&AccessList> {
        Some(&self.access_list)
    }

    fn blob_versioned_hashes(&self) -> Option<&[B256]> {
        None
    }

    fn authorization_list(&self) -> Option<&[SignedAuthorization]> {
        None
    }
}

/// JSON form: the fields of an EIP-1559 transaction (so that Ethereum tools can show it) and `aiGas`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(with = "alloy_serde::quantity")]
    chain_id: ChainId,
    #[serde(with = "alloy_serde::quantity")]
    nonce: u64,
    #[serde(with = "alloy_serde::quantity")]
    max_priority_fee_per_gas: u128,
    #[serde(with = "alloy_serde::quantity")]
    max_fee_per_gas: u128,
    #[serde(rename = "gas", with = "alloy_serde::quantity")]
    gas_limit: u64,
    #[serde(rename = "aiGas", with = "alloy_serde::quantity")]
    ai_gas_limit: u64,
    to: Address,
    value: U256,
    access_list: AccessList,
    input: Bytes,
}

impl<K: AiKind> From<TxAi<K>> for Json {
    fn from(tx: TxAi<K>) -> Self {
        Self {
            chain_id: tx.chain_id,
            nonce: tx.nonce,
            max_priority_fee_per_gas: tx.max_priority_fee_per_gas,
            max_fee_per_gas: tx.max_fee_per_gas,
            gas_limit: tx.gas_limit,
            ai_gas_limit: tx.ai_gas_limit,
            to: K::ACCOUNT,
            value: tx.value,
            access_list: tx.access_list,
            input: tx.payload,
        }
    }
}

impl<K: AiKind> From<Json> for TxAi<K> {
    fn from(json: Json) -> Self {
        Self {
            chain_id: json.chain_id,
            nonce: json.nonce,
            max_priority_fee_per_gas: json.max_priority_fee_per_gas,
            max_fee_per_gas: json.max_fee_per_gas,
            gas_limit: json.gas_limit,
            ai_gas_limit: json.ai_gas_limit,
            value: json.value,
            access_list: json.access_list,
            payload: json.input,
            kind: PhantomData,
        }
    }
}
