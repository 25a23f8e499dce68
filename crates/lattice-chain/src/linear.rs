//! A view of a linear Ethereum chain: conformance suites import one and read it through the doors of the node.
//!
//! Its blocks are stored as chain blocks whose DAG blocks carry exactly their transactions, so readers run the very code
//! that reads a Lattice chain. There is no way from here to a [`Chain`](crate::Chain): nothing extends such a view.

use crate::{
    blocks::{self, BlockCache, BlockReader, BlockStatus},
    models::ModelStore,
    view::{FinalityFacts, View},
};
use alloy_primitives::{Address, B256};
use lattice_state::State;
use lattice_storage::{Batch, Kv, StorageFault};
use lattice_types::{ChainSpec, CheckedBlock, Checkpoint, EvmBlock, IncludedTx, TxEnvelope};
use std::{collections::BTreeMap, sync::Arc};

/// What Ethereum's own chains have and Lattice's do not.
#[derive(Debug, Clone, Default)]
pub struct EthereumFacts {
    /// Number of the safe block.
    pub safe: u64,
    /// Number of the finalised block.
    pub finalized: u64,
    /// State roots in receipts before Byzantium (EIP-658), by transaction.
    pub receipt_roots: BTreeMap<B256, B256>,
    /// Price of blob gas in each block that has one, wei, and the block's blob gas limit; and of the block after the head.
    pub blob_gas: BTreeMap<u64, (u128, u64)>,
}

/// One block of a linear chain: `block.transactions` is filled from `transactions`.
#[derive(Debug, Clone)]
pub struct LinearBlock {
    /// Header, receipts and withdrawals.
    pub block: EvmBlock,
    /// Transactions and their senders, in order.
    pub transactions: Vec<(TxEnvelope, Address)>,
    /// The state after it.
    pub state: State,
}

impl View {
    /// A view of a linear chain from its genesis on, kept in `kv`, which should be empty.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// # Panics
    /// When there is no block.
    pub fn of_linear_chain(
        spec: ChainSpec,
        kv: &dyn Kv,
        chain: Vec<LinearBlock>,
        facts: EthereumFacts,
        models: Arc<ModelStore>,
    ) -> Result<Self, StorageFault> {
        let mut states = Vec::new();
        let mut head = None;
        for LinearBlock { mut block, transactions, state } in chain {
            let (txs, senders): (Vec<TxEnvelope>, Vec<Address>) = transactions.into_iter().unzip();
            let mut carrier = spec.genesis_block(block.hash(), B256::ZERO, B256::ZERO, B256::ZERO);
            carrier.header.slot = block.header.number;
            carrier.body.transactions = txs;
            let carrier = CheckedBlock::trusted(carrier, senders);
            block.dag_hash = carrier.hash();
            block.executed = vec![carrier.hash()];
            let places = carrier.block().body.transactions.iter().zip(carrier.senders()).enumerate();
            let included = |(index, (tx, sender)): (usize, (&TxEnvelope, &Address))| IncludedTx {
                carrier: carrier.hash(),
                index: index as u32,
                hash: *tx.hash(),
                sender: *sender,
            };
            block.transactions = places.map(included).collect();
            let mut batch = Batch::new();
            blocks::put_block(&mut batch, &carrier);
            blocks::put_status(&mut batch, &carrier.hash(), BlockStatus::Valid);
            blocks::put_executed(&mut batch, &block);
            blocks::index_canonical(&mut batch, &block);
            kv.write(batch)?;
            states.push(state);
            head = Some(block);
        }
        states.reverse();
        let head = Arc::new(head.expect("a chain has its genesis"));
        let kv = kv.snapshot();
        Ok(Self {
            spec: Arc::new(spec),
            blocks: BlockReader::new(kv.clone(), Arc::new(BlockCache::new())),
            kv,
            tips: vec![head.dag_hash],
            head,
            oldest: 0,
            states,
            history: None,
            models,
            finality: FinalityFacts {
                justified: Checkpoint::default(),
                safe: facts.safe,
                finalised: Checkpoint::default(),
                finalized: facts.finalized,
            },
            ethereum: Some(Arc::new(facts)),
        })
    }
}
