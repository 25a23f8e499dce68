#!/usr/bin/env node
// The Ethereum side of a dev chain through raw JSON-RPC and viem.
//
//   node viem_smoke.mjs --url=http://127.0.0.1:8545
//
// Expects the ten accounts of the well-known mnemonic to be funded on chain 31337. Leaves transactions behind.

import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { Checks, option } from "./checks.mjs";
import { post, receiptOf, rpc, rpcError } from "./rpc.mjs";
import { artifact, devAccount, tool } from "./tools.mjs";
import { headerHash, quantity, typedPayload, verifyAccountProof } from "./trie.mjs";

const viem = tool("viem");
const { generatePrivateKey, privateKeyToAccount, sign } = tool("viem/accounts");
const { concat, encodeFunctionData, hexToBigInt, hexToNumber, keccak256, numberToHex, parseEther, parseGwei } = viem;

const url = option("url", "http://127.0.0.1:8545");
const chain = { ...tool("viem/chains").foundry, rpcUrls: { default: { http: [url] } } };
const checks = new Checks();
const check = checks.check.bind(checks);
const call = (method, ...params) => rpc(url, method, params);
const hash32 = /^0x[0-9a-f]{64}$/;
const hexQuantity = /^0x(0|[1-9a-f][0-9a-f]*)$/;

const [alice, bob] = [devAccount(0), devAccount(1)];
const newAccount = () => privateKeyToAccount(generatePrivateKey());
const counter = artifact("Counter");
const nonceOf = async (address) => hexToNumber(await call("eth_getTransactionCount", address, "latest"));

/** Fields that any valid transaction of Alice has now. */
async function fields(more) {
  const fee = hexToBigInt(await call("eth_gasPrice"));
  return { chainId: chain.id, nonce: await nonceOf(alice.address), to: bob.address, gas: 21_000n, ...feesOf(fee, more.type), ...more };
}

const feesOf = (gasPrice, type) =>
  type === "legacy" || type === "eip2930"
    ? { gasPrice: 2n * gasPrice }
    : { maxFeePerGas: 2n * gasPrice, maxPriorityFeePerGas: 1n };

/** Signs, sends and waits for the receipt. */
async function mined(transaction) {
  const raw = await alice.signTransaction(transaction);
  const hash = await call("eth_sendRawTransaction", raw);
  equal(hash, keccak256(raw), "the hash that the node returns");
  const receipt = await receiptOf(url, hash);
  equal(receipt.status, "0x1", "status");
  return receipt;
}

// --- plain JSON-RPC ---------------------------------------------------------------------------------------------

await check("eth_chainId and net_version name the dev chain", async () => {
  equal(await call("eth_chainId"), "0x7a69");
  equal(await call("net_version"), "31337");
});
await check("web3_clientVersion says who answers", async () => match(await call("web3_clientVersion"), /\w+\/.+/));
await check("the ten dev accounts are funded", async () => {
  for (let index = 0; index < 10; index += 1) {
    ok(hexToBigInt(await call("eth_getBalance", devAccount(index).address, "latest")) > parseEther("100"));
  }
});
await check("gas prices are quantities", async () => {
  match(await call("eth_gasPrice"), hexQuantity);
  match(await call("eth_maxPriorityFeePerGas"), hexQuantity);
});

