// LoRA adapters in linear memory: planned beside the model's weights, packed as float weights with columns padded to 4.
import { bytesOf } from "../brands.ts";
import { modelError } from "../errors.ts";
import { type FileTensor, TENSOR_TYPES, type WeightType } from "../file/tensor.ts";
import { check, FILE_TYPES, KINDS, type Kind, STRUCT_BYTES, StructWriter, type TensorWords } from "../wasm/abi.ts";
import type { Build } from "../wasm/features.ts";
import { align } from "../wasm/memory.ts";
import { LINEARS, type Linear } from "./config.ts";
import type { LoadContext } from "./load.ts";
import type { LoraFile, LoraWeights } from "./lora.ts";
import { isFloat, tensorBytes } from "./plan.ts";

const GROUP = 4;
const STAGED = 1 << 20;

/** A or B as it will be packed. */
interface PlannedPart {
  readonly file: FileTensor;
  readonly kind: Kind;
  /** As packed: a rank padded to 4. */
  readonly rows: number;
  readonly cols: number;
  readonly ropeHeads: number;
  readonly bytes: number;
}

interface PlannedPair {
  readonly a: PlannedPart;
  readonly b: PlannedPart;
  readonly scale: number;
}

export interface PlannedLora {
  readonly layers: readonly { readonly [K in Linear]?: PlannedPair }[];
  /** Floats of A x for the linears that read the same rows, at most. */
  readonly width: number;
  /** The highest rank of a linear. */
  readonly rank: number;
  readonly bytes: number;
}

/** Adapters beside a model: their bytes in all, of the staging area, and floats of A x that a row needs with all of them. */
export interface LoraPlan {
  readonly adapters: readonly PlannedLora[];
  readonly bytes: number;
  readonly stagingBytes: number;
  readonly width: number;
}

/** Linears that read the same rows. */
const READERS: readonly (readonly Linear[])[] = [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]];

/** Sizes of everything, before a byte is allocated. */
export function planLora(build: Build, files: readonly LoraFile[]): LoraPlan {
  const adapters = files.map(({ layers }) => planOne(build, layers));
  return {
    adapters,
    bytes: adapters.reduce((sum, { bytes }) => sum + bytes, 0),
    stagingBytes: Math.max(0, ...adapters.flatMap(({ layers }) => layers.flatMap(partsOf)).map(staged)),
    width: adapters.reduce((sum, { width }) => sum + width, 0),
  };
}

const partsOf = (layer: PlannedLora["layers"][number]): PlannedPart[] =>
  LINEARS.flatMap((linear) => (layer[linear] ? [layer[linear].a, layer[linear].b] : []));

