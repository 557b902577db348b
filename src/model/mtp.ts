// A multi-token-prediction layer's files as a draft head: the layer behind a model's last, with DeepSeek's names in safetensors or GGUF,
// or as `cpm train` writes it. Source of the names: DeepSeek-V3, llama.cpp (nextn).
import { CpmError, modelError } from "../errors.ts";
import { bytesSource } from "../file/bytes.ts";
import { readGguf } from "../file/gguf.ts";
import { parseObject } from "../file/json.ts";
import { openSafetensors } from "../file/safetensors.ts";
import type { ModelFiles } from "../file/source.ts";
import { whereIs } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { ModelConfig, WeightFile } from "./config.ts";
import { checkScales, type HeadFile, innerSize } from "./eagle.ts";
import { Fields, LIMITS } from "./fields.ts";
import { inOrder } from "./gptq.ts";
import { type Gptq, quantizeConfig, readGptq, readLinear, readText, readWeight } from "./huggingface.ts";
import { TensorTable } from "./shapes.ts";

/** Where its parts are, and how they are put together. */
interface Layout {
  readonly enorm: string;
  readonly hnorm: string;
  readonly proj: string;
  readonly norm: string;
  readonly head: string;
  readonly embedding: string;
  readonly attnNorm: string;
  readonly ffnNorm: string;
  readonly linears: Readonly<Record<"q" | "k" | "v" | "o" | "gate" | "up" | "down", string>>;
  /** Rows of q and k are stored interleaved. */
  readonly interleaved: boolean;
  /** The projection's first half takes the hidden state, as the papers write it. */
  readonly hiddenFirst: boolean;
  /** There is a row for the first token, which no hidden state precedes. */
  readonly firstRow: boolean;
  /** Tensors beside them that belong to the layer's model. */
  readonly others: RegExp;
}

const blockOf = (p: string) => ({
  attnNorm: `${p}input_layernorm`,
  ffnNorm: `${p}post_attention_layernorm`,
  linears: {
    q: `${p}self_attn.q_proj`,
    k: `${p}self_attn.k_proj`,
    v: `${p}self_attn.v_proj`,
    o: `${p}self_attn.o_proj`,
    gate: `${p}mlp.gate_proj`,
    up: `${p}mlp.up_proj`,
    down: `${p}mlp.down_proj`,
  },
});

/** `model.layers.N.enorm` and so on: DeepSeek-V3, GLM, Qwen. */
const published = (n: string): Layout => {
  const p = `model.layers.${n}.`;
  return {
    ...blockOf(p),
    enorm: `${p}enorm`,
    hnorm: `${p}hnorm`,
    proj: `${p}eh_proj`,
    norm: `${p}shared_head.norm`,
    head: `${p}shared_head.head`,
    embedding: `${p}embed_tokens`,
    interleaved: false,
    hiddenFirst: false,
    firstRow: true,
    others: new RegExp(`^(?!${p.replaceAll(".", "\\.")})|\\brotary_emb\\.(?:inv_freq|cos_cached|sin_cached)$`),
  };
};

/** `mtp.proj` and so on: `cpm train`. */
const trained: Layout = {
  ...blockOf("mtp.layers.0."),
  enorm: "mtp.norm_e",
  hnorm: "mtp.norm_h",
  proj: "mtp.proj",
  norm: "mtp.norm",
  head: "mtp.head",
  embedding: "mtp.embed_tokens",
  interleaved: false,
  hiddenFirst: true,
  firstRow: false,
  others: /^(?!mtp\.)/,
};

/** `blk.N.nextn.enorm` and so on. Architectures whose q and k llama.cpp stores interleaved are those of its first kind of rotation. */
const ofGguf = (n: string, interleaved: boolean): Layout => {
  const p = `blk.${n}.`;
  return {
    enorm: `${p}nextn.enorm`,
    hnorm: `${p}nextn.hnorm`,
    proj: `${p}nextn.eh_proj`,
    norm: `${p}nextn.shared_head_norm`,
    head: `${p}nextn.shared_head_head`,
    embedding: `${p}nextn.embed_tokens`,
    attnNorm: `${p}attn_norm`,
    ffnNorm: `${p}ffn_norm`,
    linears: {
      q: `${p}attn_q`,
      k: `${p}attn_k`,
      v: `${p}attn_v`,
      o: `${p}attn_output`,
      gate: `${p}ffn_gate`,
      up: `${p}ffn_up`,
      down: `${p}ffn_down`,
    },
    interleaved,
    hiddenFirst: false,
    firstRow: true,
    others: new RegExp(`^(?!${p.replaceAll(".", "\\.")})|\\.attn_rot_embd$`),
  };
};

