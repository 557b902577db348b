// cpm attention: which blocks of a long prompt each position attends to, as a picture.
import type { BlockTrace, EngineInfo } from "../index.ts";
import { type Command, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg, networkArgs, textOf } from "./options.ts";
import { note, printJson } from "./output.ts";
import { pictureOf, readyToSave, runsOf, save } from "./picture.ts";
import { visibleLine } from "./visible.ts";

/** Positions of a picture, unless asked for others. */
const POSITIONS = 96;

export const attention: Command = {
  name: "attention",
  description: "Draw which blocks of a prompt each position attends to",
  args: {
    ...modelArg,
    "prompt-file": { type: "string", alias: "p", valueHint: "FILE", description: "The prompt" },
    svg: { type: "string", valueHint: "FILE", description: "Draw into this file (takes the packages vega and vega-lite)" },
    spec: { type: "string", valueHint: "FILE", description: "Write the picture's Vega-Lite specification" },
    every: { type: "string", valueHint: "N", description: `Take every Nth position (default: ${POSITIONS} positions in all)` },
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const prompt = await textOf(args, "prompt");
    if (prompt === undefined) throw new UsageError("cpm attention: give a prompt with -p FILE");
    const [svg, spec, json] = [args.text("svg"), args.text("spec"), args.flag("json")];
    if (!svg && !spec && !json) throw new UsageError("cpm attention: give --svg FILE, --spec FILE or --json");
    const pictures = await readyToSave(spec, svg);
    await using model = await openModel(args.positionals[0], loadOptions(args), json);
    const tokens = model.tokenizer.encode(prompt);
    const every = args.number("every") ?? Math.max(1, Math.ceil(tokens.length / POSITIONS));
    await using session = await model.session();
    const trace = await session.trace(tokens, { every, signal: interrupt.signal });
    const picture = pictureOf(trace, titleOf(model.info, tokens.length));
    await save(picture, pictures);
    if (json) return printJson({ ...summary(trace, tokens.length), runs: runsOf(trace) });
    note(titleOf(model.info, tokens.length));
  },
};

function titleOf({ config, sparse }: EngineInfo, tokens: number): string {
  const how = !sparse
    ? "dense attention"
    : tokens < sparse.denseLen
      ? `dense attention (sparse from ${sparse.denseLen} tokens)`
      : "sparse attention";
  return `${visibleLine(config.name)}: ${how} over ${tokens} tokens`;
}

const summary = ({ layers, kvHeads, blockSize, positions }: BlockTrace, tokens: number) => ({
  tokens,
  layers,
  kvHeads,
  blockSize,
  positions: Array.from(positions),
});
