// Little-endian bytes that grow.
import { copyOf, viewOf } from "../../brands.ts";

const utf8 = new TextEncoder();

export class ByteWriter {
  #bytes = new Uint8Array(1 << 16);
  #view = viewOf(this.#bytes);
  length = 0;

  /** Makes room first: the view may be another afterwards. */
  #put(bytes: number, set: (view: DataView, at: number) => void): this {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = viewOf(larger);
    }
    set(this.#view, at);
    return this;
  }

  u8 = (value: number): this => this.#put(1, (view, at) => view.setUint8(at, value));
  u16 = (value: number): this => this.#put(2, (view, at) => view.setUint16(at, value, true));
  u32 = (value: number): this => this.#put(4, (view, at) => view.setUint32(at, value, true));
  f32 = (value: number): this => this.#put(4, (view, at) => view.setFloat32(at, value, true));
  f64 = (value: number): this => this.#put(8, (view, at) => view.setFloat64(at, value, true));
  u64 = (value: number | bigint): this => this.#put(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  i64 = (value: number | bigint): this => this.#put(8, (view, at) => view.setBigInt64(at, BigInt(value), true));

  raw(bytes: Uint8Array): this {
    return this.#put(bytes.length, (_, at) => this.#bytes.set(bytes, at));
  }

  /** A text behind its length in bytes (u64), as GGUF has it. */
  text(value: string): this {
    const bytes = utf8.encode(value);
    return this.u64(bytes.length).raw(bytes);
  }

  /** Zeros up to a multiple of `unit`. */
  pad(unit: number): this {
    return this.raw(new Uint8Array((unit - (this.length % unit)) % unit));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return copyOf(this.#bytes.subarray(0, this.length));
  }
}
