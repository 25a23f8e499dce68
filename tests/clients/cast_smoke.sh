#!/usr/bin/env bash
# Foundry's cast against a dev chain: balance, send, deploy, call, receipt, block, logs, proof.
#
#   cast_smoke.sh [URL]      URL: http://127.0.0.1:8545 unless told
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${LATTICE_CLIENT_TOOLS:-${CARGO_TARGET_DIR:-$root/target}/ci}
url=${1:-http://127.0.0.1:8545}
# Keys 6 and 7 of the well-known test mnemonic.
key=0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e
sender=0x976EA74026E726554dB657fA54763abd0C3a0aa9
receiver=0x14dC79964da2C08b23698B3D3cc7Ca32193d9955

export ETH_RPC_URL=$url FOUNDRY_DISABLE_NIGHTLY_WARNING=1
cast() { "$tools/node_modules/.bin/cast" "$@"; }
command -v "$tools/node_modules/.bin/cast" >/dev/null || { echo "no cast in $tools; run tests/clients/provision.sh first" >&2; exit 1; }
field() { node -e 'let text = ""; process.stdin.on("data", (part) => (text += part)).on("end", () => console.log(JSON.parse(text)[process.argv[1]]))' "$1"; }

passed=0
failed=0
# check NAME EXPECTED ACTUAL: equal, whatever the case of hex letters.
check() {
  if [ "${2,,}" = "${3,,}" ]; then
    passed=$((passed + 1)); echo "ok    $1"
  else
    failed=$((failed + 1)); echo "FAIL  $1: expected '$2', got '$3'"
  fi
}
# matches NAME PATTERN ACTUAL
matches() {
  if [[ $3 =~ $2 ]]; then
    passed=$((passed + 1)); echo "ok    $1"
  else
    failed=$((failed + 1)); echo "FAIL  $1: '$3' does not match $2"
  fi
}
# run COMMAND...: its output, or what it said when it failed, so that one failure does not end the script.
run() { "$@" 2>&1 || true; }

check "chain id" 31337 "$(run cast chain-id)"
matches "client" '.+/.+' "$(run cast client)"
matches "gas price" '^[0-9]+$' "$(run cast gas-price)"
matches "block number" '^[0-9]+$' "$(run cast block-number)"

before=$(run cast balance "$receiver")
matches "balance" '^[0-9]+$' "$before"
receipt=$(run cast send "$receiver" --value 1000 --private-key "$key" --json)
check "send: status" 0x1 "$(run field status <<<"$receipt")"
check "send: from" "$sender" "$(run field from <<<"$receipt")"
check "send: gas used" 0x5208 "$(run field gasUsed <<<"$receipt")"
check "balance after" "$(node -p "String(BigInt('$before') + 1000n)")" "$(run cast balance "$receiver")"
hash=$(run field transactionHash <<<"$receipt")
check "receipt" "$hash" "$(run cast receipt "$hash" transactionHash)"
check "tx" "$hash" "$(run cast tx "$hash" hash)"
block=$(run field blockHash <<<"$receipt")
check "block of the receipt" "$block" "$(run cast block "$block" --field hash)"
matches "block latest" '^0x[0-9a-f]{64}$' "$(run cast block latest --field stateRoot)"
matches "block finalized" '^[0-9]+$' "$(run cast block finalized --field number)"

legacy=$(run cast send "$receiver" --value 1 --legacy --private-key "$key" --json)
check "send --legacy" 0x0 "$(run field type <<<"$legacy")"

bytecode=$(field bytecode <"$root/contracts/artifacts/Counter.json")
deployed=$(run cast send --private-key "$key" --json --create "$bytecode")
counter=$(run field contractAddress <<<"$deployed")
matches "deploy" '^0x[0-9a-fA-F]{40}$' "$counter"
check "code" "$(field deployedBytecode <"$root/contracts/artifacts/Counter.json")" "$(run cast code "$counter")"
check "call before" 0 "$(run cast call "$counter" 'number()(uint256)')"
check "send to a contract" 0x1 "$(run cast send "$counter" 'setNumber(uint256)' 41 --private-key "$key" --json | run field status)"
check "send again" 0x1 "$(run cast send "$counter" 'increment()' --private-key "$key" --json | run field status)"
check "call after" 42 "$(run cast call "$counter" 'number()(uint256)')"
check "storage" "$(printf '0x%064x' 42)" "$(run cast storage "$counter" 0)"
matches "estimate" '^[0-9]+$' "$(run cast estimate "$counter" 'increment()' --from "$sender")"
check "logs" 2 "$(run cast logs --from-block 0 --address "$counter" --json | run field length)"
matches "proof" '0x[0-9a-f]{64}' "$(run cast proof "$counter" "$(printf '0x%064x' 0)" --json | run field storageHash)"
matches "nonce" '^[1-9][0-9]*$' "$(run cast nonce "$sender")"

signed=$(run cast mktx "$receiver" --value 2 --private-key "$key")
matches "mktx" '^0x02' "$signed"
matches "publish" '0x[0-9a-f]{64}' "$(run cast publish "$signed")"
matches "publish twice is refused" 'rror' "$(run cast publish "$signed")"
matches "a revert is told" 'evert' "$(run cast call --create 0x60006000fd)"
matches "an unknown method is told" '32601' "$(run cast rpc eth_noSuchMethod)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
