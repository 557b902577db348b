// cpm run: continues a prompt.
import process from "node:process";
import type { Command } from "./args.ts";
import { constraintArgs, constraintInput, forcedTextArgs } from "./constrain.ts";
import { interrupt } from "./interrupt.ts";
import { openModel, PromptProgress } from "./model.ts";
import {
  draftArgs,
  generateOptions,
  jsonArg,
  loadArgs,
  loadOptions,
  loraArgs,
  modelArg,
  networkArgs,
  samplingArgs,
  textOf,
} from "./options.ts";
import { dim, note, peakMemoryBytes, plural, printJson, short, write, writeSaid } from "./output.ts";
import { leaveInput, pipedText } from "./stdin.ts";

const DEFAULT_PROMPT = "Once upon a time";
const DEFAULT_TOKENS = 200;

export const run: Command = {
  name: "run",
  description: "Continue a prompt",
  args: {
    ...modelArg,
    prompt: {
      type: "string",
      alias: "p",
      valueHint: "TEXT",
      description: `What to continue; - is standard input (default: what is piped in, else "${DEFAULT_PROMPT}")`,
    },
    "prompt-file": { type: "string", valueHint: "FILE", description: "Read the prompt from a file, as it is" },
    ...samplingArgs,
    "max-tokens": { ...samplingArgs["max-tokens"], description: `Tokens to generate, at most (default ${DEFAULT_TOKENS})` },
    ...constraintArgs,
    ...forcedTextArgs,
    special: { type: "boolean", description: "Write special tokens by name" },
    ...draftArgs,
    ...loraArgs,
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["stop", "header", "lora"],
  input: "prompt",
  async run(args) {
    const json = args.flag("json");
    const { maxTokens = DEFAULT_TOKENS, ...sampling } = generateOptions(args);
    const constraint = await constraintInput(args);
    const given = await textOf(args, "prompt");
    // The model loads while a pipe's writer is at work.
    const piped = given === undefined ? pipedText(json) : undefined;
    piped?.catch(() => {});
    await using model = await openModel(args.positionals[0], loadOptions(args), json).catch((error: unknown) => {
      if (piped) leaveInput();
      throw error;
    });
    const prompt = given ?? (await piped) ?? DEFAULT_PROMPT;
    const progress = new PromptProgress();
    const { onPrefill } = progress;
    const options = {
      ...sampling,
      maxTokens,
      special: args.flag("special"),
      ...constraint,
      // The library says what it may be.
      forcedText: args.text("forced-text") as "draft" | "write" | undefined,
      signal: interrupt.signal,
      ...(json ? {} : { onPrefill }),
    };
    const generation = model.generate(prompt, options);
    // A prompt that is refused leaves stdout empty.
    let begun = false;
    try {
      if (!json)
        for await (const part of generation) {
          progress.close();
          await writeSaid(begun ? part.text : prompt + part.text);
          begun = true;
        }
    } finally {
      progress.close();
      if (begun) await write("\n");
    }
    const { text, tokens, usage, finishReason, draft, timings: measured } = await generation;
    if (!json && !begun) await writeSaid(`${prompt}\n`);
    const { prefillTokensPerSecond, decodeTokensPerSecond } = measured;
    const { loadMs, variant, threads, threadsNote } = model.info;
    const timings = { loadMs, prefillTokensPerSecond, decodeTokensPerSecond, peakMemoryBytes: peakMemoryBytes() };
    if (json)
      return printJson({ text, tokens, promptTokens: usage.promptTokens, finishReason, timings, ...(draft ? { draft } : {}) });

    const speed = `${short(decodeTokensPerSecond)} tokens/s (prompt: ${short(prefillTokensPerSecond)} tokens/s)`;
    const how = `loaded in ${short(loadMs)} ms, ${plural(threads, "thread")}, ${variant} kernels, ended by ${finishReason}`;
    note(dim(`\n${plural(tokens.length, "token")}, ${speed}, ${how}`));
    if (draft?.rounds) {
      const { drafter, rounds, drafted, accepted, acceptedPerRound } = draft;
      note(
        dim(
          `${drafter}: ${accepted} of ${drafted} drafted tokens accepted, ${short(acceptedPerRound)} tokens a round in ${plural(rounds, "round")}`,
        ),
      );
    }
    if (threadsNote) note(dim(threadsNote));
    if (process.stdout.isTTY && args.positionals[0] === undefined)
      note(dim("This is the embedded story model; give a model file to run another."));
  },
};
