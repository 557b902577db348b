// GGUF v3 as a stream: the header from names, types and shapes alone, then tensors in any order.
// Source: the GGUF specification (ggml).
import { CpmError } from "../../errors.ts";
import { shown } from "../../shown.ts";
import { type Gguf, TYPE_IDS } from "../gguf.ts";
import type { Source } from "../source.ts";
import { TENSOR_TYPES, type TensorType } from "../tensor.ts";
import { ByteWriter } from "./bytes.ts";
import { type Layout, type Output, type Placed, TensorWriter } from "./output.ts";

/** Types of metadata by their ids in the file. */
const KINDS = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, u64: 10, i64: 11, f64: 12 } as const;
export type GgufKind = keyof typeof KINDS;
const ARRAY = 9;

type Scalar = number | bigint | boolean | string;

/** A value with its type: the file distinguishes what JavaScript does not. Arrays name the type of their elements. */
export type TypedValue =
  | { readonly kind: GgufKind; readonly value: Scalar }
  | { readonly array: GgufKind; readonly value: ArrayLike<Scalar> }
  /** As it lay in another file; see `copiedMetadata`. */
  | { readonly type: number; readonly raw: Uint8Array };

export type GgufMetadata = ReadonlyMap<string, TypedValue>;

/** A tensor to be written; the shape outermost first, as in FileTensor. */
export interface GgufTensorPlan {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
}

export interface GgufPlaced extends Placed, GgufTensorPlan {}

type Range = readonly [low: number, high: number, put?: "u8" | "u16" | "u32"];
const RANGES: Readonly<Partial<Record<GgufKind, Range>>> = {
  u8: [0, 255, "u8"],
  i8: [-128, 127, "u8"],
  u16: [0, 65535, "u16"],
  i16: [-32768, 32767, "u16"],
  u32: [0, 2 ** 32 - 1, "u32"],
  i32: [-(2 ** 31), 2 ** 31 - 1, "u32"],
};
const isWhole = (value: Scalar): value is number | bigint => typeof value === "bigint" || Number.isSafeInteger(value);

function putScalar(w: ByteWriter, kind: GgufKind, value: Scalar, key: string): void {
  if (kind === "string" && typeof value === "string") w.text(value);
  else if (kind === "bool" && typeof value === "boolean") w.u8(value ? 1 : 0);
  else if (kind === "u64" && isWhole(value) && value >= 0) w.u64(value);
  else if (kind === "i64" && isWhole(value)) w.i64(value);
  else if (kind === "f32" && typeof value === "number") w.f32(value);
  else if (kind === "f64" && typeof value === "number") w.f64(value);
  else {
    const [low, high, put] = RANGES[kind] ?? [0, -1];
    if (!put || typeof value !== "number" || !Number.isInteger(value) || value < low || value > high)
      throw new CpmError("bad-input", `${key}: expected a value of type ${kind}, found ${shown(value)}`, {
        field: key,
        expected: kind,
        found: shown(value),
      });
    w[put](value);
  }
}

function putValue(w: ByteWriter, value: TypedValue, key: string): void {
  if ("raw" in value) {
    w.u32(value.type).raw(value.raw);
  } else if ("array" in value) {
    w.u32(ARRAY).u32(KINDS[value.array]).u64(value.value.length);
    for (let i = 0; i < value.value.length; i++) putScalar(w, value.array, value.value[i]!, key);
  } else {
    w.u32(KINDS[value.kind]);
    putScalar(w, value.kind, value.value, key);
  }
}

/** Bytes of a tensor. @throws CpmError "bad-input" when the last size is no multiple of the type's block. */
export function tensorBytes({ name, type, shape }: GgufTensorPlan): number {
  const { block, bytes } = TENSOR_TYPES[type];
  if (shape.length < 1 || shape.length > 4 || shape.at(-1)! % block || !shape.every((n) => Number.isSafeInteger(n) && n > 0))
    throw new CpmError("bad-input", `tensor ${name}: a ${type} tensor of shape [${shape}] does not exist in GGUF`, {
      field: name,
      expected: `1 to 4 sizes, rows a multiple of ${block}`,
      found: `[${shape}]`,
    });
  return (shape.reduce((a, b) => a * b, 1) / block) * bytes;
}

/** ggml keeps names in 64 bytes, the last of them 0. */
const LONGEST_NAME = 63;

/**
 * Lays a file out. `alignment` (bytes, a power of two) is what general.alignment says; 32 without that key.
 * @throws CpmError "bad-input" for values that do not fit their type, names that are too long or there twice, impossible shapes.
 */
export function layoutGguf(metadata: GgufMetadata, tensors: readonly GgufTensorPlan[]): Layout<GgufPlaced> {
  const stated = metadata.get("general.alignment");
  const alignment = stated === undefined ? 32 : alignmentOf(stated);
  const w = new ByteWriter().u32(0x46554747).u32(3).u64(tensors.length).u64(metadata.size);
  for (const [key, value] of metadata) putValue(w.text(key), value, key);
  const placed = new Map<string, GgufPlaced>();
  const aligned = (n: number) => Math.ceil(n / alignment) * alignment;
  let next = 0;
  for (const { name, type, shape } of tensors) {
    const bytes = tensorBytes({ name, type, shape });
    if (placed.has(name) || new TextEncoder().encode(name).length > LONGEST_NAME)
      throw new CpmError("bad-input", `tensor ${name}: names are unique and at most ${LONGEST_NAME} bytes long`, { field: name });
    w.text(name).u32(shape.length);
    for (const size of shape.toReversed()) w.u64(size);
    w.u32(TYPE_IDS[type]).u64(next);
    placed.set(name, { name, type, shape, bytes, offset: next });
    next = aligned(next + bytes);
  }
  const header = w.pad(alignment).bytes();
  for (const [name, tensor] of placed) placed.set(name, { ...tensor, offset: tensor.offset + header.length });
  return { header, tensors: placed, size: header.length + next };
}

function alignmentOf(value: TypedValue): number {
  const number =
    "raw" in value ? new DataView(value.raw.buffer, value.raw.byteOffset).getUint32(0, true) : "kind" in value ? value.value : 0;
  if (typeof number !== "number" || number < 8 || number > 1 << 20 || number & (number - 1))
    throw new CpmError("bad-input", "general.alignment: expected a power of two from 8 to 2^20", { field: "general.alignment" });
  return number;
}

/** Begins a GGUF file; `done` names tensors that an earlier run has written into this output. Throws as `layoutGguf` does, and "io". */
export async function writeGguf(
  output: Output,
  metadata: GgufMetadata,
  tensors: readonly GgufTensorPlan[],
  done: Iterable<string> = [],
): Promise<TensorWriter> {
  return await TensorWriter.begin(output, layoutGguf(metadata, tensors), done);
}

/** All metadata of a GGUF file with its types, to be written into another: not a bit of a value changes. */
export async function copiedMetadata(source: Source, gguf: Gguf, signal?: AbortSignal): Promise<Map<string, TypedValue>> {
  const copied = new Map<string, TypedValue>();
  for (const [key, { type, offset, bytes }] of gguf.places)
    copied.set(key, { type, raw: await source.read(offset, bytes, signal) });
  return copied;
}
