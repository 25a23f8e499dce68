#!/usr/bin/env node
// kill -9 at random moments: what the node told before it died, it tells again after a restart.
//
//   node crash.mjs [--rounds=8] [--seed=N] [--db=fjall|rocksdb]
//
// Each round starts `lattice dev` on the same data directory, checks every block, receipt, balance and log that
// earlier rounds have seen, and the answer of a model that was pushed in the first; then it sends transfers and contract
// calls from several accounts and kills the process at a moment drawn from the seed. Transactions that had no receipt
// yet may be lost; nothing else may.

import { deepEqual, equal, ok } from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Checks, option, seededRandom, sleep } from "./checks.mjs";
import { receiptOf, rpc } from "./rpc.mjs";
import { artifact, devAccount, modelFile, nodeBinary, tool } from "./tools.mjs";

const { encodeFunctionData, hexToNumber, hexToBigInt, keccak256, numberToHex } = tool("viem");

const rounds = Number(option("rounds", 8));
const db = option("db", "fjall");
const sendersCount = 4;
const readyMs = 10_000;
const restartMs = 5_000;
const checks = new Checks();
const random = seededRandom();
const folder = mkdtempSync(join(tmpdir(), "lattice-crash-"));
const datadir = join(folder, "data");
const logPath = join(folder, "node.log");
const senders = Array.from({ length: sendersCount }, (_, index) => devAccount(index));
const receiver = "0x00000000000000000000000000000000c0ffee00";
const counter = artifact("Counter");

let node; // the running process, if any
process.on("exit", () => node?.kill("SIGKILL"));

const freePort = () =>
  new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

const logEnd = () => readFileSync(logPath, "utf8").slice(-2000);

/** Starts the node, waits until it answers and returns its URL and how long that took. */
async function start() {
  if (node !== undefined) await end("SIGKILL"); // a failed check may have left it running
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const started = Date.now();
  launch(port);
  while (Date.now() - started < readyMs) {
    if (node.exitCode !== null) throw new Error(`the node ended at once:\n${logEnd()}`);
    try {
      await rpc(url, "eth_chainId");
      return { url, ms: Date.now() - started };
    } catch {
      await sleep(10);
    }
  }
  throw new Error(`the node does not answer after ${readyMs} ms:\n${logEnd()}`);
}

function launch(port) {
  const log = openSync(logPath, "a");
  const options = { stdio: ["ignore", log, log] };
  node = spawn(nodeBinary(), ["dev", "--port", String(port), "--datadir", datadir, "--db", db], options);
  closeSync(log);
}

/** Ends the process with a signal and waits for its end. */
function end(signal) {
  const running = node;
  return new Promise((resolve) => {
    if (running.exitCode !== null || running.signalCode !== null) return resolve(running.exitCode);
    running.once("exit", (code) => resolve(code));
    running.kill(signal);
  });
}

// --- what the node has told so far --------------------------------------------------------------------------------

const told = { blocks: new Map(), receipts: new Map(), height: 0, counterAddress: undefined, model: undefined };

/** Keeps a receipt, and its block as the node shows it now. */
async function keep(url, receipt) {
  told.receipts.set(receipt.transactionHash, receipt);
  const number = hexToNumber(receipt.blockNumber);
  told.height = Math.max(told.height, number);
  if (!told.blocks.has(number)) told.blocks.set(number, await rpc(url, "eth_getBlockByNumber", [receipt.blockNumber, true]));
}

/** Checks all of it against a restarted node, and that its state adds up. */
async function compare(url) {
  const height = hexToNumber(await rpc(url, "eth_blockNumber"));
  ok(height >= told.height, `the head is ${height}, ${told.height} was told before`);
  for (const [number, block] of told.blocks) {
    deepEqual(await rpc(url, "eth_getBlockByNumber", [numberToHex(number), true]), block, `block ${number}`);
  }
  for (const [hash, receipt] of told.receipts) {
    deepEqual(await rpc(url, "eth_getTransactionReceipt", [hash]), receipt, `receipt ${hash}`);
  }
  await addUp(url, height);
  if (told.model !== undefined) deepEqual(await infer(url), told.model.outputs, "the model's answer");
}

/** Re-derives the state from the blocks: what was received, each sender's nonce, the counter and its events. */
async function addUp(url, height) {
  let received = 0n;
  const nonces = new Map(senders.map((sender) => [sender.address.toLowerCase(), 0]));
  let parent;
  for (let number = 0; number <= height; number += 1) {
    const block = await rpc(url, "eth_getBlockByNumber", [numberToHex(number), true]);
    ok(block !== null, `block ${number} of ${height} is there`);
    if (parent !== undefined) equal(block.parentHash, parent, `parent of block ${number}`);
    parent = block.hash;
    for (const transaction of block.transactions) {
      if (transaction.to === receiver) received += hexToBigInt(transaction.value);
      if (nonces.has(transaction.from)) nonces.set(transaction.from, nonces.get(transaction.from) + 1);
    }
  }
  const head = numberToHex(height);
  equal(hexToBigInt(await rpc(url, "eth_getBalance", [receiver, head])), received, "the receiver's balance");
  for (const [address, count] of nonces) {
    equal(hexToNumber(await rpc(url, "eth_getTransactionCount", [address, head])), count, `nonce of ${address}`);
  }
  if (told.counterAddress === undefined) return;
  const value = hexToBigInt(await rpc(url, "eth_getStorageAt", [told.counterAddress, numberToHex(0, { size: 32 }), head]));
  const logs = await rpc(url, "eth_getLogs", [{ address: told.counterAddress, fromBlock: "0x0", toBlock: head }]);
  equal(BigInt(logs.length), value, "the counter's events and its value");
}

