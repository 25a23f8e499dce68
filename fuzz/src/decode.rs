//! Decoders of what arrives from the network, from wallets and from our own disk.

use alloy_eips::eip2718::Encodable2718;
use alloy_rlp::{Decodable, Encodable};
use lattice_state::StateDiff;
use lattice_storage::artifact::Manifest;
use lattice_types::{
    Attestation, Certificate, ChainSpec, DagBlock, Evidence, EvmBlock, ReadinessCertificate, SignedVote,
    check_in_isolation, decode_transaction,
    tx::{self, AiKind, Inference, Lora, ModelDeploy, ModelUpdate, Training, TxAi},
};

/// EIP-2718 bytes: whatever decodes encodes to the same bytes again, and recovery never panics.
pub fn transaction(data: &[u8]) {
    if let Ok(tx) = decode_transaction(data) {
        assert_eq!(tx.encoded_2718(), data, "one transaction, one encoding");
        let _refused = tx::recover(tx, &ChainSpec::dev());
    }
}

/// Payloads of all five AI classes: the first byte chooses.
pub fn ai_payload(data: &[u8]) {
    let Some((class, payload)) = data.split_first() else { return };
    match class % 5 {
        0 => payload_of::<ModelDeploy>(payload),
        1 => payload_of::<ModelUpdate>(payload),
        2 => payload_of::<Inference>(payload),
        3 => payload_of::<Training>(payload),
        _ => payload_of::<Lora>(payload),
    }
}

fn payload_of<K: AiKind>(bytes: &[u8]) {
    let tx = TxAi::<K> { payload: bytes.to_vec().into(), ..TxAi::default() };
    if let Ok(payload) = tx.payload() {
        let again = TxAi::<K> { payload: TxAi::<K>::encode_payload(&payload), ..TxAi::default() };
        assert_eq!(again.payload().as_ref(), Ok(&payload), "a payload survives its encoding");
    }
}

/// A block from a peer: decoding, then every check in isolation.
pub fn dag_block(data: &[u8]) {
    let mut rest = data;
    if let Ok(block) = DagBlock::decode(&mut rest) {
        let used = &data[..data.len() - rest.len()];
        assert_eq!(alloy_rlp::encode(&block), used, "one block, one encoding");
        let _refused = check_in_isolation(block, &ChainSpec::dev(), None);
    }
}

/// What validators say beside blocks, and an executed block as it lies on disk: the first byte chooses.
pub fn message(data: &[u8]) {
    let Some((kind, message)) = data.split_first() else { return };
    match kind % 6 {
        0 => drop(one_encoding::<SignedVote>(message)),
        1 => drop(one_encoding::<Attestation>(message)),
        2 => drop(one_encoding::<Certificate>(message)),
        3 => drop(one_encoding::<ReadinessCertificate>(message)),
        4 => {
            if let Some(evidence) = one_encoding::<Evidence>(message) {
                let _refused = evidence.offence();
            }
        }
        _ => drop(one_encoding::<EvmBlock>(message)),
    }
}

/// Decodes a value that has exactly one encoding.
fn one_encoding<T: Decodable + Encodable>(data: &[u8]) -> Option<T> {
    let mut rest = data;
    let value = T::decode(&mut rest).ok()?;
    assert_eq!(alloy_rlp::encode(&value), data[..data.len() - rest.len()], "one value, one encoding");
    Some(value)
}

/// A layer's diff as it lies on disk.
pub fn state_diff(data: &[u8]) {
    if let Ok(diff) = StateDiff::decode(data) {
        assert_eq!(diff.encode(), data, "one diff, one encoding");
    }
}

/// An artifact's manifest.
pub fn artifact_manifest(data: &[u8]) {
    let _refused = Manifest::decode(data, 1 << 30);
}
