// Options that several commands share, and what their values become.
import { readFile } from "node:fs/promises";
import type { ArgsDef } from "citty";
import { generateRequest } from "../door/options.ts";
import { CpmError, type DraftInput, type EagleInput, type GenerateOptions, type LoadOptions, type LoraInput } from "../index.ts";
import { type Parsed, UsageError } from "./args.ts";
import { readInput } from "./stdin.ts";

export const modelArg = {
  model: {
    type: "positional",
    required: false,
    description: "A .gguf file, a Hugging Face folder, a URL, or a name: org/repo:Q4_0 (default: the embedded story model)",
  },
} as const satisfies ArgsDef;

/** Of every command that may pull a model. */
export const networkArgs = {
  endpoint: {
    type: "string",
    valueHint: "URL",
    description: "A mirror of the hub for names (default HF_ENDPOINT, MODEL_ENDPOINT, huggingface.co)",
  },
  offline: { type: "boolean", description: "Names ask no network: what was pulled before, or a failure (also HF_HUB_OFFLINE=1)" },
} as const satisfies ArgsDef;

export const loadArgs = {
  threads: { type: "string", valueHint: "N", description: 'Compute threads, or "auto": physical cores (default)' },
  ctx: { type: "string", valueHint: "N", description: "Context size in tokens (default: the model's, at most 4096)" },
  "kv-type": { type: "string", valueHint: "T", description: "KV cache: f16 (default), f32 or q8" },
  sparse: { type: "string", valueHint: "S", description: 'Sparse attention: on, off, or fields as JSON: {"topk":32}' },
  "rope-factors": { type: "string", valueHint: "F", description: "LongRoPE factors: minicpm4-128k, minicpm4.1-128k or a list" },
  variant: { type: "string", valueHint: "V", description: "Kernel build: auto (default), base or relaxed" },
  form: { type: "string", valueHint: "F", description: "Integer kernels: auto (default), dot16, dot32, dot32-lanes or extended" },
  turbo: { type: "boolean", description: "Node 24 and newer: 256-bit vectors, an experimental feature of V8" },
  memory64: { type: "boolean", description: "64-bit memory even where the model fits 4 GiB" },
  header: { type: "string", valueHint: "'Name: value'", description: "Header of the requests for a URL; may be repeated" },
} as const satisfies ArgsDef;

/** Of commands that compute with a model; the option is repeated. */
export const loraArgs = {
  lora: {
    type: "string",
    valueHint: "[NAME=]PATH[=SCALE]",
    description: "A LoRA adapter (GGUF or a PEFT folder), and how much of it (default 1); may be repeated",
  },
} as const satisfies ArgsDef;

/** Of `run` and `chat`. */
export const draftArgs = {
  draft: { type: "string", valueHint: "D", description: 'What drafts: "lookup", or "off" (default: lookup in chats)' },
  "draft-eagle": {
    type: "string",
    valueHint: "FILE",
    description: "An EAGLE head of this model: a .safetensors file, a folder or a name",
  },
  "draft-mtp": {
    type: "string",
    valueHint: "FILE",
    description: "An MTP layer of this model: a .safetensors or .gguf file, a folder or a name",
  },
  "draft-states": {
    type: "string",
    valueHint: "T,O",
    description: "MTP: the target's and its own states, post (default) or pre",
  },
  "draft-model": { type: "string", valueHint: "FILE", description: "A small model with the same vocabulary: as MODEL" },
  "draft-front": {
    type: "string",
    valueHint: "F",
    description: "Draft for the draft model or head: lookup, or a smaller model (as MODEL)",
  },
  "draft-vocabulary": {
    type: "string",
    valueHint: "FILE",
    description: "Tokens that the head may propose, as cpm freq writes them",
  },
  "draft-tree": { type: "string", valueHint: "D,W,N", description: "Depth, width and size of its trees (default 3,4,12)" },
  "draft-weights": { type: "string", valueHint: "W", description: "A float head's linears: auto (default), float or int8" },
  "draft-window": { type: "string", valueHint: "N", description: "Tokens that the head looks back on (default: all)" },
  "draft-all": { type: "boolean", description: "Verify whole trees, whatever that costs" },
} as const satisfies ArgsDef;