// --- load -----------------------------------------------------------------------------------------------------------

const signed = async (sender, nonce, more) =>
  sender.signTransaction({
    type: "eip1559", chainId: 31337, nonce, gas: 100_000n, maxFeePerGas: 10n ** 11n, maxPriorityFeePerGas: 1n, ...more,
  });

async function deployCounter(url) {
  const nonce = hexToNumber(await rpc(url, "eth_getTransactionCount", [senders[0].address, "latest"]));
  const raw = await signed(senders[0], nonce, { data: counter.bytecode, gas: 500_000n });
  const receipt = await receiptOf(url, await rpc(url, "eth_sendRawTransaction", [raw]));
  equal(receipt.status, "0x1");
  told.counterAddress = receipt.contractAddress;
  await keep(url, receipt);
}

/** One JSON object that the command line prints. */
async function lattice(...args) {
  return JSON.parse((await promisify(execFile)(nodeBinary(), [...args, "--json"])).stdout);
}

/** Pushes the bundled model and keeps what it answers to a ramp. */
async function pushModel(url) {
  const file = modelFile("digits.onnx");
  const { inputs } = await lattice("model", "inspect", file);
  const ramp = Array.from({ length: inputs[0].shape[1] }, (_, index) => index % 17);
  const input = join(folder, "ramp.json");
  writeFileSync(input, JSON.stringify([ramp]));
  const { model_id } = await lattice("model", "push", file, "--rpc-url", url);
  told.model = { id: model_id, input };
  told.model.outputs = await infer(url);
}

/** The model's answer by a transaction, as every node keeps and replays it. */
async function infer(url) {
  return (await lattice("run", told.model.id, "--input", told.model.input, "--rpc-url", url)).outputs;
}

/** One account's transactions, eight at a time, until told to stop. */
async function load(url, sender, stop) {
  const increment = { to: told.counterAddress, data: encodeFunctionData({ abi: counter.abi, functionName: "increment" }) };
  let nonce = hexToNumber(await rpc(url, "eth_getTransactionCount", [sender.address, "pending"]));
  while (!stop.now) {
    const raws = [];
    for (let i = 0; i < 8; i += 1) {
      raws.push(await signed(sender, nonce, i % 4 === 3 ? increment : { to: receiver, value: 1n }));
      nonce += 1;
    }
    await Promise.all(raws.map((raw) => rpc(url, "eth_sendRawTransaction", [raw])));
    for (const raw of raws) await keep(url, await receiptOf(url, keccak256(raw)));
  }
}

/** Loads the node and kills it after a time drawn from the seed. What fails before the kill is an error. */
async function loadAndKill(url) {
  const stop = { now: false };
  const afterMs = 150 + Math.floor(random() * 1_500);
  const before = told.receipts.size;
  const early = [];
  const lost = (error) => stop.now || early.push(error);
  const loads = senders.map((sender) => load(url, sender, stop).catch(lost));
  await sleep(afterMs);
  stop.now = true;
  await end("SIGKILL");
  await Promise.all(loads);
  console.log(`      killed after ${afterMs} ms of load, ${told.receipts.size - before} new receipts, height ${told.height}`);
  if (early.length > 0) throw early[0];
}

// --- rounds ---------------------------------------------------------------------------------------------------------

for (let round = 1; round <= rounds; round += 1) {
  const name = `round ${round}`;
  const running = await checks.check(`${name}: starts within ${restartMs} ms`, async () => {
    const started = await start();
    ok(started.ms < restartMs, `${started.ms} ms`);
    return started;
  });
  if (running === undefined) break;
  await checks.check(`${name}: tells what it told before`, () => compare(running.url));
  if (round === 1) {
    await checks.check("the counter is deployed", () => deployCounter(running.url));
    await checks.check("the model is pushed and answers", () => pushModel(running.url));
  }
  await checks.check(`${name}: serves the load until it is killed`, () => loadAndKill(running.url));
  if (random() < 0.5) {
    // Now and then the next start is killed too, while it opens its store.
    launch(await freePort());
    await sleep(random() * 300);
    await end("SIGKILL");
  }
}
await checks.check("the load was real", () => ok(told.receipts.size > rounds, `${told.receipts.size} receipts`));
await checks.check("the last start tells everything, and SIGTERM ends it cleanly", async () => {
  const { url } = await start();
  await compare(url);
  equal(await end("SIGTERM"), 0, "exit code after SIGTERM");
});
await checks.check("a start after a clean end tells everything", async () => {
  const { url } = await start();
  await compare(url);
});
await end("SIGKILL");
rmSync(folder, { recursive: true, force: true });
checks.finish();