const INTERLEAVED = ["llama", "minicpm", "mistral", "granite"];

/**
 * Reads an MTP layer: a bare .safetensors or .gguf file, or a folder with its config.json. Tensors of the model that lie beside it are passed
 * over. Throws "unsupported" for several layers and for parts that a layer does not have, "bad-model" for what is missing, damaged, or
 * belongs to another target.
 */
export async function readMtp(files: ModelFiles, target: ModelConfig, signal?: AbortSignal): Promise<HeadFile> {
  const { layout, table, fields, gptq } = /\.gguf$/i.test(files.entry)
    ? await openGguf(files, signal)
    : await openFolder(files, target, signal);
  const heads = fields?.count("num_attention_heads", 1, LIMITS.heads, target.heads) ?? target.heads;
  const kvHeads = fields?.count("num_key_value_heads", 1, heads, target.kvHeads) ?? target.kvHeads;
  if (heads % kvHeads) fields!.fail("num_key_value_heads", `a divisor of ${heads}`, kvHeads);
  if (fields && fields.count("head_dim", 2, LIMITS.headDim, target.headDim) !== target.headDim)
    fields.fail("head_dim", `${target.headDim}, as the target's`, fields.raw("head_dim"));
  const { hidden, headDim, vocab } = target;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const inner = innerSize(table, layout.linears.gate, "give the file or folder of an MTP layer");
  const linear = (name: string, rows: number, cols: number, turned = 0): WeightFile => {
    const found = readLinear(table, name, [rows, cols], gptq);
    return found.kind === "plain" && layout.interleaved ? { ...found, ropeHeads: turned } : found;
  };
  const norm = (name: string): FileTensor => table.get(`${name}.weight`, [hidden]);
  const fc = readWeight(table, layout.proj, [hidden, 2 * hidden], gptq);
  const l = layout.linears;
  const linears = {
    fc: layout.hiddenFirst ? await embeddingFirst(fc, signal) : fc,
    q: linear(l.q, q, hidden, heads),
    k: linear(l.k, kv, hidden, kvHeads),
    v: linear(l.v, kv, hidden),
    o: linear(l.o, hidden, q),
    gate: linear(l.gate, inner, hidden),
    up: linear(l.up, inner, hidden),
    down: linear(l.down, hidden, inner),
  };
  const rows = (name: string): WeightFile | undefined =>
    table.has(`${name}.weight`)
      ? { kind: "plain", tensor: table.get(`${name}.weight`, [vocab, hidden]), ropeHeads: 0 }
      : undefined;
  const read = {
    norms: {
      bias: table.has(`${layout.proj}.bias`) ? table.get(`${layout.proj}.bias`, [hidden]) : undefined,
      embedNorm: norm(layout.enorm),
      hiddenNorm: norm(layout.hnorm),
      attnNorm: norm(layout.attnNorm),
      ffnNorm: norm(layout.ffnNorm),
      norm: table.has(`${layout.norm}.weight`) ? norm(layout.norm) : undefined,
      tapNorm: undefined,
    },
    head: rows(layout.head),
    embedding: rows(layout.embedding),
  };
  for (const name of Object.keys(linears) as (keyof typeof linears)[]) linears[name] = await inOrder(linears[name], signal);
  table.refuseUnused(layout.others);
  return {
    version: 2,
    mtp: { firstRow: layout.firstRow },
    heads,
    headDim,
    kvHeads,
    intermediate: inner,
    rmsEps: fields?.number("rms_norm_eps", target.rmsEps) ?? target.rmsEps,
    fcInputs: 2 * hidden,
    residualScale: target.residualScale,
    linears,
    ...read,
    vocabulary: undefined,
  };
}

