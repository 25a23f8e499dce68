//! DAG blocks: what producers sign and gossip.
//!
//! Canonical encoding is RLP. `hash` is keccak of the whole header's RLP, signature included. `commitment` leaves out
//! the EVM hash and the signature; it goes into the EVM header's extraData, so that twins never share an EVM hash.

use crate::{
    bls::{self, Domain},
    cid::MaybeCid,
    evidence::Evidence,
    finality::Certificate,
    readiness::ReadinessCertificate,
    tx::{TxEnvelope, decode_any},
};
use alloy_consensus::Typed2718;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};

/// Header of a DAG block.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct DagHeader {
    /// Parents, strictly ascending by hash, none an ancestor of another. Empty for the genesis only.
    pub parents: Vec<B256>,
    /// The slot it was produced in; greater than every parent's.
    pub slot: u64,
    /// The producer's index in the validator registry.
    pub proposer: u32,
    /// VRF of the slot: the producer's signature over `epoch seed || slot`.
    pub vrf: bls::Signature,
    /// Class of the producer's paid AI work, 0 to 3: `min(3, 4 a / AI lane's limit)`, a being the AI gas charged to the
    /// transactions that its previous chain-executed block carried.
    pub ai_class: u8,
    /// GHOSTDAG blue score.
    pub blue_score: u64,
    /// GHOSTDAG blue work.
    pub blue_work: u128,
    /// The newest pruning point on the block's selected chain, itself excluded; zero in the genesis. So every header names a
    /// chain of pruning points down to the genesis.
    pub newest_pruning_point: B256,
    /// keccak of the body's RLP.
    pub body_root: B256,
    /// Hash of the EVM block that this block's execution gives.
    pub evm_hash: B256,
    /// Storage root of the models account after it.
    pub model_root: B256,
    /// Storage root of the inference account after it.
    pub inference_root: B256,
    /// Storage root of the training account after it.
    pub training_root: B256,
    /// CID of the list of artifacts that its transactions newly reference; absent when there is none.
    pub artifact_cid: MaybeCid,
    /// The producer's signature over all the above.
    pub signature: bls::Signature,
}

impl DagHeader {
    /// The block's hash.
    pub fn hash(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }

    /// Commits to the header but for EVM hash and signature.
    pub fn commitment(&self) -> B256 {
        let blank = Self { evm_hash: B256::ZERO, signature: bls::Signature::ZERO, ..self.clone() };
        blank.hash()
    }

    /// What the producer signs.
    pub fn signing_hash(&self) -> B256 {
        let unsigned = Self { signature: bls::Signature::ZERO, ..self.clone() };
        unsigned.hash()
    }

    /// Signs the header in place.
    pub fn sign(&mut self, key: &bls::SecretKey, chain_id: u64) {
        self.signature = key.sign(Domain::Block, chain_id, self.signing_hash().as_slice());
    }

    /// H(VRF output), by which ties are decided.
    pub fn vrf_hash(&self) -> B256 {
        bls::vrf_hash(&self.vrf)
    }

    /// The EVM's prevRandao of the block: H("randao" || VRF output).
    pub fn prev_randao(&self) -> B256 {
        keccak256([b"randao".as_slice(), self.vrf.as_slice()].concat())
    }
}

/// Body of a DAG block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagBody {
    /// Transactions, in the producer's order.
    pub transactions: Vec<TxEnvelope>,
    /// Certificates by which pending models become active.
    pub readiness: Vec<ReadinessCertificate>,
    /// Certificates of finality, in the order in which they are applied.
    pub certificates: Vec<Certificate>,
    /// Evidence of offences: at most one piece an offender.
    pub evidence: Vec<Evidence>,
}

impl DagBody {
    /// keccak of the body's RLP.
    pub fn root(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }

    fn payload_length(&self) -> usize {
        self.transactions.length() + self.readiness.length() + self.certificates.length() + self.evidence.length()
    }
}

impl Encodable for DagBody {
    fn encode(&self, out: &mut dyn BufMut) {
        alloy_rlp::Header { list: true, payload_length: self.payload_length() }.encode(out);
        self.transactions.encode(out);
        self.readiness.encode(out);
        self.certificates.encode(out);
        self.evidence.encode(out);
    }

    fn length(&self) -> usize {
        let payload_length = self.payload_length();
        payload_length + alloy_rlp::length_of_length(payload_length)
    }
}

impl Decodable for DagBody {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut payload = alloy_rlp::Header::decode_bytes(buf, true)?;
        let body = Self {
            transactions: transactions(&mut payload)?,
            readiness: Decodable::decode(&mut payload)?,
            certificates: Decodable::decode(&mut payload)?,
            evidence: Decodable::decode(&mut payload)?,
        };
        if payload.is_empty() { Ok(body) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }
}

/// The body's transactions: legacy ones as RLP lists, the others as strings of their EIP-2718 bytes. Each goes through
/// the only decoder, which takes all of the bytes or none; so a block has one encoding.
fn transactions(buf: &mut &[u8]) -> alloy_rlp::Result<Vec<TxEnvelope>> {
    let mut list = alloy_rlp::Header::decode_bytes(buf, true)?;
    let mut transactions = Vec::new();
    while let Some(first) = list.first() {
        let is_legacy = *first >= alloy_rlp::EMPTY_LIST_CODE;
        let item = list;
        let payload = alloy_rlp::Header::decode_bytes(&mut list, is_legacy)?;
        let bytes = if is_legacy { &item[..item.len() - list.len()] } else { payload };
        let tx = decode_any(bytes).map_err(|_| alloy_rlp::Error::Custom("a transaction is malformed"))?;
        if tx.is_legacy() != is_legacy {
            return Err(alloy_rlp::Error::UnexpectedString);
        }
        transactions.push(tx);
    }
    Ok(transactions)
}

/// A DAG block.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct DagBlock {
    /// The header.
    pub header: DagHeader,
    /// The body that the header commits to.
    pub body: DagBody,
}
