// A compiled grammar over a vocabulary: which tokens may come next, and what they lead to.
import type { Machine } from "../constrain/machine.ts";
import { CpmError } from "../errors.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import { type Constrain, constrainFailure, instantiateConstrain, tokenKind } from "../wasm/constrain.ts";

/** All that decoding knows of a constraint. States are values: any may be gone on from at any time. */
export interface Constraint {
  /** Where a text begins. `space`: the decoder will drop a leading space of the first token. */
  start(space?: boolean): number;
  /** The state behind a token; DEAD when it is not allowed. */
  advance(state: number, token: number): number;
  /** Which tokens may come next, a bit a token, low bit first. The view is valid until the next call. */
  mask(state: number): Uint32Array;
  /** Bytes that must come next, up to the first choice. A copy. */
  forced(state: number): Uint8Array;
  /** Whether the text may end here. */
  accepting(state: number): boolean;
  /** Whether the text must end here. */
  ended(state: number): boolean;
}

export const DEAD = 0;
/** Handles are even: this bit says that a leading space is to be dropped. */
const SPACE = 1;
/** Longest text of a token that takes part. */
const MAX_TOKEN = 255;
/** Bytes that the module's memory may come to. */
const MAX_MEMORY = 256 << 20;
const FORCED = 256;

/** The vocabulary in a module of its own, with one machine at a time. */
export class Automaton implements Constraint {
  readonly #constrain: Constrain;
  readonly #memory: WebAssembly.Memory;
  readonly #words: number;
  /** Tokens behind which a dummy space is dropped. */
  readonly #special: Uint8Array;
  #machine: Machine | undefined;
  #start = DEAD;
  #id = "";

  private constructor(constrain: Constrain, memory: WebAssembly.Memory, tokens: number, special: Uint8Array) {
    this.#special = special;
    this.#constrain = constrain;
    this.#memory = memory;
    this.#words = Math.ceil(tokens / 32);
  }

  /**
   * Builds the vocabulary's tries (tens of milliseconds for 73,000 tokens). `vocab`: tokens of the model's logits, at least
   * the table's. Special tokens have no text; those of `stop` end one. Throws "out-of-memory".
   */
  static async create(
    module: WebAssembly.Module,
    table: PieceTable,
    stop: readonly number[],
    vocab = table.special.length,
    maxMemory = MAX_MEMORY,
  ): Promise<Automaton> {
    const { constrain, memory } = await instantiateConstrain(module);
    constrain.memory_limit(maxMemory);
    const own = table.special.length;
    const count = Math.max(vocab, own);
    const at = constrain.vocabulary_begin(count, table.bytes.length);
    if (at === 0) throw outOfMemory(maxMemory);
    const offsets = new Uint32Array(memory.buffer, at, count + 1);
    offsets.set(table.offsets);
    offsets.fill(table.bytes.length, own + 1);
    const kinds = new Uint8Array(memory.buffer, constrain.vocabulary_kinds(), count);
    for (let id = 0; id < count; id++) {
      const length = offsets[id + 1]! - offsets[id]!;
      kinds[id] = id >= own || (table.special[id]! & 1) !== 0 || length === 0 || length > MAX_TOKEN ? tokenKind.noText : 0;
    }
    for (const id of stop) kinds[id] = tokenKind.noText | tokenKind.ends;
    new Uint8Array(memory.buffer, constrain.vocabulary_bytes(), table.bytes.length).set(table.bytes);
    if (constrain.vocabulary_build() !== 0) throw outOfMemory(maxMemory);
    return new Automaton(constrain, memory, count, table.special);
  }

  /** What the machine was loaded as. */
  get machineId(): string {
    return this.#id;
  }

  /** Takes another machine in place of the one before, whose states are gone. Throws "out-of-memory". */
  load(machine: Machine, id = ""): this {
    this.#id = "";
    const at = this.#constrain.machine_begin(machine.tables.byteLength);
    if (at === 0) throw outOfMemory(MAX_MEMORY);
    new Int32Array(this.#memory.buffer, at, machine.tables.length).set(machine.tables);
    this.#machine = machine;
    this.#start = this.#constrain.machine_open();
    this.#check(this.#start);
    this.#id = id;
    return this;
  }

  get machine(): Machine | undefined {
    return this.#machine;
  }

  start(space = false): number {
    return this.#start + (space ? SPACE : 0);
  }

  advance(state: number, token: number): number {
    const next = this.#constrain.advance(state & ~SPACE, token, state & SPACE);
    if (next === 0) return this.#check(next);
    return (this.#special[token]! & 2) !== 0 ? next + SPACE : next;
  }

  /** The state behind bytes that tokens may be cut from anywhere, and how many were taken. */
  advanceBytes(state: number, bytes: Uint8Array): { state: number; taken: number } {
    const at = this.#constrain.bytes_room(bytes.length);
    if (at === 0) throw outOfMemory(MAX_MEMORY);
    new Uint8Array(this.#memory.buffer, at, bytes.length).set(bytes);
    const next = this.#constrain.advance_bytes(state & ~SPACE, at, bytes.length);
    if (next === 0) this.#check(next);
    return { state: next, taken: this.#constrain.refused_at() };
  }

  mask(state: number): Uint32Array {
    const at = this.#constrain.mask(state & ~SPACE, state & SPACE);
    this.#check(at);
    return new Uint32Array(this.#memory.buffer, at, this.#words);
  }

  forced(state: number): Uint8Array {
    if (state === DEAD) return new Uint8Array();
    const count = this.#constrain.forced(state & ~SPACE, FORCED);
    return new Uint8Array(this.#memory.buffer, this.#constrain.forced_bytes(), count).slice();
  }

  accepting(state: number): boolean {
    return this.#constrain.accepting(state & ~SPACE) !== 0;
  }

  ended(state: number): boolean {
    return this.#constrain.must_end(state & ~SPACE) !== 0;
  }

  /** Distinct states met so far, and bytes of memory in use. */
  get usage(): { readonly states: number; readonly frames: number; readonly bytes: number } {
    const c = this.#constrain;
    return { states: c.kept_sets(), frames: c.kept_frames(), bytes: c.used_bytes() };
  }

  #check(result: number): number {
    if (result !== 0) return result;
    const code = this.#constrain.failure_code();
    if (code === 0) return DEAD;
    const path = this.#machine?.paths[this.#constrain.failure_rule()] ?? "";
    const why = constrainFailure[code] ?? `failure ${code}`;
    throw new CpmError("unsupported", `grammar at ${path || "/"}: ${why}; make it simpler`, { field: path });
  }
}

function outOfMemory(limit: number): CpmError {
  return new CpmError(
    "out-of-memory",
    `the grammar and its vocabulary do not fit the ${limit >> 20} MiB of a constraint; use a smaller grammar`,
  );
}
