// A file read from its beginning, a piece at a time: what a format's reader needs.
import { modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";

const PIECE = 1 << 20;

export class Reader {
  readonly source: Source;
  readonly #signal: AbortSignal | undefined;
  #piece: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Of the piece's first byte. */
  #base = 0;
  #at = 0;

  constructor(source: Source, signal?: AbortSignal) {
    this.source = source;
    this.#signal = signal;
  }

  get offset(): number {
    return this.#base + this.#at;
  }

  get left(): number {
    return this.source.size - this.offset;
  }

  /** Bytes that lie here already. */
  get ready(): Uint8Array {
    return this.#piece.subarray(this.#at);
  }

  /** An error at this place. */
  fail(field: string, expected: string, found: string | number | bigint) {
    return modelError({ file: this.source.name, offset: this.offset, field, expected, found: String(found) }, "not a classifier");
  }

  /** Makes the next `bytes` bytes ready, and more where the file has them. @throws "bad-model" when it ends before. */
  async need(bytes: number, field: string): Promise<void> {
    if (this.#piece.length - this.#at >= bytes) return;
    if (bytes > this.left) throw this.fail(field, `${bytes} more bytes`, `${this.left}, the end of the file`);
    const offset = this.offset;
    const length = Math.min(Math.max(bytes, PIECE), this.source.size - offset);
    this.#piece = await this.source.read(offset, length, this.#signal);
    this.#signal?.throwIfAborted();
    this.#view = new DataView(this.#piece.buffer, this.#piece.byteOffset, this.#piece.byteLength);
    this.#base = offset;
    this.#at = 0;
  }

  /** Makes more bytes ready than there are; false at the end of the file. */
  async more(field: string): Promise<boolean> {
    const have = this.#piece.length - this.#at;
    if (have === this.left) return false;
    await this.need(Math.min(2 * have + PIECE, this.left), field);
    return true;
  }

  skip(bytes: number): void {
    this.#at += bytes;
  }

  u8(): number {
    return this.#view.getUint8(this.#at++);
  }

  i32(): number {
    this.#at += 4;
    return this.#view.getInt32(this.#at - 4, true);
  }

  /** A 64-bit integer, exact below 2^53; beyond that it is too large for whatever is counted here. */
  i64(): number {
    this.#at += 8;
    return Number(this.#view.getBigInt64(this.#at - 8, true));
  }

  f64(): number {
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8, true);
  }

  async bytes(length: number, field: string): Promise<Uint8Array> {
    await this.need(length, field);
    this.#at += length;
    return this.#piece.slice(this.#at - length, this.#at);
  }

  async floats(count: number, field: string): Promise<Float32Array> {
    const bytes = await this.bytes(4 * count, field);
    return new Float32Array(bytes.buffer, bytes.byteOffset, count);
  }

  /** Goes to a place of the file. */
  seek(offset: number): void {
    this.#base = offset;
    this.#piece = new Uint8Array(0);
    this.#at = 0;
  }
}
