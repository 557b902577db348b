// cpm review: samples on a local page, by keys alone; verdicts in a file that only grows.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import process from "node:process";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { replace } from "./cleanoutput.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { dim, note, printJson, write } from "./output.ts";
import { SampleFile, VerdictFile } from "./reviewfile.ts";
import { type Reviewed, startReview, stateOf } from "./reviewserver.ts";
import { visibleLine } from "./visible.ts";

export const review: Command = {
  name: "review",
  description: "Look at samples on a local page, by keys, and note which are good",
  args: {
    file: { type: "positional", required: true, description: "Samples: a .jsonl file, as cpm synth writes it" },
    verdicts: { type: "string", valueHint: "FILE", description: "Where verdicts go (default: FILE.verdicts.jsonl)" },
    sample: { type: "string", valueHint: "N", description: "Look at N samples by chance, not at all" },
    seed: { type: "string", valueHint: "S", description: "Which ones: the same seed gives the same (default 0)" },
    port: { type: "string", valueHint: "P", description: "Port (default: one that is free)" },
    export: { type: "string", valueHint: "FILE", description: "No page: write the samples that were kept, as they are" },
    ...jsonArg,
  },
  async run(args) {
    const [path] = args.positionals;
    if (path === undefined) throw new UsageError("cpm review: the file is missing");
    const samples = await SampleFile.open(path);
    const log = await VerdictFile.open(args.text("verdicts") ?? `${path}.verdicts.jsonl`);
    try {
      const reviewed: Reviewed = { samples, log, order: await orderOf(args, samples) };
      const out = args.text("export");
      if (out !== undefined) await exportKept(reviewed, out);
      else await serve(args, reviewed);
      const { total, counts } = stateOf(reviewed);
      if (args.flag("json")) await printJson({ file: path, verdicts: log.path, total, ...counts });
      else note(`${total} samples: ${counts.keep} kept, ${counts.drop} dropped, ${counts.unsure} unsure`);
    } finally {
      await log.close();
      await samples.close();
    }
  },
};

async function orderOf(args: Parsed, { places }: SampleFile): Promise<number[]> {
  const all = places.map((_, i) => i);
  const wanted = args.number("sample");
  if (wanted === undefined) return all;
  if (!Number.isInteger(wanted) || wanted < 1) throw new UsageError(`--sample: expected a whole number from 1, found ${wanted}`);
  const { Random } = await import("cpm-wasm/synth");
  return new Random("review", args.number("seed") ?? 0)
    .shuffled(all)
    .slice(0, wanted)
    .sort((a, b) => a - b);
}

async function serve(args: Parsed, reviewed: Reviewed): Promise<void> {
  const port = args.number("port") ?? 0;
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UsageError(`--port: expected a number from 0 to 65535, found ${port}`);
  const server = await startReview(reviewed, randomBytes(24).toString("base64url"), port);
  const { total, open: first } = stateOf(reviewed);
  note(`review: ${server.url}`);
  note(dim(`${first} of ${total} are done; verdicts go to ${visibleLine(reviewed.log.path)}; Ctrl-C ends this`));
  try {
    const ends = interrupt.signal.aborted ? Promise.resolve() : once(interrupt.signal, "abort");
    await Promise.race([ends, once(process, "SIGTERM")]);
  } finally {
    await server.close();
  }
}

/** Writes the lines of samples that were kept, to the byte; whole or not at all. */
async function exportKept({ samples, log, order }: Reviewed, out: string): Promise<void> {
  const kept = order.filter((at) => log.entries.get(samples.places[at]!.hash)?.verdict === "keep");
  if (out === "-") {
    for (const at of kept) await write(`${await samples.text(at)}\n`);
    return;
  }
  const lines: string[] = [];
  for (const at of kept) lines.push(`${await samples.text(at)}\n`);
  await replace(out, lines.join(""));
}
