//! Ethereum's operations on the same machine: what AI work is compared with.

use super::{Plan, Row, calling, lab::Lab, turn};
use crate::failure::Failure;
use alloy_primitives::{Address, hex};

/// A signature that recovers: hash, v, r, s.
const SIGNATURE: &str = "456e9aea5e197a1f1af7a3e85a3212fa4049a3ba34c2289b4c860fc0b0c64ef3\
    000000000000000000000000000000000000000000000000000000000000001c\
    9242685bf161793cc25603c231bc2f568eb630ea16aa137d2664ac8038825608\
    4f8ae3bd7535248d0bd448298cc2e2071e56992d0774dc340c368ae950852ada";
/// The generators of alt_bn128's groups (EIP-197).
const GENERATORS: &str = "0000000000000000000000000000000000000000000000000000000000000001\
    0000000000000000000000000000000000000000000000000000000000000002\
    198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2\
    1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed\
    090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b\
    12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa";

fn precompile(number: u8) -> Address {
    Address::with_last_byte(number)
}

/// Base, exponent and odd modulus of `len` bytes each (EIP-198).
fn modexp(len: u8) -> Vec<u8> {
    let mut input = vec![0; 96];
    [31, 63, 95].into_iter().for_each(|at| input[at] = len);
    input.extend((0..3 * usize::from(len)).map(|i| (i * 151 % 251) as u8 | 0x81));
    input
}

/// Blake2's compression, so many rounds (EIP-152).
fn blake2(rounds: u32) -> Vec<u8> {
    let mut input = vec![0x5a; 213];
    input[..4].copy_from_slice(&rounds.to_be_bytes());
    input[212] = 1;
    input
}

pub(super) fn rows(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let lab = Lab::new(Vec::new())?;
    let decode = |text: &str| hex::decode(text).map_err(|error| Failure::new(error.to_string()));
    let (signature, generators) = (decode(SIGNATURE)?, decode(GENERATORS)?);
    let scaled = [&generators[..64], &[0xfe; 32]].concat();
    let pair = &generators[..];
    let pairs = [pair, pair].concat();
    let inputs: [(&str, u8, Vec<u8>); 8] = [
        ("ecrecover", 1, signature),
        ("sha256 of 1 KiB", 2, vec![7; 1024]),
        ("modexp of 32 bytes", 5, modexp(32)),
        ("modexp of 200 bytes", 5, modexp(200)),
        ("bn128 addition", 6, generators[..64].repeat(2)),
        ("bn128 multiplication", 7, scaled),
        ("bn128 pairing of 2", 8, pairs),
        ("blake2f of 1000 rounds", 9, blake2(1000)),
    ];
    let opcodes: [(&str, &str, usize); 6] = [
        ("KECCAK256 of 32 bytes", "PUSH 32\nPUSH 0\nKECCAK256\nPOP", 32),
        ("KECCAK256 of 16 KiB", "PUSH 16384\nPUSH 0\nKECCAK256\nPOP", 16_384),
        ("MULMOD", "PUSH 0\nNOT\nDUP1\nDUP1\nMULMOD\nPOP", 0),
        ("EXP of 32 bytes", "PUSH 0\nNOT\nDUP1\nEXP\nPOP", 0),
        ("SLOAD, cold", "DUP1\nSLOAD\nPOP", 0),
        ("SSTORE, new, with its trie", "DUP1\nDUP1\nSSTORE", 0),
    ];
    let mut rows = Vec::new();
    for (name, body, bytes) in opcodes {
        rows.push(turn(plan, &lab, "reference", name, body, &vec![0x5a; bytes])?);
    }
    for (name, number, input) in inputs {
        rows.push(turn(plan, &lab, "reference", name, &calling(precompile(number), input.len()), &input)?);
    }
    Ok(rows)
}
