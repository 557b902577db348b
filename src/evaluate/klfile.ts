// llama.cpp's file of log-probabilities: what llama-perplexity writes as --kl-divergence-base and reads for --kl-divergence.
//
// "_logits_"; int32 context size, vocabulary, chunks; int32 tokens (chunks × context size), as they were tokenised; then a row for each
// scored token: float32 scale, float32 least log-probability, uint16 codes (vocab, made even): ln p = scale * code + least.
// Scored are the tokens behind positions ⌊n / 2⌋ … n − 2 of a chunk of n. Everything is little-endian.
// Source: llama.cpp, tools/perplexity/perplexity.cpp (log_softmax, kl_divergence).
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import type { LogSum } from "./softmax.ts";

const MAGIC = "_logits_";
const HEADER = 20;
/** Logits further below the largest are written as this far below it. */
const RANGE = 16;

/** The first position of a chunk of `contextSize` tokens whose logits are scored. */
export const scoredFrom = (contextSize: number): number => contextSize >> 1;
/** Tokens scored in a chunk. */
export const scoredIn = (contextSize: number): number => contextSize - 1 - scoredFrom(contextSize);

/** uint16 of one row. */
const rowLength = (vocab: number): number => 2 * ((vocab + 1) >> 1) + 4;

/** The shape of such a file. */
export interface KlShape {
  /** Tokens of a chunk. */
  readonly contextSize: number;
  readonly vocab: number;
  readonly chunks: number;
}

/** Bytes of a whole file. */
export const klFileSize = ({ contextSize, vocab, chunks }: KlShape): number =>
  HEADER + chunks * (4 * contextSize + 2 * scoredIn(contextSize) * rowLength(vocab));

/** A file's beginning: its header and tokens (chunks × context size). */
export function klHeader({ contextSize, vocab, chunks }: KlShape, tokens: Int32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER + 4 * tokens.length);
  bytes.set(new TextEncoder().encode(MAGIC));
  const view = new DataView(bytes.buffer, 0, bytes.length);
  for (const [i, value] of [contextSize, vocab, chunks].entries()) view.setInt32(8 + 4 * i, value, true);
  for (let i = 0; i < tokens.length; i++) view.setInt32(HEADER + 4 * i, tokens[i]!, true);
  return bytes;
}

/**
 * The row of a token's logits, by llama.cpp's float32 arithmetic: codes are rounded to the nearest, ties to even, between the largest
 * logit and at most 16 below it.
 */
export function klRow(logits: Float32Array, { most, rest }: LogSum): Uint8Array<ArrayBuffer> {
  const f = Math.fround;
  let least = f(most - RANGE);
  let lowest = logits[0]!;
  for (let i = 1; i < logits.length; i++) if (logits[i]! < lowest) lowest = logits[i]!;
  if (lowest > least) least = lowest;
  const scale = f(f(most - least) / 65535);
  const inverse = scale === 0 ? 0 : f(1 / scale);
  const row = new Uint16Array(rowLength(logits.length));
  const facts = new Float32Array(row.buffer, 0, 2);
  facts[0] = scale;
  facts[1] = f(f(least - most) - f(rest));
  const codes = row.subarray(4);
  for (let i = 0; i < logits.length; i++)
    if (logits[i]! > least) codes[i] = f(f(inverse * f(logits[i]! - least)) + 12582912) - 12582912;
  return new Uint8Array(row.buffer, 0, row.byteLength);
}

/** One row as it was written. */
export interface KlRow {
  readonly scale: number;
  readonly least: number;
  /** (vocab) */
  readonly codes: Uint16Array;
}

/** A base file, opened: its shape and tokens; rows are read when they are wanted. */
export interface KlBase extends KlShape {
  /** (chunks × contextSize), as the text was tokenised: BOS does not yet stand in place of each chunk's first token. */
  readonly tokens: Int32Array;
  /** Rows [first, first + count) of a chunk. Rejects with CpmError "io", "bad-input". */
  rows(chunk: number, first: number, count: number, signal?: AbortSignal): Promise<KlRow[]>;
}

const bad = (source: Source, what: string, detail: object = {}): CpmError =>
  new CpmError("bad-input", `${source.name}: ${what}`, { file: source.name, ...detail });

/** Reads a file's header and tokens. Rejects with CpmError "bad-input" for what is no such file, or not a whole one; "io". */
export async function openKlBase(source: Source, signal?: AbortSignal): Promise<KlBase> {
  const remedy = "write it with cpm perplexity --save-kl, or llama-perplexity --kl-divergence-base";
  if (source.size < HEADER) throw bad(source, `${source.size} bytes are no file of log-probabilities; ${remedy}`);
  const header = await source.read(0, HEADER, signal);
  const view = new DataView(header.buffer, header.byteOffset, HEADER);
  if (new TextDecoder().decode(header.subarray(0, 8)) !== MAGIC)
    throw bad(source, `this is no file of log-probabilities (it does not begin with ${MAGIC}); ${remedy}`, { offset: 0 });
  const [contextSize, vocab, chunks] = [8, 12, 16].map((at) => view.getInt32(at, true)) as [number, number, number];
  for (const [field, value, from, to] of [
    ["context size", contextSize, 4, 1 << 24],
    ["vocabulary", vocab, 1, 1 << 24],
    ["chunks", chunks, 1, 1 << 30],
  ] as const)
    if (value < from || value > to)
      throw bad(source, `${field}: expected ${from} to ${to}, found ${value}; the file is damaged: ${remedy}`, { field });
  const shape = { contextSize, vocab, chunks };
  const expected = klFileSize(shape);
  if (source.size !== expected)
    throw bad(
      source,
      `${chunks} chunks of ${contextSize} tokens over ${vocab} take ${expected} bytes, and the file has ${source.size}: whoever wrote it was stopped, or it is damaged; ${remedy}`,
      { expected: `${expected} bytes`, found: `${source.size} bytes` },
    );
  const count = chunks * contextSize;
  const bytes = await source.read(HEADER, 4 * count, signal);
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tokens = Int32Array.from({ length: count }, (_, i) => words.getInt32(4 * i, true));
  const stray = tokens.findIndex((token) => token < 0 || token >= vocab);
  if (stray >= 0)
    throw bad(source, `token ${stray}: expected an id below ${vocab}, found ${tokens[stray]}; the file is damaged: ${remedy}`, {
      offset: HEADER + 4 * stray,
    });
  const stride = 2 * rowLength(vocab);
  return {
    ...shape,
    tokens,
    async rows(chunk, first, count, rowSignal) {
      const offset = HEADER + 4 * tokens.length + (chunk * scoredIn(contextSize) + first) * stride;
      // A copy of its own begins where 16-bit numbers may.
      const whole = (await source.read(offset, count * stride, rowSignal)).slice();
      return Array.from({ length: count }, (_, i) => {
        const [scale, least] = new Float32Array(whole.buffer, i * stride, 2) as unknown as [number, number];
        if (!Number.isFinite(scale) || !Number.isFinite(least) || scale < 0)
          throw bad(source, `a row's scale ${scale} and least value ${least} are none; the file is damaged: ${remedy}`, {
            offset: offset + i * stride,
          });
        return { scale, least, codes: new Uint16Array(whole.buffer, i * stride + 8, vocab) };
      });
    },
  };
}
