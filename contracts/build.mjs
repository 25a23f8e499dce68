#!/usr/bin/env node
// Compiles every contract under src/ and test/ to artifacts/<Name>.json: ABI and bytecode, committed, so that nobody
// needs a Solidity compiler to build or use Lattice.
//
//   npm ci && node build.mjs           write the artifacts
//   npm ci && node build.mjs --check   fail when a committed artifact is not what its source compiles to
//
// The compiler is found beside this file, or below the folder that SOLC_DIR names.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const here = import.meta.dirname;
const artifacts = join(here, "artifacts");
const evmVersion = "osaka";

function compiler() {
  const from = process.env.SOLC_DIR ?? here;
  try {
    return createRequire(join(from, "here.js"))("solc");
  } catch {
    console.error(`no solc below ${from}; run \`npm ci\` in contracts/, or set SOLC_DIR to a folder that has it`);
    process.exit(1);
  }
}

/** Source files by the path that imports and error messages use. */
function sources() {
  const found = {};
  for (const folder of ["src", "test"]) {
    for (const file of readdirSync(join(here, folder)).sort()) {
      if (file.endsWith(".sol")) found[`${folder}/${file}`] = { content: readFileSync(join(here, folder, file), "utf8") };
    }
  }
  return found;
}

function compile(solc) {
  const input = {
    language: "Solidity",
    sources: sources(),
    settings: {
      evmVersion,
      optimizer: { enabled: true, runs: 1000 },
      // Without the metadata hash the bytecode depends on the code alone, not on comments or paths.
      metadata: { appendCBOR: false, bytecodeHash: "none" },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const messages = output.errors ?? [];
  for (const message of messages) console.error(message.formattedMessage);
  if (messages.length > 0) process.exit(1); // warnings too: the sources are kept free of them
  return output.contracts;
}

/** Name and text of each artifact. A library of internal functions has no code of its own and is left out. */
function* artifactsOf(contracts, compilerVersion) {
  for (const [source, named] of Object.entries(contracts)) {
    for (const [contractName, { abi, evm }] of Object.entries(named)) {
      if (!abi.some((entry) => entry.type === "function")) continue;
      const artifact = {
        contractName,
        source,
        compiler: `solc ${compilerVersion}`,
        evmVersion,
        abi,
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
      };
      yield [`${contractName}.json`, `${JSON.stringify(artifact, null, 2)}\n`];
    }
  }
}

function readIfThere(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

const solc = compiler();
const check = process.argv.includes("--check");
const version = solc.version().replace(/\.Emscripten.*$/, "");
mkdirSync(artifacts, { recursive: true });
const expected = new Map(artifactsOf(compile(solc), version));
let passed = 0;
let failed = 0;
for (const [file, text] of expected) {
  const path = join(artifacts, file);
  if (!check) writeFileSync(path, text);
  if (readIfThere(path) === text) {
    passed += 1;
  } else {
    failed += 1;
    console.error(`artifacts/${file} is not what its source compiles to; run \`node build.mjs\` in contracts/ and commit it`);
  }
}
for (const file of readdirSync(artifacts)) {
  if (expected.has(file)) continue;
  failed += 1;
  console.error(`artifacts/${file} has no source; delete it`);
}
console.log(`${check ? "checked" : "wrote"} ${expected.size} artifacts with solc ${version} for ${evmVersion}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