export const jsonArg = {
  json: { type: "boolean", description: "Print one JSON object and nothing else" },
} as const satisfies ArgsDef;

export const samplingArgs = {
  "max-tokens": { type: "string", valueHint: "N", description: "Tokens to generate, at most" },
  temperature: { type: "string", valueHint: "T", description: "0 is greedy (default 0.8)" },
  "top-k": { type: "string", valueHint: "K", description: "Keep the K most likely tokens (default 40; 0 keeps all)" },
  "top-p": { type: "string", valueHint: "P", description: "Keep tokens up to this probability mass (default 0.95)" },
  "min-p": { type: "string", valueHint: "P", description: "Keep tokens above this share of the most likely one (default 0)" },
  "repetition-penalty": { type: "string", valueHint: "R", description: "1 is off (default)" },
  "frequency-penalty": { type: "string", valueHint: "F", description: "0 is off (default)" },
  "presence-penalty": { type: "string", valueHint: "F", description: "0 is off (default)" },
  seed: { type: "string", valueHint: "S", description: "The same seed gives the same text (default: random)" },
  stop: { type: "string", valueHint: "TEXT", description: "Stop at this text; may be repeated" },
} as const satisfies ArgsDef;

/** The flag of a library option: maxTokens is --max-tokens, draft.window --draft-window. */
const flagOf = (option: string): string =>
  option === "contextSize"
    ? "--ctx"
    : `--${option.replace(/^draft\./, "draft-").replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;

/** A failure's message with options named as the user gave them. */
export function explain({ code, message, detail: { field = "" } }: CpmError): string {
  const isOption = code === "bad-option" && message.startsWith(`${field}:`);
  const named = isOption
    ? flagOf(field) + message.slice(field.length)
    : message.replace(
        /they go into the option headers, as \{ authorization: "Bearer …" \}/,
        'pass them with --header "Authorization: Bearer …"',
      );
  return named.replace(/\b(contextSize|kvType)\b/g, flagOf);
}

function draftOf(args: Parsed): DraftInput | undefined {
  const [kind, eagle, mtp, model] = [
    args.text("draft"),
    args.text("draft-eagle"),
    args.text("draft-mtp"),
    args.text("draft-model"),
  ];
  if (kind !== undefined && kind !== "lookup" && kind !== "off")
    throw new UsageError(`--draft: expected lookup or off, found "${kind}"`);
  if ([kind, eagle, mtp, model].filter((given) => given !== undefined).length > 1)
    throw new UsageError("give one of --draft, --draft-eagle, --draft-mtp and --draft-model");
  const [depth, width, size] = (args.text("draft-tree")?.split(",") ?? []).map(Number);
  const front = args.text("draft-front");
  if (front !== undefined && (eagle ?? mtp ?? model) === undefined)
    throw new UsageError("--draft-front: only with --draft-model, --draft-eagle or --draft-mtp");
  const common = {
    ...(front === undefined ? {} : { front: front === "lookup" ? ("lookup" as const) : { model: front } }),
    ...(depth === undefined ? {} : { tree: { depth, width, size } }),
    ...(args.flag("draft-all") ? { adaptive: false } : {}),
  };
  const head = {
    ...common,
    vocabulary: args.text("draft-vocabulary"),
    window: args.number("draft-window"),
    weights: args.text("draft-weights") as EagleInput["weights"],
  };
  const states = args.text("draft-states")?.split(",") as ("post" | "pre")[] | undefined;
  if (states && (mtp === undefined || states.length !== 2))
    throw new UsageError("--draft-states: two of them, with --draft-mtp: pre,post");
  if (eagle !== undefined) return { eagle, ...head };
  if (mtp !== undefined) return { mtp, ...head, ...(states ? { states: { target: states[0], own: states[1] } } : {}) };
  if (model !== undefined) return { model, ...common };
  for (const name of ["draft-vocabulary", "draft-tree", "draft-window", "draft-weights"])
    if (args.text(name) !== undefined) throw new UsageError(`--${name}: only with a draft head or model`);
  return kind === "off" ? false : kind;
}

export function loadOptions(args: Parsed): LoadOptions {
  return {
    draft: draftOf(args),
    threads: args.text("threads") === "auto" ? "auto" : args.number("threads"),
    contextSize: args.number("ctx"),
    kvType: args.text("kv-type") as LoadOptions["kvType"],
    variant: args.text("variant") as LoadOptions["variant"],
    form: args.text("form") as LoadOptions["form"],
    sparse: sparse(args),
    ropeFactors: ropeFactors(args),
    turbo: args.flag("turbo"),
    memory64: args.flag("memory64") ? true : "auto",
    headers: headers(args),
    lora: loraInputs(args),
  };
}

/** Adapters as [NAME=]PATH[=SCALE]; undefined for none. */
export function loraInputs(args: Parsed): LoraInput[] | undefined {
  const list = args.list("lora").map((text): LoraInput => {
    const [, rest = text, scale] = /^(.+)=([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/is.exec(text) ?? [];
    const [, name, path = rest] = /^([\w.-]+)=(.+)$/s.exec(rest) ?? [];
    return { path, name, ...(scale === undefined ? {} : { scale: Number(scale) }) };
  });
  return list.length > 0 ? list : undefined;
}

/** on, off, or fields that override. @throws UsageError for text that is none of them */
export function sparse(args: Parsed): LoadOptions["sparse"] {
  const text = args.text("sparse");
  if (text === undefined || text === "on" || text === "off") return text === undefined ? undefined : text === "on";
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {}
  throw new UsageError(`--sparse: expected on, off or an object like {"topk":32}, found ${JSON.stringify(text)}`);
}

function ropeFactors(args: Parsed): LoadOptions["ropeFactors"] {
  const text = args.text("rope-factors");
  if (text === undefined || !/^[\d.,\s]+$/.test(text)) return text as LoadOptions["ropeFactors"];
  return text.split(",").map(Number);
}

export function headers(args: Parsed): Readonly<Record<string, string>> | undefined {
  const list = args.list("header").map((line) => {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([\t\x20-\x7e\x80-\xff]*)$/.exec(line);
    if (!match) throw new UsageError(`--header: expected "Name: value", found ${JSON.stringify(line)}`);
    return [match[1]!, match[2]!] as const;
  });
  return list.length ? Object.fromEntries(list) : undefined;
}

/** Sampling and stopping; refuses bad values here, before a model is loaded for them. @throws CpmError "bad-option" */
export function generateOptions(args: Parsed): GenerateOptions {
  const options = {
    maxTokens: args.number("max-tokens"),
    temperature: args.number("temperature"),
    topK: args.number("top-k"),
    topP: args.number("top-p"),
    minP: args.number("min-p"),
    repetitionPenalty: args.number("repetition-penalty"),
    frequencyPenalty: args.number("frequency-penalty"),
    presencePenalty: args.number("presence-penalty"),
    seed: args.number("seed"),
    stop: args.list("stop"),
  };
  if (options.stop.includes("")) throw new UsageError("--stop: expected a text, found an empty one");
  generateRequest(options, 0, "text");
  return options;
}

/** The text of option `name` or of the file that `name`-file names; "-" is standard input. @throws UsageError when both are given; CpmError "io" */
export async function textOf(args: Parsed, name: string): Promise<string | undefined> {
  const [text, file] = [args.text(name), args.text(`${name}-file`)];
  if (text !== undefined && file !== undefined) throw new UsageError(`give --${name} or --${name}-file, not both`);
  if (file === "-" || (file === undefined && text === "-")) return readInput();
  if (file === undefined) return text;
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const missing = (cause as { code?: string }).code === "ENOENT";
    const why = missing ? "no such file" : (cause as Error).message;
    throw new CpmError("io", `${file}: ${why}; check the path of --${name}-file`, { file }, { cause });
  }
}
