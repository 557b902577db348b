// GGUF in pieces: a header writer, and the raw bytes of another file's keys.
import { closeSync, openSync, readSync } from "node:fs";

const ALIGNMENT = 32;
const encoder = new TextEncoder();

export const aligned = (bytes) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

class Writer {
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  length = 0;
  #room(bytes) {
    if (this.length + bytes > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.length + bytes));
      larger.set(this.#buffer);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    const at = this.length;
    this.length += bytes;
    return at;
  }
  // The view may be replaced by #room: take it afterwards.
  #put(bytes, set) {
    const at = this.#room(bytes);
    set(this.#view, at);
  }
  u8 = (v) => this.#put(1, (view, at) => view.setUint8(at, v));
  u32 = (v) => this.#put(4, (view, at) => view.setUint32(at, v, true));
  i32 = (v) => this.#put(4, (view, at) => view.setInt32(at, v, true));
  f32 = (v) => this.#put(4, (view, at) => view.setFloat32(at, v, true));
  u64 = (v) => this.#put(8, (view, at) => view.setBigUint64(at, BigInt(v), true));
  raw = (bytes) => {
    const at = this.#room(bytes.length);
    this.#buffer.set(bytes, at);
  };
  string = (text) => {
    const bytes = encoder.encode(text);
    this.u64(bytes.length);
    this.raw(bytes);
  };
  done = () => this.#buffer.subarray(0, this.length);
}

// A value is [kind, value]; arrays are ["string[]", values] and the like.
const KINDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8 };

function put(writer, kind, value) {
  if (kind === "bool") writer.u8(value ? 1 : 0);
  else writer[kind](value);
}

/**
 * The bytes of a GGUF file up to its first tensor.
 * entries: [key, kind, value] with kind of KINDS, or that with "[]"; `raw`: { count, bytes } of further keys as another file holds them;
 * tensors: { name, dims (innermost first), id, bytes } in file order.
 */
export function ggufHeader(entries, raw, tensors) {
  const w = new Writer();
  w.u32(0x46554747);
  w.u32(3);
  w.u64(tensors.length);
  w.u64(entries.length + raw.count);
  for (const [key, kind, value] of entries) {
    w.string(key);
    if (kind.endsWith("[]")) {
      const element = kind.slice(0, -2);
      w.u32(9);
      w.u32(KINDS[element]);
      w.u64(value.length);
      for (const v of value) put(w, element, v);
    } else {
      w.u32(KINDS[kind]);
      put(w, kind, value);
    }
  }
  w.raw(raw.bytes);
  let offset = 0;
  for (const { name, dims, id, bytes } of tensors) {
    w.string(name);
    w.u32(dims.length);
    for (const d of dims) w.u64(d);
    w.u32(id);
    w.u64(offset);
    offset += aligned(bytes);
  }
  w.raw(new Uint8Array(aligned(w.length) - w.length));
  return w.done();
}

const SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** The keys of a GGUF file (a small one: it is read whole) whose name starts with `prefix`, as they lie there: { count, bytes }. */
export function rawKeys(path, prefix) {
  const file = openSync(path, "r");
  const chunks = [];
  try {
    for (let at = 0; ; ) {
      const chunk = Buffer.alloc(1 << 20);
      const n = readSync(file, chunk, 0, chunk.length, at);
      if (n === 0) break;
      chunks.push(chunk.subarray(0, n));
      at += n;
    }
  } finally {
    closeSync(file);
  }
  const b = Buffer.concat(chunks);
  let at = 24;
  const u64 = () => Number(b.readBigUInt64LE((at += 8) - 8));
  const skip = (type) => {
    if (type === 8) {
      const length = u64();
      at += length;
    } else if (type === 9) {
      const element = b.readUInt32LE(at);
      at += 4;
      const count = u64();
      for (let i = 0; i < count; i++) skip(element);
    } else at += SIZES[type];
  };
  const kept = [];
  for (let left = Number(b.readBigUInt64LE(16)); left > 0; left--) {
    const start = at;
    const length = u64();
    const key = b.toString("utf8", at, at + length);
    at += length;
    const type = b.readUInt32LE(at);
    at += 4;
    skip(type);
    if (key.startsWith(prefix)) kept.push(b.subarray(start, at));
  }
  return { count: kept.length, bytes: Buffer.concat(kept) };
}
