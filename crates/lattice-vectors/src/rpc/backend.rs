//! What our RPC layer reads: an imported chain.

use super::import::Chain;
use crate::json;
use lattice_chain::{
    ArtifactStore, Backend, EthereumFacts, HeadWatcher, LinearBlock, ModelStore, PoolIndex, SubmitReply, View,
};
use lattice_storage::MemoryKv;
use lattice_types::{ChainSpec, RecoveredTx, limits};
use serde_json::Value;
use std::sync::Arc;

/// Gas that a simulation may burn: geth's --rpc.gascap.
const CALL_GAS_MAX: u64 = 50_000_000;
/// EIP-1559.
const ELASTICITY: u64 = 2;

/// A chain that nothing extends.
pub(super) struct Linear {
    view: Arc<View>,
    pool: PoolIndex,
    artifacts: Arc<ArtifactStore>,
    /// There are no artifacts, but the store wants its folder.
    _folder: tempfile::TempDir,
}

impl Linear {
    /// `choice` is a fork choice with `safeBlockHash` and `finalizedBlockHash`; without one both are the head.
    pub(super) fn new(chain: Chain, choice: &Value) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| error.to_string();
        let folder = tempfile::tempdir().map_err(|error| fault(&error))?;
        let artifacts =
            ArtifactStore::open(folder.path(), limits::ARTIFACT_BYTES_MAX).map_err(|error| fault(&error))?;
        let artifacts = Arc::new(artifacts);
        let head = chain.blocks.len() as u64 - 1;
        let number = |field: &str| {
            let hash = json::hash(&choice[field]).ok();
            let found = chain.blocks.iter().find(|block: &&LinearBlock| Some(block.block.hash()) == hash);
            found.map_or(head, |block| block.block.header.number)
        };
        let facts = EthereumFacts {
            safe: number("safeBlockHash"),
            finalized: number("finalizedBlockHash"),
            receipt_roots: chain.receipt_roots,
            blob_gas: chain.blob_gas,
        };
        let spec = ChainSpec {
            chain_id: chain.chain_id,
            gas_limit: CALL_GAS_MAX,
            elasticity: ELASTICITY,
            alloc: Vec::new(),
            ..ChainSpec::dev()
        };
        let models = Arc::new(ModelStore::new(artifacts.clone()));
        let view = View::of_linear_chain(spec, &MemoryKv::new(), chain.blocks, facts, models);
        let view = Arc::new(view.map_err(|error| fault(&error))?);
        Ok(Self { view, pool: PoolIndex::default(), artifacts, _folder: folder })
    }
}

impl Backend for Linear {
    fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// There is no chain behind to admit it: what decodes and recovers is taken.
    fn submit(&self, tx: RecoveredTx, reply: SubmitReply) {
        reply(Ok(*tx.inner().hash()));
    }

    fn pool(&self) -> &PoolIndex {
        &self.pool
    }

    fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    fn client_version(&self) -> String {
        "Lattice/vectors".into()
    }

    fn heads(&self, _: HeadWatcher) {}
}
