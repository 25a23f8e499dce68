// Ethereum's hashes computed independently of the node: block headers and Merkle Patricia proofs.

import { equal, ok } from "node:assert/strict";
import { tool } from "./tools.mjs";

const { concat, fromRlp, hexToBigInt, keccak256, numberToHex, toRlp } = tool("viem");

/** A quantity as RLP has it: no leading zeros, zero is empty. */
export const quantity = (value) => (hexToBigInt(value) === 0n ? "0x" : numberToHex(hexToBigInt(value)));

/** keccak256 of the RLP of a header, from the fields of eth_getBlockBy*. */
export function headerHash(block) {
  const fields = [
    block.parentHash,
    block.sha3Uncles,
    block.miner,
    block.stateRoot,
    block.transactionsRoot,
    block.receiptsRoot,
    block.logsBloom,
    quantity(block.difficulty),
    quantity(block.number),
    quantity(block.gasLimit),
    quantity(block.gasUsed),
    quantity(block.timestamp),
    block.extraData,
    block.mixHash,
    block.nonce,
  ];
  // Later forks append; a field that is absent ends the list.
  const appended = ["baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash"];
  const quantities = ["baseFeePerGas", "blobGasUsed", "excessBlobGas"];
  for (const name of appended) {
    if (block[name] === undefined || block[name] === null) break;
    fields.push(quantities.includes(name) ? quantity(block[name]) : block[name]);
  }
  return keccak256(toRlp(fields));
}

/** The value that a proof shows at `key` below `root`, or null where it shows that there is none. */
export function provenValue(root, key, proof) {
  if (proof.length === 0) {
    equal(root, keccak256("0x80"), "only the empty trie has an empty proof");
    return null;
  }
  let path = keccak256(key).slice(2);
  let expected = root;
  let inlined = null;
  for (let place = 0; ; ) {
    let node = inlined;
    if (node === null) {
      ok(place < proof.length, "the proof ends before its value");
      equal(keccak256(proof[place]), expected, `node ${place} of the proof hashes to its parent's link`);
      node = fromRlp(proof[place]);
      place += 1;
    }
    let next;
    if (node.length === 17) {
      if (path === "") return node[16] === "0x" ? null : node[16];
      next = node[Number.parseInt(path[0], 16)];
      path = path.slice(1);
    } else {
      const [nibbles, isLeaf] = compactPath(node[0]);
      if (!path.startsWith(nibbles) || (isLeaf && path !== nibbles)) return null;
      if (isLeaf) return node[1];
      path = path.slice(nibbles.length);
      next = node[1];
    }
    if (next === "0x") return null;
    inlined = Array.isArray(next) ? next : null;
    expected = next;
  }
}

/** Nibbles of a hex-prefix encoded path, and whether it ends in a leaf. */
function compactPath(encoded) {
  const flag = Number.parseInt(encoded[2], 16);
  const isOdd = flag % 2 === 1;
  return [encoded.slice(isOdd ? 3 : 4), flag >= 2];
}

/** Checks every claim of an eth_getProof answer against a state root. */
export function verifyAccountProof(stateRoot, proof) {
  const account = provenValue(stateRoot, proof.address, proof.accountProof);
  const claimed = toRlp([quantity(proof.nonce), quantity(proof.balance), proof.storageHash, proof.codeHash]);
  if (account === null) {
    equal(hexToBigInt(proof.nonce), 0n, "nonce of an account that is not there");
    equal(hexToBigInt(proof.balance), 0n, "balance of an account that is not there");
  } else {
    equal(account, claimed, "the account as proven");
  }
  for (const { key, value, proof: nodes } of proof.storageProof) {
    const slot = numberToHex(hexToBigInt(key), { size: 32 });
    const proven = provenValue(proof.storageHash, slot, nodes);
    equal(proven === null ? 0n : hexToBigInt(fromRlp(proven)), hexToBigInt(value), `slot ${key} as proven`);
  }
  return account !== null;
}

/** Type byte and RLP of fields: the payload of a typed transaction, signed or not. */
export const typedPayload = (type, fields) => concat([numberToHex(type, { size: 1 }), toRlp(fields)]);