await check("an unknown method is -32601", () => rpcError(url, "eth_noSuchMethod", [], { code: -32601 }));
await check("an unknown namespace is -32601", () => rpcError(url, "nobody_home", [], { code: -32601 }));
for (const [method, params] of [
  ["eth_getBalance", []],
  ["eth_getTransactionCount", []],
  ["eth_getCode", []],
  ["eth_getStorageAt", []],
  ["eth_getProof", []],
  ["eth_call", []],
  ["eth_estimateGas", []],
  ["eth_sendRawTransaction", []],
  ["eth_getTransactionByHash", []],
  ["eth_getTransactionReceipt", []],
  ["eth_getBlockByNumber", []],
  ["eth_getBlockByHash", []],
  ["eth_feeHistory", []],
  ["eth_getLogs", []],
]) {
  await check(`${method} without parameters is -32602`, () => rpcError(url, method, params, { code: -32602 }));
}
for (const [what, method, params] of [
  ["an address that is too short", "eth_getBalance", ["0x1234", "latest"]],
  ["an address that is no hex", "eth_getBalance", [`0x${"zz".repeat(20)}`, "latest"]],
  ["a tag that nobody knows", "eth_getBalance", [alice.address, "tomorrow"]],
  ["a hash that is too short", "eth_getTransactionByHash", ["0x12"]],
  ["an object for a hash", "eth_getBlockByHash", [{}, false]],
  ["a transaction that is no hex", "eth_sendRawTransaction", ["hello"]],
]) {
  await check(`${what} is -32602`, () => rpcError(url, method, params, { code: -32602 }));
}
await check("text that is no JSON is -32700", async () => {
  const { status, answer } = await post(url, "{ this is not json");
  equal(status, 200);
  equal(answer.error.code, -32700);
});
await check("JSON that is no request is -32600", async () => {
  const { status, answer } = await post(url, '{"jsonrpc":"2.0","id":1}');
  equal(status, 200);
  equal(answer.error.code, -32600);
});
await check("a batch keeps ids, order and errors apart", async () => {
  const batch = [
    { jsonrpc: "2.0", id: "a", method: "eth_chainId", params: [] },
    { jsonrpc: "2.0", id: 2, method: "eth_noSuchMethod", params: [] },
    { jsonrpc: "2.0", id: 3, method: "eth_blockNumber" },
  ];
  const { status, answer } = await post(url, JSON.stringify(batch));
  equal(status, 200);
  deepEqual(answer.map((one) => one.id), ["a", 2, 3]);
  equal(answer[0].result, "0x7a69");
  equal(answer[1].error.code, -32601);
  match(answer[2].result, hexQuantity);
});

// --- blocks -----------------------------------------------------------------------------------------------------

await check("every tag names a block and a state", async () => {
  // A node keeps old states for a window of blocks, but every block.
  const isYoung = hexToNumber(await call("eth_blockNumber")) < 200;
  for (const tag of ["latest", "pending", "safe", "finalized", "earliest", "0x0"]) {
    ok((await call("eth_getBlockByNumber", tag, false)) !== null, `block ${tag}`);
    const isOld = tag === "earliest" || tag === "0x0";
    if (isYoung || !isOld) match(await call("eth_getBalance", alice.address, tag), hexQuantity, `balance at ${tag}`);
  }
  equal((await call("eth_getBlockByNumber", "earliest", false)).number, "0x0");
});
await check("a block that is not there is null, its state an error", async () => {
  equal(await call("eth_getBlockByNumber", "0xffffffff", false), null);
  equal(await call("eth_getBlockByHash", `0x${"12".repeat(32)}`, false), null);
  equal(await call("eth_getTransactionByHash", `0x${"12".repeat(32)}`), null);
  equal(await call("eth_getTransactionReceipt", `0x${"12".repeat(32)}`), null);
  await rpcError(url, "eth_getBalance", [alice.address, "0xffffffff"]);
});

// --- transactions of each type ------------------------------------------------------------------------------------

