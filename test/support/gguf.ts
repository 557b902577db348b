// Writes GGUF files, right ones and, where a test asks for it, wrong ones.
const utf8 = new TextEncoder();

/** Little-endian bytes that grow. */
export class ByteWriter {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  /** Makes room first: the view may be another afterwards. */
  #put(bytes: number, set: (view: DataView, at: number) => void): this {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    set(this.#view, at);
    return this;
  }

  u8(...values: number[]): this {
    for (const value of values) this.#put(1, (view, at) => view.setUint8(at, value));
    return this;
  }

  u32(...values: number[]): this {
    for (const value of values) this.#put(4, (view, at) => view.setUint32(at, value, true));
    return this;
  }

  f32(...values: number[]): this {
    for (const value of values) this.#put(4, (view, at) => view.setFloat32(at, value, true));
    return this;
  }

  u64(...values: (number | bigint)[]): this {
    for (const value of values) this.#put(8, (view, at) => view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true));
    return this;
  }

  raw(bytes: Uint8Array): this {
    return this.#put(bytes.length, (view, at) => new Uint8Array(view.buffer).set(bytes, at));
  }

  text(value: string): this {
    const bytes = utf8.encode(value);
    return this.u64(bytes.length).raw(bytes);
  }

  pad(unit: number): this {
    return this.raw(new Uint8Array((unit - (this.length % unit)) % unit));
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }
}

/** A metadata value with its type id. */
export interface Value {
  readonly type: number;
  readonly write: (w: ByteWriter) => unknown;
}

export const u32 = (value: number): Value => ({ type: 4, write: (w) => w.u32(value) });
export const i32 = (value: number): Value => ({ type: 5, write: (w) => w.u32(value) });
export const f32 = (value: number): Value => ({ type: 6, write: (w) => w.f32(value) });
export const u64 = (value: number | bigint): Value => ({ type: 10, write: (w) => w.u64(value) });
export const flag = (value: boolean): Value => ({ type: 7, write: (w) => w.u8(value ? 1 : 0) });
export const text = (value: string): Value => ({ type: 8, write: (w) => w.text(value) });
/** `count` may lie. */
export const list = (type: number, items: readonly Value[], count: number | bigint = items.length): Value => ({
  type: 9,
  write(w) {
    w.u32(type).u64(count);
    for (const item of items) item.write(w);
  },
});

export const TYPE_IDS = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8, Q4_K: 12, I32: 26, BF16: 30 } as const;

export interface GgufTensor {
  readonly name: string;
  /** Type id. */
  readonly type: number;
  /** Outermost first, as in FileTensor. */
  readonly shape: readonly (number | bigint)[];
  readonly bytes: Uint8Array;
  /** Instead of the next free offset. */
  readonly offset?: number | bigint;
}

export interface GgufParts {
  readonly metadata: readonly (readonly [string, Value])[];
  readonly tensors: readonly GgufTensor[];
  readonly version?: number;
  readonly alignment?: number;
  /** Counts that the header states, where they differ from the truth. */
  readonly tensorCount?: number | bigint;
  readonly pairCount?: number | bigint;
}

/** The header alone ends where data begins. */
export function writeHeader({ metadata, tensors, version = 3, alignment = 32, tensorCount, pairCount }: GgufParts): Uint8Array {
  const w = new ByteWriter().u32(0x46554747, version).u64(tensorCount ?? tensors.length, pairCount ?? metadata.length);
  for (const [key, value] of metadata) value.write(w.text(key).u32(value.type) && w);
  let next = 0;
  for (const { name, type, shape, bytes, offset } of tensors) {
    w.text(name)
      .u32(shape.length)
      .u64(...[...shape].reverse())
      .u32(type)
      .u64(offset ?? next);
    next += Math.ceil(bytes.length / alignment) * alignment;
  }
  return w.pad(alignment).bytes();
}

export function writeGguf(parts: GgufParts): Uint8Array {
  const w = new ByteWriter().raw(writeHeader(parts));
  for (const { bytes } of parts.tensors) w.raw(bytes).pad(parts.alignment ?? 32);
  return w.bytes();
}
