// Options that several commands share.
import type { ArgsDef } from "citty";
import type { GenerateOptions, LoadOptions } from "../index.ts";
import type { Parsed } from "./args.ts";

export const modelArg = { model: { type: "positional", required: false, description: "A .gguf file, a Hugging Face folder, or a URL (default: the embedded story model)" } } as const satisfies ArgsDef;

export const loadArgs = {
  threads: { type: "string", valueHint: "N", description: 'Compute threads, or "auto": physical cores (default)' },
  ctx: { type: "string", valueHint: "N", description: "Context size in tokens (default: the model's, at most 4096)" },
  "kv-type": { type: "string", valueHint: "T", description: "KV cache: f16 (default), f32 or q8" },
  variant: { type: "string", valueHint: "V", description: "Kernel build: auto (default), base or relaxed" },
  header: { type: "string", valueHint: "'Name: value'", description: "Header of the requests for a URL; may be repeated" },
} as const satisfies ArgsDef;

export const jsonArg = { json: { type: "boolean", description: "Print one JSON object and nothing else" } } as const satisfies ArgsDef;

export function loadOptions(args: Parsed): LoadOptions {
  const threads = args.text("threads");
  return {
    threads: threads === undefined || threads === "auto" ? "auto" : args.number("threads"),
    contextSize: args.number("ctx"),
    kvType: args.text("kv-type") as LoadOptions["kvType"],
    variant: args.text("variant") as LoadOptions["variant"],
    headers: headers(args),
  };
}

export function headers(args: Parsed): Readonly<Record<string, string>> | undefined {
  const list = args.list("header").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()] as const;
  });
  return list.length ? Object.fromEntries(list) : undefined;
}

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

export function generateOptions(args: Parsed): GenerateOptions {
  const names = {
    maxTokens: "max-tokens",
    temperature: "temperature",
    topK: "top-k",
    topP: "top-p",
    minP: "min-p",
    repetitionPenalty: "repetition-penalty",
    frequencyPenalty: "frequency-penalty",
    presencePenalty: "presence-penalty",
    seed: "seed",
  };
  const numbers = Object.entries(names).map(([key, name]) => [key, args.number(name)]);
  return { ...Object.fromEntries(numbers), stop: args.list("stop") };
}
