// cpm run: continues a prompt.
import { readFile } from "node:fs/promises";
import process from "node:process";
import type { Command, Parsed } from "./args.ts";
import { UsageError } from "./args.ts";
import { interrupt, openModel } from "./model.ts";
import { generateOptions, jsonArg, loadArgs, loadOptions, modelArg, samplingArgs } from "./options.ts";
import { dim, note, peakMemoryBytes, printJson, short, write } from "./output.ts";

const DEFAULT_PROMPT = "Once upon a time";
const DEFAULT_TOKENS = 200;

async function promptOf(args: Parsed): Promise<string> {
  const [text, file] = [args.text("prompt"), args.text("prompt-file")];
  if (text !== undefined && file !== undefined) throw new UsageError("cpm run: give --prompt or --prompt-file, not both");
  return file === undefined ? (text ?? DEFAULT_PROMPT) : await readFile(file, "utf8");
}

export const run: Command = {
  name: "run",
  description: "Continue a prompt",
  args: {
    ...modelArg,
    prompt: { type: "string", alias: "p", valueHint: "TEXT", description: `What to continue (default "${DEFAULT_PROMPT}")` },
    "prompt-file": { type: "string", valueHint: "FILE", description: "Read the prompt from a file" },
    ...samplingArgs,
    special: { type: "boolean", description: "Write special tokens by name" },
    ...loadArgs,
    ...jsonArg,
  },
  repeated: ["stop", "header"],
  async run(args) {
    const json = args.flag("json");
    const prompt = await promptOf(args);
    await using model = await openModel(args.positionals[0], loadOptions(args), json);
    const options = { maxTokens: DEFAULT_TOKENS, ...defined(generateOptions(args)), special: args.flag("special"), signal: interrupt.signal };
    const generation = model.generate(prompt, options);
    if (!json) {
      // A prompt that is refused leaves stdout empty.
      let begun = false;
      for await (const part of generation) {
        await write(begun ? part.text : prompt + part.text);
        begun = true;
      }
      await write(begun ? "\n" : `${prompt}\n`);
    }
    const result = await generation;
    const { prefillTokensPerSecond, decodeTokensPerSecond } = result.timings;
    const timings = { loadMs: model.info.loadMs, prefillTokensPerSecond, decodeTokensPerSecond, peakMemoryBytes: peakMemoryBytes() };
    if (json) {
      const { text, tokens, usage, finishReason } = result;
      await printJson({ text, tokens, promptTokens: usage.promptTokens, finishReason, timings });
      return;
    }
    const { variant, threads, threadsNote } = model.info;
    const speed = `${short(decodeTokensPerSecond)} tokens/s (prompt: ${short(prefillTokensPerSecond)} tokens/s)`;
    note(dim(`\n${result.tokens.length} tokens, ${speed}, loaded in ${short(timings.loadMs)} ms, ${threads} thread${threads === 1 ? "" : "s"}, ${variant} kernels, ended by ${result.finishReason}`));
    if (threadsNote) note(dim(threadsNote));
    if (process.stdout.isTTY && args.positionals[0] === undefined) note(dim("This is the embedded story model; give a model file to run another."));
  },
};

/** Without the options that were not given, so that defaults stand. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
