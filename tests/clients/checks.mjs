// Named checks: each runs, is counted and never stops the ones after it. The last line is `N passed, N failed`.

import { randomBytes } from "node:crypto";

export class Checks {
  passed = 0;
  failed = 0;

  /** Runs one check; what it throws is its failure. Returns what it returns, or undefined when it failed. */
  async check(name, run) {
    try {
      const result = await run();
      this.passed += 1;
      console.log(`ok    ${name}`);
      return result;
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL  ${name}: ${error?.shortMessage ?? error?.message ?? error}`);
      return undefined;
    }
  }

  /** Prints the sum and ends the process. */
  finish() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exit(this.failed === 0 ? 0 : 1);
  }
}

/** Value of `--name=value` on the command line. */
export function option(name, otherwise) {
  const prefix = `--${name}=`;
  const found = process.argv.find((argument) => argument.startsWith(prefix));
  return found === undefined ? otherwise : found.slice(prefix.length);
}

/** A generator of numbers in [0, 1) that `--seed=N` replays; the seed is printed. (mulberry32) */
export function seededRandom() {
  let state = Number(option("seed", randomBytes(4).readUInt32LE())) >>> 0;
  console.log(`seed ${state}`);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
