// JSON-RPC by hand: what goes over the wire is seen, not what a library makes of it.

import { equal, match, ok } from "node:assert/strict";
import { sleep } from "./checks.mjs";

/** Posts a body as it is and returns the HTTP status and the parsed answer. */
export async function post(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const text = await response.text();
  try {
    return { status: response.status, answer: JSON.parse(text) };
  } catch {
    throw new Error(`HTTP ${response.status}, and the body is no JSON: ${text.slice(0, 200)}`);
  }
}

let lastId = 0;

const request = (method, params) => ({ jsonrpc: "2.0", id: (lastId += 1), method, params });

/** Result of a call that must succeed. */
export async function rpc(url, method, params = []) {
  const sent = request(method, params);
  const { status, answer } = await post(url, JSON.stringify(sent));
  equal(status, 200, `${method}: HTTP status`);
  if (answer.error) throw new Error(`${method}: ${answer.error.code} ${answer.error.message}`);
  equal(answer.id, sent.id, `${method}: id`);
  equal(answer.jsonrpc, "2.0");
  return answer.result;
}

/** Error of a call that must fail: HTTP 200, a code and a message that says something. */
export async function rpcError(url, method, params, { code, message } = {}) {
  const { status, answer } = await post(url, JSON.stringify(request(method, params)));
  equal(status, 200, `${method}: HTTP status of an error`);
  ok(answer.error, `${method} succeeded: ${JSON.stringify(answer.result)}`);
  ok(Number.isInteger(answer.error.code), "error.code is an integer");
  ok(typeof answer.error.message === "string" && answer.error.message.length > 0, "error.message is there");
  if (code !== undefined) equal(answer.error.code, code, `${method}: code (${answer.error.message})`);
  if (message !== undefined) match(answer.error.message, message);
  return answer.error;
}

/** The receipt of a transaction, as soon as there is one. */
export async function receiptOf(url, hash, timeoutMs = 20_000) {
  const end = Date.now() + timeoutMs;
  while (Date.now() < end) {
    const receipt = await rpc(url, "eth_getTransactionReceipt", [hash]);
    if (receipt !== null) return receipt;
    await sleep(10);
  }
  throw new Error(`no receipt for ${hash} within ${timeoutMs} ms`);
}
