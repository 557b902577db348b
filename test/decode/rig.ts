// Builds under test, and a sampler over a memory of its own.
import { readFileSync } from "node:fs";
import { Sampler, type SamplerPlace, samplerBytes } from "../../src/decode/sampler.ts";
import { type Decide, instantiateDecide, type ParamWord, paramWords } from "../../src/wasm/decide.ts";

export const builds = ["decide", "decide.mt"] as const;
export type Build = (typeof builds)[number];

export const bytesOf = (build: Build) => readFileSync(new URL(`../../wasm/${build}.wasm`, import.meta.url));

const base = 65536;
const guard = 256;

export interface Rig {
  readonly decide: Decide;
  readonly place: SamplerPlace;
  readonly sampler: Sampler;
  readonly memory: WebAssembly.Memory;
  readonly logits: Float32Array;
  word(name: ParamWord): number;
  /** First byte outside the regions that is not the filler, or -1. */
  strayWrite(): number;
}

/** Regions with filler bytes between them, from 64 KiB up. */
export async function rig(build: Build, vocab: number, historyCapacity = 256): Promise<Rig> {
  const bytes = samplerBytes(vocab, historyCapacity);
  let top = base;
  const regions: [number, number][] = [];
  const take = (size: number) => {
    const at = (top + guard + 15) & ~15;
    regions.push([at, at + size]);
    top = at + size;
    return at;
  };
  const place = {
    logits: take(bytes.logits),
    scratch: take(bytes.scratch),
    history: take(bytes.history),
    params: take(bytes.params),
    vocab,
    historyCapacity,
  };
  const pages = Math.ceil((top + guard) / 65536);
  const memory = new WebAssembly.Memory(
    build === "decide" ? { initial: pages } : { initial: pages, maximum: 65536, shared: true },
  );
  const all = new Uint8Array(memory.buffer).fill(0xa5);
  const decide = await instantiateDecide(await WebAssembly.compile(bytesOf(build)), memory);
  return {
    decide,
    place,
    memory,
    sampler: new Sampler(decide, { memory, logits: (at) => at }, place),
    logits: new Float32Array(memory.buffer, place.logits, vocab),
    word: (name) => new Float64Array(memory.buffer, place.params, paramWords.length)[paramWords.indexOf(name)]!,
    strayWrite() {
      const inside = (i: number) => regions.some(([begin, end]) => i >= begin && i < end);
      return all.findIndex((byte, i) => byte !== 0xa5 && !inside(i));
    },
  };
}

/** Repeatable random numbers in [0, 1). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

const odd = [Number.NaN, -Infinity, Infinity, 1e30, -1e30, -0, 0, 3.4028234663852886e38, 1e-42];

/** Kinds of rows: spread, flat, ties, all equal, with a few peaks, with extremes, rising. */
export const rows: Readonly<Record<string, (random: () => number, i: number) => number>> = {
  spread: (random) => 3 * normal(random),
  flat: (random) => 0.2 * normal(random),
  ties: (random) => Math.round(2 * normal(random)),
  equal: () => 1.5,
  peaked: (random, i) => 2 * normal(random) + (i % 97 === 5 ? 9 : 0),
  extremes: (random) => (random() < 0.2 ? odd[Math.floor(random() * odd.length)]! : 2 * normal(random)),
  holes: (random) => (random() < 0.5 ? (random() < 0.5 ? -Infinity : Number.NaN) : normal(random)),
  rising: (_, i) => i * 1e-3,
};
