#!/usr/bin/env node
// The committed contracts, deployed and called: the library's arithmetic against JavaScript's floats, its answers for
// a model that is not there, and the test token's rules.
//
//   node contracts.mjs --url=http://127.0.0.1:8545 [--seed=N]

import { equal, match, ok, rejects } from "node:assert/strict";
import { Checks, option, seededRandom } from "./checks.mjs";
import { rpc } from "./rpc.mjs";
import { artifact, devAccount, tool } from "./tools.mjs";

const viem = tool("viem");
const url = option("url", "http://127.0.0.1:8545");
const chain = tool("viem/chains").foundry;
const owner = devAccount(2);
const reader = viem.createPublicClient({ chain, transport: viem.http(url), pollingInterval: 20 });
const writer = viem.createWalletClient({ chain, account: owner, transport: viem.http(url) });
const checks = new Checks();
const check = checks.check.bind(checks);
const random = seededRandom();
const isLattice = /lattice/i.test(await rpc(url, "web3_clientVersion"));

async function deployed(name, args = []) {
  const { abi, bytecode } = artifact(name);
  const hash = await writer.deployContract({ abi, bytecode, args });
  const { contractAddress } = await reader.waitForTransactionReceipt({ hash });
  return { address: contractAddress, abi };
}

// --- LatticeModels ----------------------------------------------------------------------------------------------

const harness = await check("the library's harness is deployed", () => deployed("LatticeModelsHarness"));
const ask = (functionName, ...args) => reader.readContract({ ...harness, functionName, args });

/** Little-endian bytes of 32-bit words. */
function bytesOf(words) {
  const buffer = Buffer.alloc(4 * words.length);
  words.forEach((word, index) => buffer.writeUInt32LE(word >>> 0, 4 * index));
  return `0x${buffer.toString("hex")}`;
}

const floatOf = (word) => new Float32Array(new Uint32Array([word]).buffer)[0];

/** Place of the first greatest, NaNs left out: what the library promises, on real floats. */
function argmax(words) {
  let best = -1;
  words.forEach((word, index) => {
    const value = floatOf(word);
    if (!Number.isNaN(value) && (best === -1 || value > floatOf(words[best]))) best = index;
  });
  return best === -1 ? 0 : best;
}

const special = [0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 1, 0x80000001, 0x7f7fffff, 0xff7fffff];

await check("argmaxF32 is right on every pair of special values", async () => {
  for (const a of special) {
    for (const b of special) equal(Number(await ask("argmaxF32", bytesOf([a, b]))), argmax([a, b]), `${a} ${b}`);
  }
});
await check("argmaxF32 is right on random bits, short and long", async () => {
  for (let round = 0; round < 60; round += 1) {
    const words = Array.from({ length: 1 + Math.floor(random() * 300) }, () =>
      random() < 0.1 ? special[Math.floor(random() * special.length)] : Math.floor(random() * 2 ** 32),
    );
    equal(Number(await ask("argmaxF32", bytesOf(words))), argmax(words), `round ${round}`);
  }
});
await check("argmaxF32 takes the first of equals and ignores a torn last element", async () => {
  equal(await ask("argmaxF32", bytesOf([0x3f800000, 0x40000000, 0x40000000])), 1n);
  equal(await ask("argmaxF32", `${bytesOf([0x3f800000])}ffff7f`), 0n);
  equal(await ask("argmaxF32", "0x"), 0n);
});
await check("word reads little-endian elements and refuses what lies beyond", async () => {
  const data = bytesOf([0x01020304, 0xfffefdfc]);
  equal(await ask("word", data, 0n), 0x01020304);
  equal(await ask("word", data, 1n), 0xfffefdfc);
  for (const index of [2n, 2n ** 255n]) await rejects(ask("word", data, index), /OutOfBounds/);
  await rejects(ask("word", "0x010203", 0n), /OutOfBounds/);
});
await check("a model that is not there reverts, in load and in exec", async () => {
  const nobody = `0x${"5e".repeat(32)}`;
  const reason = isLattice ? /revert/i : /NoModelEngine/;
  await rejects(ask("exec", nobody, "0x00"), reason);
  await rejects(ask("load", nobody), reason);
});

// --- TestToken --------------------------------------------------------------------------------------------------

const supply = 10n ** 24n;
const token = await check("a token is deployed and its supply is the deployer's", async () => {
  const contract = await deployed("TestToken", [supply]);
  equal(await reader.readContract({ ...contract, functionName: "balanceOf", args: [owner.address] }), supply);
  return contract;
});
const read = (functionName, ...args) => reader.readContract({ ...token, functionName, args });
const write = async (functionName, ...args) =>
  reader.waitForTransactionReceipt({ hash: await writer.writeContract({ ...token, functionName, args }) });

await check("a transfer moves the amount and logs it", async () => {
  const to = devAccount(3).address;
  const before = await read("balanceOf", to);
  const receipt = await write("transfer", to, 5n);
  equal(receipt.status, "success");
  equal(await read("balanceOf", to), before + 5n);
  const [event] = viem.parseEventLogs({ abi: token.abi, logs: receipt.logs });
  equal(event.eventName, "Transfer");
  equal(event.args.value, 5n);
});
await check("an allowance is spent and then used up", async () => {
  const spender = devAccount(4);
  await write("approve", spender.address, 10n);
  const spending = viem.createWalletClient({ chain, account: spender, transport: viem.http(url) });
  const spend = { ...token, functionName: "transferFrom", args: [owner.address, spender.address, 7n] };
  const receipt = await reader.waitForTransactionReceipt({ hash: await spending.writeContract(spend) });
  equal(receipt.status, "success");
  equal(await read("allowance", owner.address, spender.address), 3n);
  await rejects(reader.simulateContract({ ...spend, account: spender }), /InsufficientAllowance/);
});
await check("more than the balance is refused with the reason", async () => {
  const request = { ...token, functionName: "transfer", args: [owner.address, supply], account: devAccount(5) };
  await rejects(reader.simulateContract(request), (error) => {
    match(error.message, /InsufficientBalance/);
    ok(error.message.includes(String(supply)));
    return true;
  });
});
await check("a transaction that reverts has a receipt that says so, and changes nothing", async () => {
  const before = await read("balanceOf", owner.address);
  const request = { ...token, functionName: "transfer", args: [owner.address, supply * 2n], gas: 100_000n };
  const receipt = await reader.waitForTransactionReceipt({ hash: await writer.writeContract(request) });
  equal(receipt.status, "reverted");
  equal(receipt.logs.length, 0);
  equal(await read("balanceOf", owner.address), before);
});

checks.finish();
