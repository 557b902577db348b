// Shards: files of tokens, so that a text is tokenised once. A header of 160 bytes, then four sections, each padded to 8 bytes: tokens
// (u16, or u32 for larger vocabularies), a bit a token for those that are trained (where not all are), the documents' ends, and a number
// of each document's content. Little endian; the header and each section have a checksum.
import { copyOf, viewOf } from "../brands.ts";
import { modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import type { Output } from "../file/write/output.ts";
import { CHECKSUM_BYTES, Checksum, checksumOf } from "./checksum.ts";

const MAGIC = "CPMTOKS\u0001";
const VERSION = 1;
const HEADER = 160;
/** Where checksums begin in the header: those of the sections, then the header's own. */
const SUMS = 72;
const SECTIONS = 4;

/** Tokens of one shard, at most. */
export const SHARD_TOKENS = 1 << 26;

export interface TokenDocument {
  readonly tokens: ArrayLike<number>;
  /** 1 for tokens that are trained; absent: all. */
  readonly mask?: ArrayLike<number> | undefined;
}

export interface ShardFacts {
  readonly tokens: number;
  /** Tokens that are trained. */
  readonly trained: number;
  readonly documents: number;
  readonly bytes: number;
}

const padded = (bytes: number): number => Math.ceil(bytes / 8) * 8;
const bytesPerToken = (vocab: number): 2 | 4 => (vocab <= 65536 ? 2 : 4);

/** Grows as it is filled. */
class List<A extends Uint8Array | Uint32Array> {
  #array: A;
  readonly #make: (length: number) => A;
  length = 0;

  constructor(make: (length: number) => A) {
    this.#make = make;
    this.#array = make(1024);
  }

  reserve(length: number): A {
    if (length > this.#array.length) {
      const larger = this.#make(Math.max(length, 2 * this.#array.length));
      larger.set(this.#array);
      this.#array = larger;
    }
    return this.#array;
  }

  push(value: number): void {
    this.reserve(this.length + 1)[this.length++] = value;
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#array.buffer, 0, this.length * this.#array.BYTES_PER_ELEMENT);
  }
}

/** Tokens that are written together. */
const PIECE = 1 << 18;

/** Writes one shard; `tokenizer`: 32 bytes that tell the tokenizer. */
export class ShardWriter {
  readonly #output: Output;
  readonly #vocab: number;
  readonly #tokenizer: Uint8Array;
  readonly #width: 2 | 4;
  readonly #piece: Uint16Array | Uint32Array;
  readonly #sum = new Checksum();
  readonly #mask = new List((n) => new Uint8Array(n));
  readonly #ends = new List((n) => new Uint32Array(n));
  readonly #hashes = new List((n) => new Uint32Array(n));
  #filled = 0;
  #at = HEADER;
  #masked = false;
  #trained = 0;
  tokens = 0;

  constructor(output: Output, vocab: number, tokenizer: Uint8Array) {
    this.#output = output;
    this.#vocab = vocab;
    this.#tokenizer = tokenizer;
    this.#width = bytesPerToken(vocab);
    this.#piece = this.#width === 2 ? new Uint16Array(PIECE) : new Uint32Array(PIECE);
  }

  get documents(): number {
    return this.#ends.length;
  }

  /** Appends a document, unless it is empty; ids outside the vocabulary are the tokenizer's mistake. @throws CpmError "bad-model", "io" */
  async add({ tokens, mask }: TokenDocument): Promise<void> {
    const content = Uint32Array.from(tokens);
    if (content.length === 0) return;
    this.#mask.reserve(Math.ceil((this.tokens + content.length) / 8));
    for (let i = 0; i < content.length; i++) {
      const id = content[i]!;
      if (id >= this.#vocab)
        throw modelError(
          {
            file: this.#output.name,
            field: "tokens",
            expected: `ids below ${this.#vocab}, the embedding's rows`,
            found: String(id),
          },
          "tokenizer and model disagree",
          "give the tokenizer of this model",
        );
      this.#piece[this.#filled++] = id;
      if (this.#filled === PIECE) await this.#flush();
      const on = !mask || mask[i] ? 1 : 0;
      if (!on) this.#masked = true;
      this.#trained += on;
      const array = this.#mask.reserve((this.tokens >> 3) + 1);
      if (this.tokens % 8 === 0) array[this.tokens >> 3] = 0;
      array[this.tokens >> 3] = array[this.tokens >> 3]! | (on << (this.tokens & 7));
      this.tokens++;
    }
    this.#mask.length = Math.ceil(this.tokens / 8);
    this.#ends.push(this.tokens);
    const sum = checksumOf(new Uint8Array(content.buffer, 0, 4 * content.length));
    this.#hashes.push(viewOf(sum).getUint32(0, true));
  }

  async #flush(): Promise<void> {
    const bytes = new Uint8Array(this.#piece.buffer, 0, this.#filled * this.#width);
    this.#sum.update(bytes);
    await this.#output.write(this.#at, copyOf(bytes));
    this.#at += bytes.length;
    this.#filled = 0;
  }

  /** Writes what is left, and gives the file its name. */
  async finish(): Promise<ShardFacts> {
    await this.#flush();
    const rest = [this.#masked ? this.#mask.bytes() : new Uint8Array(0), this.#ends.bytes(), this.#hashes.bytes()];
    const header = new Uint8Array(HEADER);
    const view = viewOf(header);
    header.set(new TextEncoder().encode(MAGIC));
    view.setUint32(8, VERSION, true);
    view.setUint32(12, this.#width, true);
    view.setBigUint64(16, BigInt(this.tokens), true);
    view.setBigUint64(24, BigInt(this.#ends.length), true);
    view.setUint32(32, this.#vocab, true);
    view.setUint32(36, this.#masked ? 1 : 0, true);
    header.set(this.#tokenizer.subarray(0, 32), 40);
    header.set(this.#sum.digest(), SUMS);
    let at = HEADER + padded(this.tokens * this.#width);
    for (const [i, section] of rest.entries()) {
      header.set(checksumOf(section), SUMS + (i + 1) * CHECKSUM_BYTES);
      const whole = new Uint8Array(padded(section.length));
      whole.set(section);
      await this.#output.write(at, whole);
      at += whole.length;
    }
    await this.#output.write(this.#at, new Uint8Array(padded(this.#at - HEADER) - (this.#at - HEADER)));
    header.set(checksumOf(header.subarray(0, HEADER - CHECKSUM_BYTES)), HEADER - CHECKSUM_BYTES);
    await this.#output.write(0, header);
    await this.#output.sync();
    await this.#output.commit();
    return { tokens: this.tokens, trained: this.#trained, documents: this.#ends.length, bytes: at };
  }

  async discard(): Promise<void> {
    await this.#output.discard();
  }
}

/** Tokens and masks of a stretch. */
export interface Stretch {
  readonly tokens: Uint16Array | Uint32Array;
  /** 1 for tokens that are trained. */
  readonly mask: Uint8Array;
}

/** Shards up to this size stay in memory; of larger ones stretches are read. */
const HELD = 64 << 20;
const SLICE = 4 << 20;

export class Shard {
  readonly source: Source;
  readonly vocab: number;
  readonly tokens: number;
  /** Ends of documents, in tokens. */
  readonly ends: Uint32Array;
  /** Of each document's content. */
  readonly hashes: Uint32Array;
  readonly #width: 2 | 4;
  readonly #mask: Uint8Array | undefined;
  readonly #held: Uint8Array | undefined;

  private constructor(
    source: Source,
    facts: { vocab: number; tokens: number; width: 2 | 4 },
    ends: Uint32Array,
    hashes: Uint32Array,
    mask: Uint8Array | undefined,
    held: Uint8Array | undefined,
  ) {
    this.source = source;
    this.vocab = facts.vocab;
    this.tokens = facts.tokens;
    this.ends = ends;
    this.hashes = hashes;
    this.#width = facts.width;
    this.#mask = mask;
    this.#held = held;
  }

  get documents(): number {
    return this.ends.length;
  }

  /**
   * Reads and checks a shard, every byte of it. `tokenizer`: what it must have been made with.
   * Rejects with CpmError "bad-model" for what is no shard, is damaged, cut off or of another tokenizer; "io"; the signal's reason.
   */
  static async open(source: Source, tokenizer: Uint8Array, signal?: AbortSignal): Promise<Shard> {
    const todo = "remove it, and it is made anew from the texts";
    const fail = (field: string, expected: string, found: string, offset: number): never => {
      throw modelError({ file: source.name, offset, field, expected, found }, "a shard of tokens", todo);
    };
    if (source.size < HEADER) fail("length", `at least ${HEADER} bytes`, String(source.size), 0);
    const header = await source.read(0, HEADER, signal);
    const view = viewOf(header);
    const magic = new TextDecoder("latin1").decode(header.subarray(0, 8));
    if (magic !== MAGIC) fail("magic", JSON.stringify(MAGIC), JSON.stringify(magic), 0);
    if (!same(checksumOf(header.subarray(0, HEADER - CHECKSUM_BYTES)), header.subarray(HEADER - CHECKSUM_BYTES)))
      fail("header", "its checksum", "another", 0);
    const version = view.getUint32(8, true);
    if (version !== VERSION) fail("version", String(VERSION), String(version), 8);
    const [width, tokens, documents] = [view.getUint32(12, true), view.getBigUint64(16, true), view.getBigUint64(24, true)];
    const [vocab, flags] = [view.getUint32(32, true), view.getUint32(36, true)];
    if (width !== bytesPerToken(vocab)) fail("bytes of a token", String(bytesPerToken(vocab)), String(width), 12);
    if (tokens > 2 ** 31 || documents > tokens) fail("counts", "at most 2^31 tokens, and no more documents", `${tokens}`, 16);
    if (!same(header.subarray(40, 72), tokenizer.subarray(0, 32)))
      fail("tokenizer", "the tokenizer of this model", "another one's tokens", 40);
    const counts = { tokens: Number(tokens), documents: Number(documents) };
    const sizes = [
      counts.tokens * width!,
      flags & 1 ? Math.ceil(counts.tokens / 8) : 0,
      4 * counts.documents,
      4 * counts.documents,
    ] as const;
    const size = sizes.reduce((sum, bytes) => sum + padded(bytes), HEADER);
    if (size !== source.size) fail("length", `${size} bytes`, String(source.size), source.size);
    const sections: (Uint8Array | undefined)[] = [];
    let at = HEADER;
    for (let i = 0; i < SECTIONS; i++) {
      const bytes = sizes[i]!;
      const [sum, held] = await readSection(source, at, bytes, i > 0 || bytes <= HELD, signal);
      const stated = header.subarray(SUMS + i * CHECKSUM_BYTES, SUMS + (i + 1) * CHECKSUM_BYTES);
      if (!same(sum, stated)) fail(["tokens", "mask", "ends", "contents"][i]!, "the checksum in the header", "another", at);
      sections.push(held);
      at += padded(bytes);
    }
    const words = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const ends = words(sections[2]!);
    let before = 0;
    for (const end of ends) {
      if (end <= before) fail("ends", "ends that grow", String(end), at);
      before = end;
    }
    if (before !== counts.tokens) fail("ends", String(counts.tokens), String(before), at);
    return new Shard(
      source,
      { vocab, tokens: counts.tokens, width: width as 2 | 4 },
      ends,
      words(sections[3]!),
      flags & 1 ? sections[1] : undefined,
      sections[0],
    );
  }

  /** Tokens [from, from + count). */
  async read(from: number, count: number, signal?: AbortSignal): Promise<Stretch> {
    const [begin, length] = [from * this.#width, count * this.#width];
    const bytes = this.#held
      ? this.#held.subarray(begin, begin + length)
      : await this.source.read(HEADER + begin, length, signal);
    const own = bytes.byteOffset % 4 === 0 ? bytes : copyOf(bytes);
    const tokens =
      this.#width === 2 ? new Uint16Array(own.buffer, own.byteOffset, count) : new Uint32Array(own.buffer, own.byteOffset, count);
    const mask = new Uint8Array(count).fill(1);
    const bits = this.#mask;
    if (bits) for (let i = 0; i < count; i++) mask[i] = (bits[(from + i) >> 3]! >> ((from + i) & 7)) & 1;
    return { tokens, mask };
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((x, i) => x === b[i]);

async function readSection(
  source: Source,
  at: number,
  bytes: number,
  hold: boolean,
  signal: AbortSignal | undefined,
): Promise<[Uint8Array, Uint8Array | undefined]> {
  const sum = new Checksum();
  const held = hold ? new Uint8Array(bytes) : undefined;
  for (let done = 0; done < bytes; done += SLICE) {
    const piece = await source.read(at + done, Math.min(SLICE, bytes - done), signal);
    signal?.throwIfAborted();
    sum.update(piece);
    held?.set(piece, done);
  }
  return [sum.digest(), held];
}
