//! Readiness that is renewed each epoch, from attestations to blocks that other nodes execute.

use crate::committee::{changed, refused};
use crate::models::{ai_by, put_digits};
use crate::net::{Node, key, spec};
use alloy_primitives::{B256, Bytes};
use lattice_chain::{AttestationRefused, ChainError, Input, InvalidStanding, ModelStatus};
use lattice_storage::MemoryKv;
use lattice_types::{
    Attestation, Bitmap, ChainSpec, CheckedBlock, ReadinessCertificate,
    spec::DEV_CHAIN_ID,
    tx::{Inference, InferencePayload, ModelDeploy, ModelDeployPayload},
};
use std::sync::Arc;

const EPOCH_SLOTS: u64 = 30;

struct Net {
    nodes: Vec<Node>,
    model: ModelDeployPayload,
    nonce: u64,
}

impl Net {
    /// Two nodes, and the model registered in slot 1.
    fn new() -> Self {
        let spec = ChainSpec { readiness_renewed: true, epoch_slots: EPOCH_SLOTS, ..spec() };
        let node = |validator| Node::with(spec.clone(), Arc::new(MemoryKv::new()), validator);
        let nodes: Vec<Node> = (0..2).map(node).collect();
        let model = nodes.iter().map(put_digits).last().unwrap();
        let mut net = Self { nodes, model, nonce: 0 };
        net.nodes[0].submit(ai_by::<ModelDeploy>(0, 0, &net.model, 0)).unwrap();
        net.block(1);
        net
    }

    /// A block of node 0 in a slot, which node 1 follows.
    fn block(&mut self, slot: u64) -> CheckedBlock {
        let block = self.nodes[0].build(slot);
        self.nodes.iter_mut().for_each(|node| drop(node.give(&block).unwrap()));
        assert_eq!(self.nodes[0].head(), self.nodes[1].head());
        block
    }

    /// A run in a slot; whether it succeeded.
    fn run(&mut self, slot: u64) -> bool {
        let input = Bytes::from(vec![0; self.model.input_bytes as usize]);
        let payload = InferencePayload { model_id: self.model.model_id, grade: 0, input, terms: None };
        let tx = ai_by::<Inference>(1, self.nonce, &payload, 4_000_000);
        self.nonce += 1;
        self.nodes[0].submit(tx).unwrap();
        self.block(slot);
        self.nodes[0].chain.head().receipts[0].success
    }

    fn attest(&mut self, validators: std::ops::Range<u32>, epoch: u64) -> Result<(), ChainError> {
        let now = self.nodes[0].time(epoch * EPOCH_SLOTS);
        for validator in validators {
            let attestation = Attestation::sign(self.model.model_id, epoch, validator, &key(validator), DEV_CHAIN_ID);
            self.nodes[0].chain.handle(now, Input::Attestation(attestation.into()))?;
        }
        Ok(())
    }

    fn status(&self) -> Option<ModelStatus> {
        self.nodes[1].chain.view().unwrap().model(&self.model.model_id).map(|record| record.status)
    }
}

fn carried(block: &CheckedBlock) -> Vec<bool> {
    block.block().body.readiness.iter().map(|certificate| certificate.is_two_thirds).collect()
}

#[test]
fn a_model_begins_lasts_is_suspended_and_comes_back() {
    let mut net = Net::new();
    net.attest(0..2, 0).unwrap();
    assert_eq!(carried(&net.block(2)), [] as [bool; 0], "half of the stake does not activate");
    net.attest(2..3, 0).unwrap();
    assert_eq!(carried(&net.block(3)), [true]);
    assert_eq!(carried(&net.block(4)), [] as [bool; 0], "once");
    assert_eq!((net.status(), net.run(5)), (Some(ModelStatus::Pending), false));
    let refusal = net.attest(3..4, 0).unwrap_err();
    assert!(matches!(refusal, ChainError::Attestation(AttestationRefused::NotNeeded { epoch: 0, .. })), "{refusal}");

    assert!(net.run(30), "from the first block of the next epoch on");
    assert_eq!(net.status(), Some(ModelStatus::Active));
    net.attest(0..2, 1).unwrap();
    assert_eq!(carried(&net.block(31)), [false], "half of the stake is enough to go on");
    assert!(net.run(60));
    // In epoch 2 one validator of four still has it.
    net.attest(0..1, 2).unwrap();
    assert_eq!(carried(&net.block(61)), [] as [bool; 0]);
    assert!(!net.run(90), "suspended, on both nodes alike");
    net.attest(0..3, 3).unwrap();
    assert_eq!(carried(&net.block(91)), [true]);
    assert!(!net.run(92));
    assert!(net.run(120));
    net.nodes[1].reopen();
    assert_eq!(net.nodes[0].head(), net.nodes[1].head());
}

#[test]
fn each_wrong_readiness_certificate_is_named() {
    let mut net = Net::new();
    net.attest(0..3, 0).unwrap();
    let carrier = net.nodes[0].build(2);
    let mut refuse = |change: &dyn Fn(&mut ReadinessCertificate)| {
        let block = changed(&carrier, |block| change(&mut block.body.readiness[0]));
        refused(&mut net.nodes[1], &block)
    };
    let epoch = refuse(&|good| good.epoch = 1);
    assert!(matches!(epoch, InvalidStanding::ReadinessEpoch { found: 1, expected: 0, .. }), "{epoch}");
    let bitmap = refuse(&|good| good.signers = Bitmap::of(20, [0, 1, 2]));
    assert!(matches!(bitmap, InvalidStanding::ReadinessSigners { .. }), "{bitmap}");
    let two_thirds = refuse(&|good| good.signers = Bitmap::of(4, [0, 1]));
    assert!(matches!(two_thirds, InvalidStanding::ReadinessStake { is_two_thirds: true, .. }), "{two_thirds}");
    let half = refuse(&|good| (good.is_two_thirds, good.signers) = (false, Bitmap::of(4, [0])));
    assert!(matches!(half, InvalidStanding::ReadinessStake { is_two_thirds: false, .. }), "{half}");
    let signature = refuse(&|good| good.signers = Bitmap::of(4, [0, 1, 3]));
    assert!(matches!(signature, InvalidStanding::ReadinessSignature { .. }), "{signature}");
    let other = refuse(&|good| good.model_id = B256::repeat_byte(1));
    assert!(matches!(other, InvalidStanding::ReadinessSignature { .. }), "{other}");
    net.nodes[1].give(&carrier).unwrap();
}