interface Opened {
  readonly layout: Layout;
  readonly table: TensorTable;
  readonly fields: Fields | undefined;
  readonly gptq: Gptq | undefined;
}

async function openGguf(files: ModelFiles, signal: AbortSignal | undefined): Promise<Opened> {
  const source = await files.open(files.entry, signal);
  const where = whereIs(files, files.entry);
  if (!source) throw new CpmError("io", `${where}: no such file; check the path or address`, { file: where });
  const gguf = await readGguf(source, signal);
  const layer = theLayer(gguf.tensors, /^blk\.(\d+)\.nextn\.eh_proj\.weight$/, files.entry);
  if (layer === undefined) throw missing("blk.N.nextn.eh_proj.weight");
  const architecture = gguf.metadata.get("general.architecture");
  const layout = ofGguf(layer, INTERLEAVED.includes(String(architecture)));
  const table = new TensorTable(files.entry, new Map(gguf.tensors.map((tensor) => [tensor.name, tensor])));
  return { layout, table, fields: undefined, gptq: undefined };
}

async function openFolder(files: ModelFiles, target: ModelConfig, signal: AbortSignal | undefined): Promise<Opened> {
  const { tensors, unreadable } = await openSafetensors(files, signal);
  const table = new TensorTable(files.entry || "model.safetensors", tensors, unreadable);
  // Beside a bare file lies whatever; a folder's config.json is the layer's own.
  const text = files.entry === "" ? await readText(files, "config.json", signal) : undefined;
  const json = text === undefined ? {} : parseObject(text, "config.json");
  const fields = new Fields("config.json", (key) => (Object.hasOwn(json, key) ? json[key] : undefined));
  checkScales(fields, target);
  const gptq = readGptq(fields, await quantizeConfig(files, fields, signal));
  if (table.has("mtp.proj.weight")) return { layout: trained, table, fields, gptq };
  const all = [...tensors.values()];
  const layer = theLayer(all, /^model\.layers\.(\d+)\.eh_proj\.(?:weight|qweight)$/, files.entry || "the folder");
  if (layer === undefined) throw missing(`model.layers.${target.layers}.eh_proj.weight`);
  return { layout: published(layer), table, fields, gptq };
}

const missing = (field: string): CpmError =>
  modelError(
    { field, expected: "a tensor", found: "none of this name" },
    "tensor is missing",
    "give the file or folder of an MTP layer; an EAGLE head goes into draft.eagle",
  );

/** The number of the only layer of its kind. */
function theLayer(tensors: readonly FileTensor[], pattern: RegExp, where: string): string | undefined {
  const found = tensors.flatMap(({ name }) => pattern.exec(name)?.[1] ?? []);
  if (found.length > 1)
    throw new CpmError(
      "unsupported",
      `${where}: it has ${found.length} MTP layers, and files of one are supported; take the others out`,
      { file: where },
    );
  return found[0];
}

/** A float projection whose halves are put in the files' order: the embedding's first. */
async function embeddingFirst(weight: WeightFile, signal: AbortSignal | undefined): Promise<WeightFile> {
  if (weight.kind !== "plain" || !["F32", "F16", "BF16"].includes(weight.tensor.type)) {
    const name = weight.kind === "plain" ? weight.tensor.name : weight.qweight.name;
    throw new CpmError(
      "unsupported",
      `${name}: with the hidden state first only floats are read; export the head as F32, F16 or BF16`,
      {
        field: name,
      },
    );
  }
  const { tensor } = weight;
  const stored = await tensor.source.read(tensor.offset, tensor.bytes, signal);
  const half = tensor.bytes / tensor.shape[0]! / 2;
  const out = new Uint8Array(tensor.bytes);
  for (let at = 0; at < tensor.bytes; at += 2 * half) {
    out.set(stored.subarray(at + half, at + 2 * half), at);
    out.set(stored.subarray(at, at + half), at + half);
  }
  return { ...weight, tensor: { ...tensor, source: bytesSource(tensor.source.name, out), offset: 0 } };
}
