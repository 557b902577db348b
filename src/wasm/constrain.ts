// The constraining module's boundary: what wasm/constrain.wasm exports (sources in assembly/constrain/).
import { CpmError } from "../errors.ts";

export const constrainAbiVersion = 1;

/** Addresses are bytes in the module's own memory; a handle is the address of a set of configurations, 0 is dead. */
export interface Constrain {
  constrain_abi_version(): number;
  /** Bytes that the memory may grow to. */
  memory_limit(bytes: number): void;
  /** Room for `count` tokens of `bytes` bytes: where their offsets go, (count + 1) u32; 0: no room. */
  vocabulary_begin(count: number, bytes: number): number;
  /** Where the tokens' kinds go: u8, bits of `tokenKind`. */
  vocabulary_kinds(): number;
  vocabulary_bytes(): number;
  /** 0 or a failure. */
  vocabulary_build(): number;
  /** Forgets the machine before; where the tables of another go, 0: no room. */
  machine_begin(bytes: number): number;
  /** The handle that a text begins with. */
  machine_open(): number;
  /** Where a handle's mask is until the next call, a bit a token; 0: a failure. `space`: the text's first space is dropped. */
  mask(set: number, space: number): number;
  advance(set: number, token: number, space: number): number;
  advance_bytes(set: number, at: number, count: number): number;
  /** Bytes that the last advance took. */
  refused_at(): number;
  bytes_room(count: number): number;
  accepting(set: number): number;
  /** Whether the text may end and cannot go on. */
  must_end(set: number): number;
  /** How many bytes must follow, at `forced_bytes()`. */
  forced(set: number, most: number): number;
  forced_bytes(): number;
  /** Of the last call: 0 or one of `constrainFailure`. */
  failure_code(): number;
  /** The rule it came from, -1: unknown. */
  failure_rule(): number;
  kept_sets(): number;
  kept_frames(): number;
  used_bytes(): number;
}

export const constrainArity: Readonly<Record<keyof Constrain, number>> = {
  constrain_abi_version: 0,
  memory_limit: 1,
  vocabulary_begin: 2,
  vocabulary_kinds: 0,
  vocabulary_bytes: 0,
  vocabulary_build: 0,
  machine_begin: 1,
  machine_open: 0,
  mask: 2,
  advance: 3,
  advance_bytes: 3,
  refused_at: 0,
  bytes_room: 1,
  accepting: 1,
  must_end: 1,
  forced: 2,
  forced_bytes: 0,
  failure_code: 0,
  failure_rule: 0,
  kept_sets: 0,
  kept_frames: 0,
  used_bytes: 0,
};

export const tokenKind = { noText: 1, ends: 2 } as const;

export const constrainFailure: Readonly<Record<number, string>> = {
  [-1]: "its states do not fit into memory",
  [-2]: "it is too ambiguous: more than 64 ways to read the text at once",
  [-3]: "it is nested more than 256 levels deep",
  [-4]: "it is too ambiguous: one mask takes too much work",
};

/** Instantiates the module over a memory of its own. Throws "engine-failed" when it was built for another ABI. */
export async function instantiateConstrain(
  module: WebAssembly.Module,
): Promise<{ constrain: Constrain; memory: WebAssembly.Memory }> {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const constrain = exports as unknown as Constrain;
  const found = constrain.constrain_abi_version?.();
  if (found === constrainAbiVersion) return { constrain, memory };
  throw new CpmError(
    "engine-failed",
    `constrain.wasm has ABI ${found}, this package needs ${constrainAbiVersion} (reinstall cpm-wasm)`,
    { field: "constrain_abi_version", expected: String(constrainAbiVersion), found: String(found) },
  );
}
