// cpm inspect: what a model file holds and needs.
import { inspect as inspectModel } from "cpm-wasm";
import type { Inspection } from "../index.ts";
import type { Command } from "./args.ts";
import { interrupt, modelOf } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg } from "./options.ts";
import { printJson, table, write } from "./output.ts";

export const inspect: Command = {
  name: "inspect",
  description: "Show a model file's metadata, tensors and memory plan",
  args: {
    ...modelArg,
    ctx: { type: "string", valueHint: "N", description: "Context of the memory plan (default: the model's, at most 4096)" },
    "kv-type": loadArgs["kv-type"],
    threads: { type: "string", valueHint: "N", description: "Threads of the memory plan" },
    tensors: { type: "boolean", description: "List every tensor" },
    header: loadArgs.header,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const { contextSize, kvType, threads, headers } = loadOptions(args);
    const found = await inspectModel(modelOf(args.positionals[0]), { contextSize, kvType, headers, signal: interrupt.signal, ...(typeof threads === "number" ? { threads } : {}) });
    if (args.flag("json")) return printJson({ ...found, metadata: Object.fromEntries(Object.entries(found.metadata).map(([key, value]) => [key, summary(value)])) });
    await write(people(found, args.flag("tensors")));
  },
};

/** Vocabularies are long: lists of more than 32 are told by length and beginning. */
function summary(value: unknown): unknown {
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as ArrayLike<unknown>) : undefined;
  return list && list.length > 32 ? { length: list.length, first: Array.from({ length: 8 }, (_, i) => list[i]) } : value;
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function people({ format, config: c, metadata, tensors, contextSize, memory }: Inspection, all: boolean): string {
  const shape = [
    ["format", format],
    ["architecture", `${c.architecture}, ${c.name}`],
    ["layers", `${c.layers}, hidden ${c.hidden}, intermediate ${c.intermediate}`],
    ["attention", `${c.heads} query heads, ${c.kvHeads} KV heads, head_dim ${c.headDim}`],
    ["vocabulary", `${c.vocab} tokens, ${c.tied ? "tied" : "untied"} head`],
    ["context", `${c.contextLength} tokens, RoPE base ${c.ropeTheta}${c.ropeShort ? ", with factors" : ""}`],
  ];
  const types = new Map<string, { count: number; bytes: number }>();
  for (const t of tensors) {
    const sum = types.get(t.type) ?? { count: 0, bytes: 0 };
    types.set(t.type, { count: sum.count + 1, bytes: sum.bytes + t.bytes });
  }
  const counts = [["type", "tensors", "MiB"], ...[...types].map(([type, { count, bytes }]) => [type, String(count), (bytes / 2 ** 20).toFixed(1)])];
  const list = all ? [["tensor", "type", "shape", "bytes"], ...tensors.map((t) => [t.name, t.type, t.shape.join(" x "), String(t.bytes)])] : [];
  const plan = [
    ["weights", mib(memory.weights)],
    ["KV cache", `${mib(memory.kvCache)} for ${contextSize} tokens`],
    ["activations", mib(memory.activations)],
    ["in all", mib(memory.total)],
  ];
  const pairs = Object.entries(metadata).map(([key, value]) => [key, text(summary(value))]);
  const parts = [table(shape), "memory plan", table(plan), "tensors", table(counts), ...(list.length ? [table(list)] : []), "metadata", pairs.length ? table(pairs) : "none"];
  return `${parts.join("\n\n")}\n`;
}

function text(value: unknown): string {
  const shown = typeof value === "string" ? value : JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? String(v) : ArrayBuffer.isView(v) ? Array.from(v as unknown as ArrayLike<unknown>) : v));
  const line = (shown ?? "").replace(/\s+/g, " ");
  return line.length > 100 ? `${line.slice(0, 97)}...` : line;
}
