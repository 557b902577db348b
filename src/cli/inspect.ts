// cpm inspect: what a model file holds and needs.
import { inspect as inspectModel } from "cpm-wasm";
import type { Inspection } from "../index.ts";
import type { Command } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg, networkArgs } from "./options.ts";
import { jsonValue, plural, printJson, table, write } from "./output.ts";
import { visibleLine } from "./visible.ts";

export const inspect: Command = {
  name: "inspect",
  description: "Show a model file's metadata, tensors and memory plan",
  args: {
    ...modelArg,
    ctx: { ...loadArgs.ctx, description: "Context of the memory plan (default: the model's, at most 4096)" },
    "kv-type": loadArgs["kv-type"],
    sparse: loadArgs.sparse,
    threads: { ...loadArgs.threads, description: "Threads of the memory plan (default: physical cores)" },
    tensors: { type: "boolean", description: "List every tensor" },
    header: loadArgs.header,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const { contextSize, kvType, threads, sparse, headers } = loadOptions(args);
    const options = { contextSize, kvType, threads: threads === "auto" ? undefined : threads, sparse, headers };
    const found = await inspectModel(await modelOf(args.positionals[0], args.flag("json")), {
      ...options,
      signal: interrupt.signal,
    });
    const metadata = Object.fromEntries(Object.entries(found.metadata).map(([key, value]) => [key, summary(value)]));
    if (args.flag("json")) return printJson({ ...found, metadata });
    await write(`${sections(found, args.flag("tensors")).join("\n\n")}\n`);
  },
};

interface Summary {
  readonly length: number;
  readonly first: readonly unknown[];
}

/** Vocabularies are long: lists of more than 32 are told by length and beginning. */
function summary(value: unknown): unknown {
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as unknown as ArrayLike<unknown>) : undefined;
  if (!list || list.length <= 32) return value;
  return { length: list.length, first: Array.from({ length: 8 }, (_, i) => list[i]) } satisfies Summary;
}

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

function sections({ format, config: c, metadata, tensors, contextSize, memory }: Inspection, all: boolean): string[] {
  const shape = [
    ["format", format],
    ["architecture", `${c.architecture}, ${c.name}`],
    ...(c.traits ? [["traits", traits(c.traits)]] : []),
    ["layers", `${c.layers}, hidden ${c.hidden}, intermediate ${c.intermediate}`],
    ["attention", `${c.heads} query heads, ${c.kvHeads} KV heads, head_dim ${c.headDim}`],
    ["vocabulary", `${c.vocab} tokens, ${c.tied ? "tied" : "untied"} head`],
    ["context", `${c.contextLength} tokens, RoPE base ${c.ropeTheta}${c.ropeShort ? ", with factors" : ""}`],
  ];
  const plan = [
    ["memory plan", "MiB"],
    ["weights", mib(memory.weights)],
    [`KV cache, ${contextSize} tokens`, mib(memory.kvCache)],
    ["activations", mib(memory.activations)],
    ["thread stacks", mib(memory.stacks)],
    ["drafting, by lookup", mib(memory.draft)],
    ["total", mib(memory.total)],
  ];
  const types = new Map<string, { count: number; bytes: number }>();
  for (const { type, bytes } of tensors) {
    const { count, bytes: sum } = types.get(type) ?? { count: 0, bytes: 0 };
    types.set(type, { count: count + 1, bytes: sum + bytes });
  }
  const largest = [...types].sort(([, a], [, b]) => b.bytes - a.bytes);
  const kinds = [["type", "tensors", "MiB"], ...largest.map(([type, t]) => [type, String(t.count), mib(t.bytes)])];
  const rows = tensors.map((t) => [t.name, t.type, t.shape.join(" x "), String(t.bytes)]);
  const list = all ? [table([["tensor", "type", "shape", "bytes"], ...rows])] : [];
  const pairs = Object.entries(metadata).map(([key, value]) => [key, line(summary(value))]);
  return [table(shape), table(plan), table(kinds), ...list, table([["metadata", ""], ...pairs])];
}

/** What the family has beyond Llama, in words. */
function traits(t: NonNullable<Inspection["config"]["traits"]>): string {
  const windows = t.layerKinds?.filter(({ window }) => window).length ?? 0;
  const still = t.layerKinds?.filter(({ rope }) => rope < 0).length ?? 0;
  const all: readonly (readonly [unknown, string])[] = [
    [t.norms, t.norms === "both" ? "norms before and behind" : "norms behind"],
    [t.qkNorm, t.qkNorm === "whole" ? "q/k norms over all heads" : "q/k norms"],
    [t.biases, `biases of ${t.biases?.join(", ")}`],
    [t.activation, "GELU"],
    [windows, `a window of ${t.window} tokens in ${plural(windows, "layer")}`],
    [still, `${plural(still, "layer")} without rotation`],
    [t.ropeLocal, `RoPE base ${t.ropeLocal?.theta} in layers with a window`],
    [t.ropeDim, `${t.ropeDim} dimensions of a head turn`],
    [t.ropeByLength, "LongRoPE by the text's length"],
    [t.attentionScale, `scores times ${t.attentionScale?.toPrecision(4)}`],
    [t.scoreCap, `scores capped at ${t.scoreCap}`],
    [t.logitCap, `logits capped at ${t.logitCap}`],
  ];
  return all.flatMap(([has, words]) => (has ? [words] : [])).join("; ");
}

/** A value in one line of at most 100 characters. */
function line(value: unknown): string {
  const plain = (v: unknown) => JSON.stringify(v, (key, inner) => rounded(jsonValue(key, inner))) ?? "";
  const isSummary = typeof value === "object" && value !== null && "first" in value;
  const { length, first } = value as Summary;
  const all = isSummary
    ? `${length}: ${first.map(plain).join(", ")}, …`
    : typeof value === "string"
      ? value.slice(0, 400)
      : plain(value);
  return visibleLine(all.replace(/\s+/g, " "), 100);
}

/** Numbers of a file are float32: seven digits are what it says. */
const rounded = (value: unknown): unknown =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(7)) : value;
