// Safetensors: an 8-byte length, a JSON header, raw tensors. Also the index of a sharded set.
// Source: the safetensors format document. No well-kept reader of the bytes exists, so this is ours.
import { CpmError, modelError } from "../errors.ts";
import { parseObject, refusePointer, shown } from "./json.ts";
import { type ModelFiles, type Source, whereIs } from "./source.ts";
import { type FileTensor, TENSOR_TYPES, type TensorType } from "./tensor.ts";

/** A published model has headers of kilobytes; parsed JSON takes many times its text. */
const MAX_HEADER = 32 << 20;

/** Tensors by name. Types that cannot be read are kept out, under `unreadable` with their dtype. */
export interface Safetensors {
  readonly tensors: ReadonlyMap<string, FileTensor>;
  readonly unreadable: ReadonlyMap<string, string>;
}

interface Entry {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

async function header(
  source: Source,
  signal: AbortSignal | undefined,
): Promise<{ json: Record<string, unknown>; start: number }> {
  refusePointer(await source.read(0, Math.min(64, source.size), signal), source.name);
  if (source.size < 10)
    throw modelError(
      { file: source.name, offset: 0, expected: "at least 10 bytes", found: String(source.size) },
      "not a safetensors file",
    );
  const first = await source.read(0, 8, signal);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  const most = Math.min(source.size - 8, MAX_HEADER);
  if (length > BigInt(most))
    throw modelError(
      { file: source.name, offset: 0, field: "header length", expected: `at most ${most}`, found: String(length) },
      "not a safetensors file",
    );
  const text = new TextDecoder().decode(await source.read(8, Number(length), signal));
  return { json: parseObject(text, source.name, 8), start: 8 + Number(length) };
}

/** Reads one file's header. Throws "bad-model" for offsets outside the data, overlaps, and sizes that do not fit shapes. */
export async function readSafetensors(source: Source, signal?: AbortSignal): Promise<Safetensors> {
  const { json, start } = await header(source, signal);
  const room = source.size - start;
  const tensors = new Map<string, FileTensor>();
  const unreadable = new Map<string, string>();
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") continue;
    const fail = (expected: string, found: unknown): never => {
      throw modelError(
        { file: source.name, offset: 8, field: name.slice(0, 120), expected, found: shown(found) },
        "tensor entry",
      );
    };
    const {
      dtype,
      shape,
      data_offsets: offsets,
    } = (typeof value === "object" && value !== null ? value : fail("an object", value)) as Record<string, unknown>;
    if (!Array.isArray(shape) || shape.length > 8 || !shape.every(isCount)) return fail("a shape of at most 8 sizes", shape);
    if (
      !Array.isArray(offsets) ||
      offsets.length !== 2 ||
      !offsets.every(isCount) ||
      offsets[0]! > offsets[1]! ||
      offsets[1]! > room
    )
      return fail(`data_offsets within ${room} bytes`, offsets);
    const [begin, end] = offsets as [number, number];
    entries.push({ name, begin, end });
    if (typeof dtype !== "string") return fail("a dtype", dtype);
    const type = dtype as TensorType;
    if (!Object.hasOwn(TENSOR_TYPES, type) || TENSOR_TYPES[type].block !== 1) {
      unreadable.set(name, dtype);
      continue;
    }
    const bytes = (shape as number[]).reduce((a, b) => a * b, 1) * TENSOR_TYPES[type].bytes;
    if (bytes !== end - begin) fail(`${bytes} bytes for ${type} [${shape}]`, end - begin);
    tensors.set(name, { name, type, shape: shape as number[], source, offset: start + begin, bytes });
  }
  checkCoverage(source, entries, start);
  return { tensors, unreadable };
}

/** The format leaves no byte out: a hole is a name that stood there twice, or a file of another length. */
function checkCoverage(source: Source, entries: readonly Entry[], start: number): void {
  const sorted = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const e of sorted) {
    if (e.begin !== at)
      throw modelError(
        {
          file: source.name,
          offset: start + e.begin,
          field: e.name,
          expected: `data_offsets from ${at} on`,
          found: String(e.begin),
        },
        e.begin < at ? "tensor data overlaps that of another" : "no tensor owns the data before",
      );
    at = e.end;
  }
  if (start + at !== source.size)
    throw modelError(
      { file: source.name, offset: start + at, expected: `a file of ${start + at} bytes`, found: String(source.size) },
      "length",
    );
}

