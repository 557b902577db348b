// cpm score and cpm fold: classifiers of text, fastText's and folded ones.

import { createReadStream } from "node:fs";
import process from "node:process";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { note, printJson, write, writeFileWhole } from "./output.ts";

const classifierArg = {
  model: { type: "positional", required: true, description: "A fastText .bin or .ftz, or a folded model; a path or URL" },
} as const;

function modelPath(args: Parsed, command: string): string {
  const model = args.positionals[0];
  if (model === undefined) throw new UsageError(`cpm ${command}: give a classifier: a .bin, .ftz or folded file`);
  return model;
}

/** Six digits, as fastText prints them. */
const printed = (probability: number): number => Number(probability.toPrecision(6));

/** Bytes of a file, or of stdin for "-". */
export async function* bytesOf(file: string): AsyncGenerator<Uint8Array> {
  const stream = file === "-" ? process.stdin : createReadStream(file, { highWaterMark: 1 << 18, signal: interrupt.signal });
  try {
    yield* stream as AsyncIterable<Uint8Array>;
  } catch (cause) {
    interrupt.signal.throwIfAborted();
    const why = reasonOf(cause);
    throw new CpmError("io", `${file}: ${why}; check the path`, { file }, { cause });
  }
}

export const score: Command = {
  name: "score",
  description: "Score lines with a text classifier (fastText .bin, .ftz, folded)",
  args: {
    ...classifierArg,
    file: { type: "string", alias: "f", valueHint: "LINES", description: "Lines to score; - or nothing: standard input" },
    k: { type: "string", valueHint: "N", description: "Labels a line, at most (default 1; -1: all)" },
    threshold: { type: "string", valueHint: "P", description: "Leave out labels less probable than this (default 0)" },
    fold: { type: "boolean", description: "Fold the model while it is read, whatever its size" },
    json: { type: "boolean", description: "Print one JSON object a prediction: line (from 1), labels, probabilities" },
  },
  async run(args) {
    const k = args.number("k") ?? 1;
    const options = { k: k === -1 ? Number.POSITIVE_INFINITY : k, threshold: args.number("threshold") };
    const { loadClassifier } = await import("cpm-wasm/data");
    const { signal } = interrupt;
    const classifier = await loadClassifier(modelPath(args, "score"), { signal, ...(args.flag("fold") ? { fold: true } : {}) });
    const asJson = args.flag("json");
    const lines = classifier.lines(options);
    let line = 0;
    /** Rows of one piece of the file; a literal `</s>` ends a line too, so one line can give several rows. */
    const show = (predictions: ReturnType<typeof lines.end>): string =>
      predictions
        .map(({ labels, probabilities, line: number }) => {
          line = number;
          if (asJson) return `${JSON.stringify({ line, labels, probabilities: probabilities.map(printed) })}\n`;
          return `${labels.map((label, i) => `${label} ${printed(probabilities[i]!)}`).join(" ")}\n`;
        })
        .join("");
    for await (const bytes of bytesOf(args.text("file") ?? "-"))
      for (let at = 0; at < bytes.length; at += PIECE) await write(show(lines.take(bytes.subarray(at, at + PIECE))));
    await write(show(lines.end()));
  },
};

/** Bytes scored between two looks at the output, so that results never pile up. */
const PIECE = 1 << 16;

export const fold: Command = {
  name: "fold",
  description: "Fold a fastText classifier to one float a row and label",
  args: {
    ...classifierArg,
    output: { type: "string", alias: "o", valueHint: "FILE", description: "Where to write the folded model" },
    ...jsonArg,
  },
  async run(args) {
    const model = modelPath(args, "fold");
    const output = args.text("output");
    if (output === undefined) throw new UsageError("cpm fold: --output (-o) is missing");
    const { fold } = await import("cpm-wasm/data");
    const started = performance.now();
    const bytes = await fold(model, { signal: interrupt.signal });
    await writeFileWhole(output, bytes, "--output");
    const seconds = (performance.now() - started) / 1000;
    if (args.flag("json")) return printJson({ bytes: bytes.length, seconds });
    note(`${output}: ${bytes.length} bytes, folded in ${seconds.toFixed(1)} s`);
  },
};