function planOne(build: Build, files: LoraFile["layers"]): PlannedLora {
  const part = (file: FileTensor, rows: number, ropeHeads: number): PlannedPart => {
    const own = KINDS[build.probe.packed_kind(FILE_TYPES[file.type as WeightType])]!;
    // Quantised adapters are small: they become float32.
    const kind = isFloat(own) ? own : "f32";
    const cols = file.shape[1]!;
    return { file, kind, rows, cols, ropeHeads, bytes: align(tensorBytes(build, { kind, rows, cols, group: GROUP })) };
  };
  const pair = ({ a, b, scale, ropeHeads }: LoraWeights): PlannedPair => ({
    a: part(a, padded(a.shape[0]!), 0),
    b: part(b, b.shape[0]!, ropeHeads),
    scale,
  });
  const layers = files.map((layer): PlannedLora["layers"][number] =>
    Object.fromEntries(LINEARS.flatMap((linear) => (layer[linear] ? [[linear, pair(layer[linear])]] : []))),
  );
  const parts = layers.flatMap(partsOf);
  const widths = layers.flatMap((layer) =>
    READERS.map((linears) => linears.reduce((sum, linear) => sum + (layer[linear]?.a.rows ?? 0), 0)),
  );
  return {
    layers,
    width: Math.max(...widths),
    rank: Math.max(...files.flatMap((layer) => LINEARS.map((linear) => layer[linear]?.a.shape[0] ?? 0))),
    bytes: align(STRUCT_BYTES.loraLayer * layers.length) + parts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

const padded = (rank: number): number => Math.ceil(rank / 4) * 4;

const rowBytes = ({ file }: PlannedPart): number => file.bytes / file.shape[0]!;

/** Rows that are read at a time, as they lie in the file and as floats. */
const rowsAtOnce = (part: PlannedPart): number =>
  Math.max(1, Math.min(part.file.shape[0]!, Math.floor(STAGED / (rowBytes(part) + 4 * part.cols))));

const staged = (part: PlannedPart): number => align(rowsAtOnce(part) * rowBytes(part)) + align(rowsAtOnce(part) * 4 * part.cols);

/** An adapter in memory. */
export interface LoadedLora {
  /** Address of (layers) LoraLayer. */
  readonly at: number;
  readonly width: number;
  /** Tells it from others in saved sessions. */
  readonly fingerprint: bigint;
}

/** Places, reads and packs adapters. Throws "bad-model" for what is no finite number, "io", or the signal's reason. */
export async function loadLora(context: LoadContext, plan: LoraPlan): Promise<LoadedLora[]> {
  const loaded: LoadedLora[] = [];
  for (const adapter of plan.adapters) loaded.push(await loadOne(context, adapter));
  return loaded;
}

async function loadOne(context: LoadContext, { layers, width }: PlannedLora): Promise<LoadedLora> {
  const { arena } = context;
  const at = arena.take(STRUCT_BYTES.loraLayer * layers.length);
  let fingerprint = 0xcbf29ce484222325n;
  const mix = (bytes: Uint8Array) => {
    for (const byte of bytes) fingerprint = BigInt.asUintN(64, (fingerprint ^ BigInt(byte)) * 0x100000001b3n);
  };
  const totalBytes = layers.flatMap(partsOf).reduce((sum, { file }) => sum + file.bytes, 0);
  let bytes = 0;
  const none: TensorWords = [0, 0, 0, 0, 0];
  for (const [i, layer] of layers.entries()) {
    const structs: { a: TensorWords; b: TensorWords; scale: number }[] = [];
    for (const linear of LINEARS) {
      const pair = layer[linear];
      if (!pair) {
        structs.push({ a: none, b: none, scale: 0 });
        continue;
      }
      const words: TensorWords[] = [];
      for (const part of [pair.a, pair.b]) {
        const tensor: TensorWords = [KINDS.indexOf(part.kind), part.rows, part.cols, GROUP, arena.take(part.bytes)];
        new Uint8Array(arena.memory.buffer, tensor[4], part.bytes).fill(0);
        await pack(context, part, tensor);
        mix(new Uint8Array(arena.memory.buffer, tensor[4], part.bytes));
        words.push(tensor);
        bytes += part.file.bytes;
        context.onProgress({ phase: "weights", bytes, totalBytes, tensor: part.file.name });
      }
      structs.push({ a: words[0]!, b: words[1]!, scale: pair.scale });
    }
    const writer = new StructWriter(arena.memory.buffer, at + i * STRUCT_BYTES.loraLayer);
    for (const { a, b, scale } of structs) writer.tensors(a, b).floats(scale).ints(0);
    mix(bytesOf(Float32Array.from(structs, ({ scale }) => scale))!);
  }
  return { at, width, fingerprint };
}

async function pack(context: LoadContext, part: PlannedPart, tensor: TensorWords): Promise<void> {
  const { arena, kernels, pool, signal } = context;
  const { file, cols } = part;
  const descriptor = arena.take(STRUCT_BYTES.tensor);
  new StructWriter(arena.memory.buffer, descriptor).tensors(tensor);
  const { block } = TENSOR_TYPES[file.type];
  const type = FILE_TYPES[file.type as WeightType];
  const [bytes, most] = [rowBytes(part), rowsAtOnce(part)];
  const raw = context.staging;
  const floats = raw + align(most * bytes);
  for (let row = 0; row < file.shape[0]!; row += most) {
    const count = Math.min(most, file.shape[0]! - row);
    new Uint8Array(arena.memory.buffer, raw, count * bytes).set(
      await file.source.read(file.offset + row * bytes, count * bytes, signal),
    );
    signal?.throwIfAborted();
    kernels.dequantize(type, raw, (count * cols) / block, floats);
    const bad = new Float32Array(arena.memory.buffer, floats, count * cols).findIndex((v) => !Number.isFinite(v));
    if (bad >= 0)
      throw modelError(
        {
          file: file.source.name,
          offset: file.offset + row * bytes + Math.floor((bad * bytes) / cols),
          field: file.name,
          expected: "finite numbers",
          found: `another at element ${row * cols + bad}`,
        },
        "value",
      );
    const stored = block === 1;
    const args = [descriptor, stored ? type : FILE_TYPES.F32, stored ? raw : floats, row, count, part.ropeHeads];
    check(await pool.runAll("pack_rows", ...args), `packing ${file.name}`);
    await context.host.breathe();
  }
  arena.free(descriptor, STRUCT_BYTES.tensor);
}
