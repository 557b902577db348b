// Hidden states of a resident target, as its own engine computes them: what a draft head will read. Each piece of a document is computed
// once and kept in the run's folder, as float16.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { viewOf } from "../brands.ts";
import { CpmError, modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { written } from "../file/write/output.ts";
import type { Model } from "../index.ts";
import { type Batch, documentsOf } from "./batch.ts";
import { tapsOf } from "./eagle3.ts";
import { floatBytes, floatsOf } from "./floats.ts";
import type { RunStore } from "./store.ts";

/** What gives a target's states. */
export interface Target {
  /** Numbers of a token. */
  readonly hidden: number;
  /** (tokens, hidden): states after the last norm, for EAGLE-3 behind the inputs of three layers, of tokens that begin a text. */
  states(tokens: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
}

/**
 * A loaded model as a target: its own weights, quantised as they are, without adapters. `layout` 3: the inputs of the layers that an EAGLE-3
 * head reads go before the states. The caller disposes the model.
 */
export async function targetOf(model: Model, { layout = 2 }: { readonly layout?: 2 | 3 | undefined } = {}): Promise<Target> {
  const session = await model.session({ lora: false });
  const { hidden, layers: count } = model.info.config;
  const layers = layout === 3 ? tapsOf({ layers: count }) : [];
  return {
    hidden: hidden * (layers.length + 1),
    async states(tokens, signal) {
      await session.truncate(0);
      return await session.states(tokens, { layers, signal });
    },
  };
}

/** Magic, version, hidden, entries, the target's key, a sum of all that and of the table. */
const HEADER = 36;
/** A key, tokens, a sum of the states. */
const ENTRY = 24;
const KEY = 16;
const MAGIC = 0x46544d43;
const PREFIX = "features-";
/** Bytes that are gathered before a file is written. */
const WHOLE = 16 << 20;
/** Tokens whose states tell a target. */
const PROBE = 24;

interface Piece {
  readonly source: Source;
  readonly offset: number;
  readonly tokens: number;
  readonly sum: number;
}

/** FNV-1a over 32-bit words, then bytes. */
function sumOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 | 0;
  const view = viewOf(bytes);
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) hash = Math.imul(hash ^ view.getInt32(at, true), 0x01000193);
  for (; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return hash >>> 0;
}

const tableSum = (head: Uint8Array, table: Uint8Array): number => (sumOf(head.subarray(0, 32)) ^ sumOf(table)) >>> 0;

export class Features {
  readonly target: Target;
  /** Tells the target: states of a few tokens. */
  readonly key: string;
  readonly #store: RunStore;
  readonly #pieces = new Map<string, Piece>();
  readonly #waiting = new Map<string, Uint8Array>();
  readonly #sources: Source[] = [];
  #bytes = 0;
  #files = 0;

  private constructor(store: RunStore, target: Target, key: string) {
    this.#store = store;
    this.target = target;
    this.key = key;
  }

  /** Takes up what was computed before for the same target. Rejects with CpmError "bad-model" for damaged files, "io", or the signal's reason. */
  static async open(store: RunStore, target: Target, signal?: AbortSignal): Promise<Features> {
    const probe = Array.from({ length: PROBE }, (_, i) => i);
    const states = await target.states(probe, signal);
    const found = new Features(store, target, keyOf("target", [], floatBytes(states, "F32")));
    for (const name of (await store.names()).filter((n) => n.startsWith(PREFIX) && n.endsWith(".bin")).sort())
      await found.#take(name, signal);
    return found;
  }

  async #take(name: string, signal?: AbortSignal): Promise<void> {
    this.#files = Math.max(this.#files, Number(name.slice(PREFIX.length, -4)) + 1);
    const source = await this.#store.open(name);
    if (!source) return;
    const fail = (expected: string, found: string) =>
      modelError(
        { file: source.name, expected, found },
        "states of the target",
        "remove this file; its states are computed again",
      );
    this.#sources.push(source);
    if (source.size < HEADER) throw fail(`at least ${HEADER} bytes`, String(source.size));
    const head = await source.read(0, HEADER, signal);
    const view = viewOf(head);
    const [hidden, count] = [view.getUint32(8, true), view.getUint32(12, true)];
    if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== 1)
      throw fail("states that this version wrote", "another file");
    const begin = HEADER + ENTRY * count;
    if (begin > source.size) throw fail(`a table of ${count} entries`, `${source.size} bytes`);
    const table = await source.read(HEADER, ENTRY * count, signal);
    if (tableSum(head, table) !== view.getUint32(32, true)) throw fail("a table as it was written", "damaged bytes");
    // Of another target: what it holds is none of ours.
    if (bytesToHex(head.subarray(16, 16 + KEY)) !== this.key || hidden !== this.target.hidden) return;
    let offset = begin;
    for (let i = 0; i < count; i++) {
      const entry = viewOf(table.subarray(i * ENTRY, (i + 1) * ENTRY));
      const tokens = entry.getUint32(KEY, true);
      const key = bytesToHex(table.subarray(i * ENTRY, i * ENTRY + KEY));
      this.#pieces.set(key, { source, offset, tokens, sum: entry.getUint32(KEY + 4, true) });
      offset += 2 * hidden * tokens;
    }
    if (offset !== source.size) throw fail(`${offset} bytes`, String(source.size));
  }

  /** States of all rows of a batch, (rows x length, hidden), rounded to float16; zeros for padding. */
  async of(batch: Batch, signal?: AbortSignal): Promise<Float32Array> {
    const { hidden } = this.target;
    const out = new Float32Array(batch.rows * batch.length * hidden);
    for (const { begin, end, padding } of documentsOf(batch)) {
      if (padding) continue;
      const tokens = Array.from(batch.tokens.subarray(begin, end));
      out.set(floatsOf(await this.#piece(tokens, signal), "F16"), begin * hidden);
    }
    return out;
  }

  async #piece(tokens: readonly number[], signal?: AbortSignal): Promise<Uint8Array> {
    const key = keyOf(this.key, tokens);
    const waiting = this.#waiting.get(key);
    if (waiting) return waiting;
    const piece = this.#pieces.get(key);
    if (piece) {
      const bytes = await piece.source.read(piece.offset, 2 * this.target.hidden * piece.tokens, signal);
      if (sumOf(bytes) === piece.sum) return bytes;
      throw modelError(
        { file: piece.source.name, offset: piece.offset, expected: "states as they were written", found: "damaged bytes" },
        "states of the target",
        "remove this file; its states are computed again",
      );
    }
    const states = await this.target.states(tokens, signal);
    const bytes = floatBytes(states, "F16");
    const bad = states.findIndex((x) => !(Math.abs(x) < 65504));
    if (bad >= 0)
      throw new CpmError("unsupported", `the target's state of a token has ${states[bad]}, which float16 does not hold`, {
        field: "states",
      });
    this.#waiting.set(key, bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= WHOLE) await this.save();
    return bytes;
  }

  /** Writes what was computed since the last time: whole, or not at all. */
  async save(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const list = [...this.#waiting];
    const table = new Uint8Array(ENTRY * list.length);
    for (const [i, [key, bytes]] of list.entries()) {
      const entry = table.subarray(i * ENTRY, (i + 1) * ENTRY);
      for (let k = 0; k < KEY; k++) entry[k] = Number.parseInt(key.slice(2 * k, 2 * k + 2), 16);
      const view = viewOf(entry);
      view.setUint32(KEY, bytes.length / (2 * this.target.hidden), true);
      view.setUint32(KEY + 4, sumOf(bytes), true);
    }
    const head = new Uint8Array(HEADER);
    const view = viewOf(head);
    for (const [i, word] of [MAGIC, 1, this.target.hidden, list.length].entries()) view.setUint32(4 * i, word, true);
    for (let k = 0; k < KEY; k++) head[16 + k] = Number.parseInt(this.key.slice(2 * k, 2 * k + 2), 16);
    view.setUint32(32, tableSum(head, table), true);
    const name = `${PREFIX}${String(this.#files).padStart(5, "0")}.bin`;
    const output = await this.#store.create(name, HEADER + table.length + this.#bytes);
    await written(output, async () => {
      await output.write(0, head);
      await output.write(HEADER, table);
      let at = HEADER + table.length;
      for (const [, bytes] of list) {
        await output.write(at, bytes);
        at += bytes.length;
      }
      await output.sync();
    });
    this.#waiting.clear();
    this.#bytes = 0;
    await this.#take(name);
  }

  async close(): Promise<void> {
    for (const source of this.#sources.splice(0)) await source.close();
  }
}

function keyOf(target: string, tokens: readonly number[], more = new Uint8Array(0)): string {
  const hash = sha256.create().update(new TextEncoder().encode(`${target}:${tokens.join()}`));
  return bytesToHex(hash.update(more).digest().subarray(0, KEY));
}

/**
 * A batch as a head is trained on it: a row counts where the token after it stands in the batch, since the head must give that token's
 * state too.
 */
export function headBatch(batch: Batch): Batch {
  const weights = batch.weights.slice();
  for (let i = 0; i < weights.length; i++)
    if ((i + 1) % batch.length === 0 || batch.segments[i + 1] !== batch.segments[i]) weights[i] = 0;
  return { ...batch, weights };
}
