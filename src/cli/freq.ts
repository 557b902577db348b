// cpm freq: counts a corpus's tokens and writes the most frequent ones, for a draft head to choose from (FR-Spec).
// Source: FR-Spec (arXiv 2502.14856): most of what a model says are few of its tokens, and a head needs rows for those only.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import process from "node:process";
import { loadTokenizer } from "cpm-wasm";
import { CpmError, type Tokenizer } from "../index.ts";
import { type Command, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { headers, jsonArg, loadArgs, modelArg, networkArgs } from "./options.ts";
import { note, plural, printJson, short, writeFileWhole } from "./output.ts";
import { megabytes, ProgressBar } from "./progress.ts";

const DEFAULT_SIZE = 32768;
/** A line longer than this is counted in parts. */
const LONGEST_LINE = 1 << 16;

export const freq: Command = {
  name: "freq",
  description: "Write the most frequent tokens of a corpus, for a draft head",
  args: {
    model: modelArg.model,
    corpus: { type: "string", valueHint: "FILES", description: "Texts to count, one or more; each line is encoded by itself" },
    size: { type: "string", valueHint: "N", description: `Tokens to write, at most (default ${DEFAULT_SIZE})` },
    output: { type: "string", alias: "o", valueHint: "FILE", description: "Where to write them, as JSON" },
    header: loadArgs.header,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["corpus", "header"],
  more: "corpus",
  async run(args) {
    const files = args.list("corpus");
    const output = args.text("output");
    const size = args.number("size") ?? DEFAULT_SIZE;
    if (files.length === 0) throw new UsageError("cpm freq: --corpus is missing");
    if (output === undefined) throw new UsageError("cpm freq: --output (-o) is missing");
    if (!Number.isSafeInteger(size) || size < 1) throw new UsageError(`--size: expected a whole number of tokens, found ${size}`);
    const tokenizer = await loadTokenizer(await modelOf(args.positionals[0], args.flag("json")), {
      headers: headers(args),
      signal: interrupt.signal,
    });
    const counts = await count(tokenizer, files);
    const tokens = ranked(counts, size, tokenizer.data.stop);
    await writeFileWhole(output, `${JSON.stringify(tokens)}\n`, "--output");
    const total = counts.reduce((a, b) => a + b, 0);
    const covered = tokens.reduce((sum, token) => sum + counts[token]!, 0);
    const distinct = counts.reduce((n, c) => n + (c > 0 ? 1 : 0), 0);
    if (args.flag("json"))
      return printJson({ tokens: tokens.length, counted: total, distinct, coverage: total ? covered / total : 0 });
    note(
      `${plural(tokens.length, "token")} of ${distinct} seen cover ${short((100 * covered) / Math.max(1, total))} % of ${plural(total, "token")}`,
    );
  },
};

async function count(tokenizer: Tokenizer, files: readonly string[]): Promise<Float64Array> {
  const counts = new Float64Array(tokenizer.size);
  const bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  try {
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
    const totalBytes = sizes.reduce((a, b) => a + b, 0);
    let bytes = 0;
    const add = (line: string) => {
      for (let at = 0; at < line.length; at += LONGEST_LINE)
        for (const token of tokenizer.encode(line.slice(at, at + LONGEST_LINE), { bos: false })) counts[token]! += 1;
    };
    for (const file of files) {
      const decoder = new TextDecoder();
      let rest = "";
      for await (const chunk of createReadStream(file, { signal: interrupt.signal, highWaterMark: 1 << 20 })) {
        const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
        rest = lines.pop()!;
        for (const line of lines) add(line);
        // A file without line breaks must not pile up.
        for (; rest.length > LONGEST_LINE; rest = rest.slice(LONGEST_LINE)) add(rest.slice(0, LONGEST_LINE));
        bytes += (chunk as Uint8Array).length;
        bar?.show({ what: "counting", done: bytes, total: totalBytes, more: [megabytes(bytes, totalBytes), file] });
        interrupt.signal.throwIfAborted();
      }
      add(rest + decoder.decode());
    }
  } catch (cause) {
    const { code, path = "" } = cause as NodeJS.ErrnoException;
    if (code === undefined || code === "ABORT_ERR") throw cause;
    throw new CpmError("io", `${path}: the corpus could not be read (${code})`, { file: path }, { cause });
  } finally {
    bar?.close();
  }
  return counts;
}

/** Tokens that occurred, most frequent first, ties to the lower id; end tokens are always among them. */
export function ranked(counts: Float64Array, size: number, ends: readonly number[]): number[] {
  const seen = Array.from(counts.keys()).filter((token) => counts[token]! > 0);
  const all = seen.sort((a, b) => counts[b]! - counts[a]! || a - b);
  const kept = all.slice(0, size);
  const missing = ends.filter((token) => !kept.includes(token)).slice(0, size);
  return [...kept.slice(0, Math.max(0, Math.min(kept.length, size - missing.length))), ...missing];
}
