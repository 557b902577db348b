#!/usr/bin/env node
import { readFileSync } from "node:fs";
import process from "node:process";
import { didYouMean } from "../errors.ts";
import { CpmError } from "../index.ts";
// The command cpm.
import { reasonOf } from "../shown.ts";
import { agent } from "./agent.ts";
import { type Command, parse, UsageError, usage } from "./args.ts";
import { attention } from "./attention.ts";
import { bench } from "./bench.ts";
import { chat } from "./chat.ts";
import { clean } from "./clean.ts";
import { constrain } from "./constrain.ts";
import { convert } from "./convert.ts";
import { dedup } from "./dedup.ts";
import { evaluation } from "./eval.ts";
import { freq } from "./freq.ts";
import { chooseNetwork, hubCommands } from "./hub.ts";
import { inspect } from "./inspect.ts";
import { interrupt, onInterrupt } from "./interrupt.ts";
import { logits } from "./logits.ts";
import { explain } from "./options.ts";
import { note, outputFailed, write } from "./output.ts";
import { perplexity } from "./perplexity.ts";
import { imatrix, quantize } from "./quantize.ts";
import { review } from "./review.ts";
import { rl } from "./rl.ts";
import { run } from "./run.ts";
import { fold, score } from "./score.ts";
import { serve } from "./serve.ts";
import { survey } from "./survey.ts";
import { synth } from "./synth.ts";
import { tokenize } from "./tokenize.ts";
import { train } from "./train.ts";
import { tunnel } from "./tunnel.ts";
import { verify } from "./verify.ts";
import { verifyData } from "./verifydata.ts";
import { visible, visibleJson } from "./visible.ts";

const commands: readonly Command[] = [
  run,
  chat,
  inspect,
  tokenize,
  logits,
  attention,
  bench,
  freq,
  constrain,
  serve,
  score,
  fold,
  clean,
  dedup,
  agent,
  rl,
  tunnel,
  survey,
  synth,
  review,
  perplexity,
  evaluation,
  quantize,
  imatrix,
  verify,
  verifyData,
  convert,
  train,
  ...hubCommands,
];

const overview = (): string => `cpm runs MiniCPM4 and llama models in WebAssembly.

${commands.map((c) => `  cpm ${c.name.padEnd(10)} ${c.description}`).join("\n")}

cpm COMMAND --help tells a command's options, cpm --version the version.
`;

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  return `${version}\n`;
}

async function main([name, ...rest]: readonly string[]): Promise<void> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") return write(overview());
  if (name === "--version" || name === "-v") return write(version());
  const command = commands.find((c) => c.name === name);
  const names = commands.map((c) => c.name);
  if (!command) throw new UsageError(`cpm: no command "${name}"; commands are ${names.join(", ")}${didYouMean(name, names)}`);
  const args = parse(command, rest);
  if (args.flag("help")) return write(await usage(command));
  chooseNetwork(args);
  await command.run(args);
}

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly detail: object;
}

function failure(error: unknown): Failure {
  if (error instanceof UsageError) return { code: "usage", message: error.message, detail: {} };
  if (!(error instanceof CpmError)) return { code: "failed", message: reasonOf(error), detail: {} };
  return { code: error.code, message: explain(error), detail: error.detail };
}

/** Prints a failure for people, or as { "error": … } on stderr with --json; gives the exit status. */
function report(error: unknown): number {
  if (interrupt.signal.aborted) return 130;
  if (process.env["CPM_DEBUG"]) console.error(error);
  const { code, message, detail } = failure(error);
  const json = process.argv.includes("--json");
  note(json ? visibleJson(JSON.stringify({ error: { code, message, detail } })) : visible(message));
  if (code === "failed" && !json && !process.env["CPM_DEBUG"]) note("CPM_DEBUG=1 shows where this came from.");
  return code === "usage" || code === "bad-option" ? 2 : 1;
}

process.stdout.on("error", outputFailed);
process.stderr.on("error", () => {});
process.on("SIGINT", onInterrupt);

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
if (interrupt.signal.aborted) process.exitCode = 130;