const accessList = [{ address: bob.address, storageKeys: [`0x${"00".repeat(31)}01`] }];
const transfers = [
  ["legacy", "0x0", { type: "legacy" }],
  ["eip2930", "0x1", { type: "eip2930", accessList, gas: 40_000n }],
  ["eip1559", "0x2", { type: "eip1559" }],
];
for (const [name, type, more] of transfers) {
  await check(`a transfer of type ${name} pays and is told exactly`, async () => {
    const to = newAccount().address;
    const receipt = await mined(await fields({ ...more, to, value: 12_345n }));
    equal(receipt.type, type);
    equal(receipt.from, alice.address.toLowerCase());
    equal(receipt.to, to.toLowerCase());
    equal(receipt.contractAddress ?? null, null);
    equal(hexToBigInt(receipt.gasUsed), type === "0x1" ? 25_300n : 21_000n, "gas used");
    equal(await call("eth_getBalance", to, "latest"), numberToHex(12_345n));
    const transaction = await call("eth_getTransactionByHash", receipt.transactionHash);
    equal(transaction.type, type);
    equal(transaction.blockHash, receipt.blockHash);
    equal(transaction.transactionIndex, receipt.transactionIndex);
    equal(hexToBigInt(transaction.value), 12_345n);
    equal(transaction.chainId, "0x7a69");
    const block = await call("eth_getBlockByHash", receipt.blockHash, true);
    deepEqual(block.transactions[hexToNumber(receipt.transactionIndex)].hash, receipt.transactionHash);
    const price = hexToBigInt(receipt.effectiveGasPrice);
    ok(price >= hexToBigInt(block.baseFeePerGas), "the price is at least the base fee");
    const before = numberToHex(hexToNumber(block.number) - 1);
    equal(await call("eth_getBalance", to, before), "0x0", "the state before the block is still there");
  });
}

/** Deploys the counter and returns its address. */
const counterAddress = await check("a contract is deployed and has its code", async () => {
  const receipt = await mined(await fields({ type: "eip1559", to: null, data: counter.bytecode, gas: 500_000n }));
  match(receipt.contractAddress, /^0x[0-9a-f]{40}$/);
  equal(await call("eth_getCode", receipt.contractAddress, "latest"), counter.deployedBytecode);
  return receipt.contractAddress;
});
const encode = (functionName, args = []) => encodeFunctionData({ abi: counter.abi, functionName, args });

await check("a contract call writes storage and logs", async () => {
  const data = encode("setNumber", [41n]);
  const set = await mined(await fields({ type: "eip1559", to: counterAddress, data, gas: 100_000n }));
  equal(set.logs.length, 1);
  equal(set.logs[0].address, counterAddress);
  equal(set.logs[0].logIndex, "0x0");
  equal(hexToBigInt(await call("eth_getStorageAt", counterAddress, "0x0", "latest")), 41n);
  const result = await call("eth_call", { to: counterAddress, data: encode("number") }, "latest");
  equal(hexToBigInt(result), 41n);
});
await check("eth_call sees the sender's increment without keeping it", async () => {
  const request = { from: alice.address, to: counterAddress, data: encode("increment") };
  equal(hexToBigInt(await call("eth_call", request, "latest")), 42n);
  equal(hexToBigInt(await call("eth_getStorageAt", counterAddress, "0x0", "latest")), 41n);
});
await check("estimateGas is what the receipt then shows", async () => {
  const request = { from: alice.address, to: counterAddress, data: encode("increment") };
  const estimate = hexToBigInt(await call("eth_estimateGas", request));
  const receipt = await mined(await fields({ type: "eip1559", to: counterAddress, data: request.data, gas: estimate }));
  ok(hexToBigInt(receipt.gasUsed) <= estimate && estimate < 2n * hexToBigInt(receipt.gasUsed));
  equal(hexToBigInt(await call("eth_estimateGas", { from: alice.address, to: bob.address, value: "0x1" })), 21_000n);
});
await check("the quoted gas price is enough for a call and an estimate at once", async () => {
  // The base fee falls after these near-empty blocks; legacy senders use the quote against the latest block.
  const gasPrice = await call("eth_gasPrice");
  const request = { from: alice.address, to: bob.address, value: "0x1", gasPrice };
  equal(await call("eth_call", request, "latest"), "0x");
  equal(hexToBigInt(await call("eth_estimateGas", request)), 21_000n);
});
await check("a revert is code 3 with the revert's data, in call and in estimate", async () => {
  // The runtime of a contract that reverts with the single byte 0x2a.
  const reverting = "0x602a60005360016000fd";
  for (const method of ["eth_call", "eth_estimateGas"]) {
    const error = await rpcError(url, method, [{ from: alice.address, data: reverting }, "latest"], { code: 3 });
    equal(error.data, "0x2a");
  }
});
await check("logs are found by range, by block hash and by topic", async () => {
  const filter = { address: counterAddress, fromBlock: "earliest", toBlock: "latest" };
  const logs = await call("eth_getLogs", filter);
  ok(logs.length >= 2);
  const byHash = await call("eth_getLogs", { blockHash: logs[0].blockHash, address: counterAddress });
  deepEqual(byHash[0], logs[0]);
  const topics = [logs[0].topics[0], [`0x${"0".repeat(24)}${alice.address.slice(2).toLowerCase()}`]];
  deepEqual(await call("eth_getLogs", { ...filter, topics }), logs);
  deepEqual(await call("eth_getLogs", { ...filter, topics: [`0x${"ab".repeat(32)}`] }), []);
});
await check("an EIP-7702 transaction gives an account code", async () => {
  const account = newAccount();
  const authorization = await account.signAuthorization({ contractAddress: counterAddress, chainId: chain.id, nonce: 0 });
  const transaction = { type: "eip7702", to: account.address, data: encode("setNumber", [7n]), gas: 200_000n };
  const receipt = await mined(await fields({ ...transaction, authorizationList: [authorization] }));
  equal(receipt.type, "0x4");
  equal(await call("eth_getCode", account.address, "latest"), concat(["0xef0100", counterAddress]));
  equal(hexToBigInt(await call("eth_getStorageAt", account.address, "0x0", "latest")), 7n);
});

