//! Merkle proofs as `eth_getProof` gives them (EIP-1186).

use alloy_primitives::Bytes;

use super::key::Key;
use super::node::Kind;
use super::{Trie, TrieValue};

impl<V: TrieValue> Trie<V> {
    /// The RLP of the nodes from the root towards `key`, root first: it proves the value when the key is present, and
    /// its absence otherwise. Nodes under 32 bytes are embedded in their parent and are not listed, but for the root.
    /// Empty for an empty trie.
    pub fn proof(&self, key: &[u8]) -> Vec<Bytes> {
        let key = Key::new(key);
        let mut proof = Vec::new();
        let mut scratch = Vec::new();
        let mut next = self.root.as_ref();
        let mut depth = 0;
        while let Some(node) = next {
            let (extension, rlp) = node.rlp(depth, &mut scratch);
            let mut list = |rlp: Vec<u8>| {
                if rlp.len() >= 32 || proof.is_empty() {
                    proof.push(Bytes::from(rlp));
                }
            };
            if let Some(extension) = extension {
                list(extension);
            }
            next = match &node.kind {
                Kind::Leaf { .. } => {
                    list(rlp);
                    None
                }
                // The extension alone shows that the key leaves the path above the branch.
                Kind::Branch(branch) if !key.starts_with(&branch.prefix) => None,
                Kind::Branch(branch) => {
                    list(rlp);
                    depth = branch.prefix.len() + 1;
                    if key.len() < depth { None } else { branch.child(key.at(depth - 1)) }
                }
            };
        }
        proof
    }
}