/** All tensors of a folder: model.safetensors (or the file named), or the shards that model.safetensors.index.json names. */
export async function openSafetensors(files: ModelFiles, signal?: AbortSignal): Promise<Safetensors> {
  const single = files.entry.endsWith(".safetensors") ? files.entry : "model.safetensors";
  const index = await files.open("model.safetensors.index.json", signal);
  const map = index && (await readIndex(index, signal));
  const shards = [...new Set(map?.values())];
  // A file named beside an index that is not about it is a model by itself.
  if (map && (!files.entry.endsWith(".safetensors") || shards.includes(files.entry)))
    return readShards(files, shards, map, signal);
  const siblings = shardNames(files.entry);
  if (siblings) return readShards(files, siblings, undefined, signal);
  const source = await files.open(single, signal);
  if (source) return readSafetensors(source, signal);
  const unindexed = await findShards(files, signal);
  if (unindexed) return readShards(files, unindexed, undefined, signal);
  throw await noWeights(files, single, signal);
}

/** The tensors of several files; with an index only those that it says are there, without one all, each name once. */
async function readShards(
  files: ModelFiles,
  shards: readonly string[],
  map: ReadonlyMap<string, string> | undefined,
  signal?: AbortSignal,
): Promise<Safetensors> {
  const tensors = new Map<string, FileTensor>();
  const unreadable = new Map<string, string>();
  for (const shard of shards) {
    const source = await files.open(shard, signal);
    if (!source)
      throw modelError(
        {
          file: shard,
          expected: `every shard that ${map ? "the index names" : "the names count"}`,
          found: `this one is missing (${whereIs(files, shard)})`,
        },
        "weights are missing",
        "download the whole folder",
      );
    const part = await readSafetensors(source, signal);
    for (const [name, tensor] of part.tensors) {
      if (map ? map.get(name) !== shard : tensors.has(name)) {
        if (map) continue;
        throw modelError({ file: shard, field: name, expected: "each tensor in one shard", found: "it twice" }, "shards");
      }
      tensors.set(name, tensor);
    }
    for (const [name, dtype] of part.unreadable) unreadable.set(name, dtype);
  }
  return { tensors, unreadable };
}

const SHARD = /^(.*-)(\d{5})-of-(\d{5})\.safetensors$/;
/** Folders without an index are searched for shards by name, up to so many. */
const MOST_UNINDEXED = 64;

/** All names of a set of shards, from one of them. */
function shardNames(name: string): string[] | undefined {
  const [, stem, , total] = SHARD.exec(name) ?? [];
  const count = Number(total);
  if (stem === undefined || !(count >= 1 && count <= 10_000)) return undefined;
  return Array.from({ length: count }, (_, i) => `${stem}${String(i + 1).padStart(5, "0")}-of-${total}.safetensors`);
}

/** The shards of a folder whose index is missing. Names are tried: files cannot be listed everywhere. */
async function findShards(files: ModelFiles, signal?: AbortSignal): Promise<string[] | undefined> {
  for (let count = 1; count <= MOST_UNINDEXED; count++) {
    const names = shardNames(`model-00001-of-${String(count).padStart(5, "0")}.safetensors`)!;
    if (await files.open(names[0]!, signal)) return names;
  }
  return undefined;
}

/** The error for a folder without safetensors: what lies there instead, and what to do about it. */
async function noWeights(files: ModelFiles, single: string, signal?: AbortSignal): Promise<CpmError> {
  const pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.ckpt.index"];
  for (const name of pickled) {
    if (!(await files.open(name, signal))) continue;
    return new CpmError(
      "unsupported",
      `${name}: weights in PyTorch's own format are not read, because such files can run code; convert them once with ` +
        "transformers (model.save_pretrained(folder, safe_serialization=True)) or to GGUF, or download a safetensors version",
      { file: name, expected: "model.safetensors", found: name },
    );
  }
  return modelError(
    { file: single, expected: "this file or model.safetensors.index.json", found: "neither" },
    "weights are missing",
    "download the whole folder",
  );
}

/** Which file each tensor is in. */
async function readIndex(index: Source, signal?: AbortSignal): Promise<Map<string, string>> {
  const map = parseObject(new TextDecoder().decode(await index.read(0, Math.min(index.size, MAX_HEADER), signal)), index.name)[
    "weight_map"
  ];
  if (typeof map !== "object" || map === null || Array.isArray(map))
    throw modelError({ file: index.name, field: "weight_map", expected: "an object", found: shown(map) }, "index");
  return new Map(
    Object.entries(map).map(([name, file]) => {
      if (typeof file !== "string" || file === "" || /[/\\]/.test(file))
        throw modelError({ file: index.name, field: "weight_map", expected: "file names", found: shown(file) }, "index");
      return [name, file];
    }),
  );
}
