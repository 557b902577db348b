// The command line that every engine's script shares, and its one line of output.
import process from "node:process";
import { parseArgs } from "node:util";

export function engineArguments(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      threads: { type: "string", default: "1" },
      variant: { type: "string", default: "auto" },
      turbo: { type: "boolean", default: false },
      prompt: { type: "string", default: "512" },
      decode: { type: "string", default: "64" },
      repetitions: { type: "string", default: "3" },
      ctx: { type: "string" },
      hold: { type: "boolean", default: false },
      greedy: { type: "string" },
      probabilities: { type: "boolean", default: false },
    },
  });
  if (positionals.length !== 1) throw new Error("expected one model file");
  const prompt = Number(values.prompt);
  const decode = Number(values.decode);
  return {
    model: positionals[0],
    threads: Number(values.threads),
    variant: values.variant,
    turbo: values.turbo,
    prompt,
    decode,
    repetitions: Number(values.repetitions),
    contextSize: Number(values.ctx ?? Math.ceil((prompt + decode + 8) / 32) * 32),
    hold: values.hold,
    greedy: values.greedy === undefined ? undefined : JSON.parse(values.greedy),
    probabilities: values.probabilities,
  };
}

/** Prints the result as one line of JSON. With --hold the process then waits to be ended, so that its memory can be read. */
export async function report(result, hold) {
  await new Promise((written) => process.stdout.write(`${JSON.stringify(result)}\n`, written));
  if (hold) setInterval(() => {}, 1 << 30);
}
