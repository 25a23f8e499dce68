//! Stake that moves: transactions to the staking account, all from one owner.

use crate::{load::ADVERSARY_ACCOUNT, message::Message, plan::StakeMove, signer::secret_key, world::World};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use lattice_types::{bls::Domain, recover, spec::DEV_ACCOUNTS, system, tx::TxSigner};
use std::sync::Arc;

/// Who owns the stake that moves.
pub const OWNER: Address = DEV_ACCOUNTS[ADVERSARY_ACCOUNT].0;
const WEI_PER_LAT: u128 = lattice_execution::staking::WEI_PER_LAT;

/// A call by Solidity's ABI: static words, then the tails of what is dynamic.
fn call(signature: &str, words: &[U256], tails: &[&[u8]]) -> Bytes {
    let mut out = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| out.extend(word.to_be_bytes::<32>()));
    for tail in tails {
        out.extend(U256::from(tail.len()).to_be_bytes::<32>());
        out.extend(*tail);
        out.resize(out.len() + (32 - tail.len() % 32) % 32, 0);
    }
    out.into()
}

impl World {
    /// The owner sends the transaction of a move to everybody.
    pub(crate) fn move_stake(&mut self, step: StakeMove) {
        let wei = |lat: u64| U256::from(lat) * U256::from(WEI_PER_LAT);
        let (value, input) = match step {
            StakeMove::Add(index, lat) => (wei(lat), call("addStake(uint32)", &[U256::from(index)], &[])),
            StakeMove::Take(index, lat) => {
                (U256::ZERO, call("unstake(uint32,uint256)", &[U256::from(index), wei(lat)], &[]))
            }
            StakeMove::Register(index, lat) => {
                let key = secret_key(index);
                let possession = key.sign(Domain::Possession, self.plan.spec.chain_id, OWNER.as_slice());
                let (key, possession) = (key.public_key(), possession);
                // The key's 48 bytes take two words behind their length.
                let words = [U256::from(0x60), U256::from(0xc0), U256::from_be_bytes(OWNER.into_word().0)];
                let tails = [key.as_slice(), possession.as_slice()];
                (wei(lat), call("register(bytes,bytes,address)", &words, &tails))
            }
        };
        self.checks.expect_member(step, &self.plan.spec);
        let tx = TxEip1559 {
            chain_id: self.plan.spec.chain_id,
            nonce: self.load.owner_nonce,
            gas_limit: 1_000_000,
            max_fee_per_gas: 100_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(system::STAKING),
            value,
            access_list: Default::default(),
            input,
        };
        self.load.owner_nonce += 1;
        let signer = TxSigner::new(DEV_ACCOUNTS[ADVERSARY_ACCOUNT].1).expect("the development keys are keys");
        let tx = recover(signer.sign(tx).into(), &self.plan.spec).expect("a signed call is well formed");
        let message = Message::Transaction(Arc::new(tx));
        let Some(node) = self.any_honest() else { return };
        self.receive(node, node, message.clone());
        self.publish(node, &message, |_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_laid_out_as_solidity_does() {
        let found = call(
            "register(bytes,bytes,address)",
            &[U256::from(0x60), U256::from(0xc0), U256::from(7)],
            &[&[1; 48], &[2; 96]],
        );
        assert_eq!(found[..4], alloy_primitives::hex!("703a60cd"));
        let data = &found[4..];
        assert_eq!(data.len(), 3 * 32 + (32 + 64) + (32 + 96));
        assert_eq!((data[0x60 + 31], data[0xc0 + 31]), (48, 96), "each offset leads to its length");
        assert_eq!(data[0x60 + 32..][..48], [1; 48]);
        assert_eq!(data[0xc0 + 32..], [2; 96]);
    }
}