await check("headers hash to their hash and name their parent, down to the genesis", async () => {
  let block = await call("eth_getBlockByNumber", "latest", false);
  for (let depth = 0; depth < 64; depth += 1) {
    equal(headerHash(block), block.hash, `block ${block.number}`);
    if (block.number === "0x0") return;
    const parent = await call("eth_getBlockByNumber", numberToHex(hexToNumber(block.number) - 1), false);
    equal(block.parentHash, parent.hash);
    block = parent;
  }
});
await check("getProof proves an account, a slot and an absence against the state root", async () => {
  const block = await call("eth_getBlockByNumber", "latest", false);
  const proofOf = (address, slots) => call("eth_getProof", address, slots, block.number);
  equal(verifyAccountProof(block.stateRoot, await proofOf(alice.address, [])), true);
  const contract = await proofOf(counterAddress, [`0x${"00".repeat(32)}`, `0x${"00".repeat(31)}05`]);
  equal(verifyAccountProof(block.stateRoot, contract), true);
  notEqual(contract.storageProof[0].value, "0x0");
  equal(contract.storageProof[1].value, "0x0");
  equal(contract.codeHash, keccak256(counter.deployedBytecode));
  equal(verifyAccountProof(block.stateRoot, await proofOf(newAccount().address, [])), false);
});
await check("feeHistory gives one base fee more than blocks", async () => {
  const history = await call("eth_feeHistory", "0x4", "latest", [25, 75]);
  const blocks = history.gasUsedRatio.length;
  ok(blocks >= 1 && blocks <= 4);
  equal(history.baseFeePerGas.length, blocks + 1);
  equal(history.reward.length, blocks);
  ok(history.reward.every((row) => row.length === 2));
});

// --- what must be refused -----------------------------------------------------------------------------------------

/** Checks that raw bytes are refused and that Alice's nonce stays. */
async function refused(raw, message) {
  const nonce = await nonceOf(alice.address);
  const error = await rpcError(url, "eth_sendRawTransaction", [raw]);
  if (message !== undefined) match(error.message, message);
  equal(await nonceOf(alice.address), nonce, "the sender's nonce");
}
const signed = async (more) => alice.signTransaction(await fields({ type: "eip1559", value: 1n, ...more }));

