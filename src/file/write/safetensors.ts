// Safetensors as a stream: the header from names, types and shapes, then tensors in any order.
// Source: the safetensors format document; entries lie in the order given, the header is padded with spaces to 8 bytes.
import { CpmError } from "../../errors.ts";
import { TENSOR_TYPES, type TensorType } from "../tensor.ts";
import { ByteWriter } from "./bytes.ts";
import { type Layout, type Output, type Placed, TensorWriter } from "./output.ts";

/** Types of safetensors files that are written here. */
export type PlainType = Extract<TensorType, "F32" | "F16" | "BF16" | "I32" | "I64">;

export interface SafetensorsPlan {
  readonly name: string;
  readonly type: PlainType;
  /** Outermost first; [] is a scalar. */
  readonly shape: readonly number[];
}

export interface SafetensorsPlaced extends Placed, SafetensorsPlan {}

/**
 * Lays a file out. `metadata`: texts for `__metadata__`, as { format: "pt" }, which transformers asks for.
 * @throws CpmError "bad-input" for names that are there twice and sizes that are no counts.
 */
export function layoutSafetensors(
  tensors: readonly SafetensorsPlan[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Layout<SafetensorsPlaced> {
  const placed = new Map<string, SafetensorsPlaced>();
  const entries: [string, unknown][] = Object.keys(metadata).length ? [["__metadata__", metadata]] : [];
  let next = 0;
  for (const { name, type, shape } of tensors) {
    if (placed.has(name) || name === "__metadata__" || !shape.every((n) => Number.isSafeInteger(n) && n >= 0))
      throw new CpmError("bad-input", `tensor ${name}: names are unique, and shapes are counts`, {
        field: name,
        found: `[${shape}]`,
      });
    const bytes = shape.reduce((a, b) => a * b, 1) * TENSOR_TYPES[type].bytes;
    entries.push([name, { dtype: type, shape, data_offsets: [next, next + bytes] }]);
    placed.set(name, { name, type, shape, bytes, offset: next });
    next += bytes;
  }
  // By hand: an object would put names that are numbers first.
  const members = entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${members.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const header = new ByteWriter()
    .u64(length)
    .raw(json)
    .raw(new Uint8Array(length - json.length).fill(0x20))
    .bytes();
  for (const [name, tensor] of placed) placed.set(name, { ...tensor, offset: tensor.offset + header.length });
  return { header, tensors: placed, size: header.length + next };
}

/** Begins a safetensors file. Throws as `layoutSafetensors` does, and "io". */
export async function writeSafetensors(
  output: Output,
  tensors: readonly SafetensorsPlan[],
  metadata?: Readonly<Record<string, string>>,
  done: Iterable<string> = [],
): Promise<TensorWriter> {
  return await TensorWriter.begin(output, layoutSafetensors(tensors, metadata), done);
}

/** The text of model.safetensors.index.json for tensors in several files: name of the tensor, name of its file. */
export function safetensorsIndex(files: ReadonlyMap<string, string>, totalBytes: number): string {
  const map = Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map: map }, null, 2)}\n`;
}
