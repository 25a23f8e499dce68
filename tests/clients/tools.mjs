// The npm packages and files that the checks use. Packages are looked up in the folder that `provision.sh` fills,
// which keeps this folder free of node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const here = import.meta.dirname;
const root = resolve(here, "../..");
const folder = resolve(process.env.LATTICE_CLIENT_TOOLS ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "ci"));

/** An npm package from the tools' folder. */
export function tool(name) {
  try {
    return createRequire(join(folder, "here.js"))(name);
  } catch (error) {
    console.error(`no ${name} in ${folder} (${error.code}); run tests/clients/provision.sh first`);
    process.exit(1);
  }
}

/** ABI and bytecode of a committed contract. */
export function artifact(name) {
  return JSON.parse(readFileSync(join(root, "contracts/artifacts", `${name}.json`), "utf8"));
}

/** Path of a bundled model. */
export const modelFile = (name) => join(root, "models", name);

/** The node's binary. */
export function nodeBinary() {
  return process.env.LATTICE_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release/lattice");
}

/** Key number `index` of the mnemonic that every dev chain funds. */
export function devAccount(index) {
  const { mnemonicToAccount } = tool("viem/accounts");
  return mnemonicToAccount("test test test test test test test test test test test junk", { addressIndex: index });
}