await check("a wrong chain id is refused", async () => refused(await signed({ chainId: 1 }), /chain/i));
await check("malformed RLP is refused", async () => {
  const raw = await signed({});
  for (const bad of ["0x", "0x02", "0x02c0", raw.slice(0, -2), `${raw}00`, "0xf8ff", `0x${"ff".repeat(64)}`]) {
    await refused(bad);
  }
});
await check("an unknown type is refused", async () => refused(`0x7f${(await signed({})).slice(4)}`));
await check("a bad signature is refused", async () => {
  const transaction = await fields({ type: "eip1559", value: 1n });
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const good = await alice.signTransaction(transaction);
  const parsed = viem.parseTransaction(good);
  const rebuilt = (signature) => viem.serializeTransaction(transaction, signature);
  equal(rebuilt({ r: parsed.r, s: parsed.s, yParity: parsed.yParity }), good, "the test rebuilds the good one");
  const high = numberToHex(order - hexToBigInt(parsed.s), { size: 32 });
  await refused(rebuilt({ r: parsed.r, s: high, yParity: 1 - parsed.yParity }));
  await refused(rebuilt({ r: numberToHex(order, { size: 32 }), s: parsed.s, yParity: parsed.yParity }));
});
await check("a blob transaction is refused by name", async () => {
  const transaction = await fields({ type: "eip1559" });
  const payload = [
    numberToHex(chain.id), quantity(numberToHex(transaction.nonce)), "0x01", numberToHex(transaction.maxFeePerGas),
    "0x5208", bob.address, "0x", "0x", [], "0x01", [`0x01${"00".repeat(31)}`],
  ];
  const { r, s, yParity } = await sign({ hash: keccak256(typedPayload(3, payload)), privateKey: aliceKey() });
  await refused(typedPayload(3, [...payload, yParity ? "0x01" : "0x", quantity(r), quantity(s)]), /blob|4844|type/i);
});
if (/lattice/i.test(await call("web3_clientVersion"))) {
  for (const [name, type] of [["ModelUpdate", 0x51], ["Training", 0x53], ["LoRA", 0x54]]) {
    await check(`a transaction of type ${name} is refused while it is not enabled`, async () => {
      const { nonce, maxFeePerGas } = await fields({ type: "eip1559" });
      const aiGas = "0x";
      const payload = [
        numberToHex(chain.id), quantity(numberToHex(nonce)), "0x01", numberToHex(maxFeePerGas), "0x0186a0", aiGas, "0x", [], "0xc0",
      ];
      const { r, s, yParity } = await sign({ hash: keccak256(typedPayload(type, payload)), privateKey: aliceKey() });
      await refused(typedPayload(type, [...payload, yParity ? "0x01" : "0x", quantity(r), quantity(s)]));
    });
  }
}
await check("a nonce that is used up is refused", async () => {
  await refused(await signed({ nonce: 0 }), /nonce/i);
});
await check("a sender without funds is refused", async () => {
  const transaction = await fields({ type: "eip1559", nonce: 0, value: 1n });
  await refused(await newAccount().signTransaction(transaction), /fund|balance/i);
});
await check("gas below the intrinsic cost is refused", async () => refused(await signed({ gas: 20_999n }), /gas/i));
await check("gas above the cap of one transaction is refused", async () => refused(await signed({ gas: 2n ** 40n }), /gas/i));
await check("a tip above the fee cap is refused", async () => {
  // viem refuses to sign this, so the fields are signed by hand.
  const { nonce, maxFeePerGas } = await fields({ type: "eip1559" });
  const tip = numberToHex(maxFeePerGas + 1n);
  const payload = [numberToHex(chain.id), quantity(numberToHex(nonce)), tip, numberToHex(maxFeePerGas), "0x5208", bob.address, "0x01", "0x", []];
  const { r, s, yParity } = await sign({ hash: keccak256(typedPayload(2, payload)), privateKey: aliceKey() });
  await refused(typedPayload(2, [...payload, yParity ? "0x01" : "0x", quantity(r), quantity(s)]));
});
await check("oversized call data is refused", async () => {
  await refused(await signed({ data: `0x${"01".repeat(600 * 1024)}`, gas: 16_000_000n }));
});
await check("the same transaction twice is one transaction", async () => {
  const raw = await signed({});
  const hash = await call("eth_sendRawTransaction", raw);
  await receiptOf(url, hash);
  await refused(raw, /nonce|known/i);
});

