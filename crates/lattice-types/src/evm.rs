//! EVM blocks: what Ethereum tools see, exactly one a selected-chain block.

use alloy_consensus::{Header, TxReceipt as _};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, Bloom, Log};
use alloy_rlp::{BufMut, Encodable, RlpDecodable, RlpEncodable};

/// Receipt of one executed transaction, exactly as Ethereum's.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct TxReceipt {
    /// EIP-2718 type of its transaction.
    pub tx_type: u8,
    /// Whether it succeeded.
    pub success: bool,
    /// Gas used in the block up to and including it.
    pub cumulative_gas_used: u64,
    /// Logs, in order.
    pub logs: Vec<Log>,
}

impl TxReceipt {
    /// The bloom filter of its logs.
    pub fn bloom(&self) -> Bloom {
        self.logs.iter().collect()
    }

    /// EIP-2718 encoding, the leaf of the receipts trie.
    pub fn encode_2718(&self, out: &mut dyn BufMut) {
        if self.tx_type != 0 {
            out.put_u8(self.tx_type);
        }
        alloy_consensus::Receipt {
            status: self.success.into(),
            cumulative_gas_used: self.cumulative_gas_used,
            logs: self.logs.clone(),
        }
        .into_with_bloom()
        .encode(out);
    }
}

/// Where an executed transaction stands: which DAG block carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct IncludedTx {
    /// Hash of the DAG block that carried the executed occurrence.
    pub carrier: B256,
    /// Its index in that block's body.
    pub index: u32,
    /// Transaction hash.
    pub hash: B256,
    /// Sender.
    pub sender: Address,
}

/// An occurrence of a transaction that did not execute, and why.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SkippedTx {
    /// Hash of the DAG block that carried it.
    pub carrier: B256,
    /// Its index in that block's body.
    pub index: u32,
    /// Transaction hash.
    pub hash: B256,
    /// The EVM's reason.
    pub reason: String,
}

/// An EVM block with all that its execution left: kept for every executed chain block, under its DAG hash.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct EvmBlock {
    /// Genuine Ethereum header.
    pub header: Header,
    /// Hash of the DAG chain block.
    pub dag_hash: B256,
    /// The DAG blocks it executed, in order: mergeset, then the chain block itself.
    pub executed: Vec<B256>,
    /// Executed transactions in order.
    pub transactions: Vec<IncludedTx>,
    /// Their receipts.
    pub receipts: Vec<TxReceipt>,
    /// Rewards of the producers (EIP-4895).
    pub withdrawals: Withdrawals,
    /// Occurrences that did not execute.
    pub skipped: Vec<SkippedTx>,
}

impl EvmBlock {
    /// keccak of the header's RLP.
    pub fn hash(&self) -> B256 {
        self.header.hash_slow()
    }
}

/// Root of the receipts trie.
pub fn receipts_root(receipts: &[TxReceipt]) -> B256 {
    alloy_consensus::proofs::ordered_trie_root_with_encoder(receipts, |receipt, out| receipt.encode_2718(out))
}