function aliceKey() {
  return viem.toHex(alice.getHdKey().privateKey);
}

// --- viem as an application uses it ---------------------------------------------------------------------------------

const reader = viem.createPublicClient({ chain, transport: viem.http(url), pollingInterval: 20 });
const writer = viem.createWalletClient({ chain, account: bob, transport: viem.http(url) });

await check("viem reads blocks, balances and fees", async () => {
  equal(await reader.getChainId(), chain.id);
  ok((await reader.getBlockNumber({ cacheTime: 0 })) > 0n);
  ok((await reader.getBalance({ address: alice.address })) > 0n);
  for (const blockTag of ["latest", "safe", "finalized", "pending", "earliest"]) {
    equal(typeof (await reader.getBlock({ blockTag })).timestamp, "bigint");
  }
  const fees = await reader.estimateFeesPerGas();
  ok(fees.maxFeePerGas > 0n);
  ok((await reader.getGasPrice()) > 0n);
});
await check("viem prepares, signs and sends a transfer", async () => {
  const to = newAccount().address;
  const hash = await writer.sendTransaction({ to, value: parseGwei("1") });
  const receipt = await reader.waitForTransactionReceipt({ hash });
  equal(receipt.status, "success");
  equal(await reader.getBalance({ address: to }), parseGwei("1"));
});
await check("viem deploys, simulates, writes, reads and finds events", async () => {
  const hash = await writer.deployContract({ abi: counter.abi, bytecode: counter.bytecode });
  const { contractAddress: address } = await reader.waitForTransactionReceipt({ hash });
  const contract = { address, abi: counter.abi };
  const { request, result } = await reader.simulateContract({ ...contract, functionName: "increment", account: bob });
  equal(result, 1n);
  const written = await reader.waitForTransactionReceipt({ hash: await writer.writeContract(request) });
  equal(written.status, "success");
  equal(await reader.readContract({ ...contract, functionName: "number" }), 1n);
  const events = await reader.getContractEvents({ ...contract, eventName: "Counted", fromBlock: written.blockNumber });
  deepEqual(events.map((event) => [event.args.who, event.args.number]), [[bob.address, 1n]]);
});
await check("fifty transfers of one sender all arrive, in order", async () => {
  const to = newAccount().address;
  const first = await fields({ type: "eip1559", to, value: 1n });
  const raws = [];
  for (let i = 0; i < 50; i += 1) raws.push(await alice.signTransaction({ ...first, nonce: first.nonce + i }));
  const hashes = [];
  for (const raw of raws) hashes.push(await call("eth_sendRawTransaction", raw));
  const receipts = await Promise.all(hashes.map((hash) => receiptOf(url, hash)));
  ok(receipts.every((receipt) => receipt.status === "0x1"));
  const places = receipts.map((receipt) => hexToNumber(receipt.blockNumber) * 1e6 + hexToNumber(receipt.transactionIndex));
  deepEqual(places, [...places].sort((a, b) => a - b));
  equal(await call("eth_getBalance", to, "latest"), "0x32");
});
await check("the same port speaks WebSocket", async () => {
  const socket = viem.createPublicClient({ chain, transport: viem.webSocket(url.replace("http", "ws"), { reconnect: false }) });
  equal(await socket.getChainId(), chain.id);
  ok((await socket.getBlockNumber({ cacheTime: 0 })) > 0n);
  (await socket.transport.getRpcClient()).close();
});

checks.finish();
