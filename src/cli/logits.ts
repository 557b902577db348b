// cpm logits: the model's raw scores of the next token.
import { readFile } from "node:fs/promises";
import type { Command, Parsed } from "./args.ts";
import { UsageError } from "./args.ts";
import { interrupt, openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg } from "./options.ts";
import { table, write } from "./output.ts";

async function tokensOf(args: Parsed): Promise<number[]> {
  const [list, file] = [args.text("tokens"), args.text("tokens-file")];
  if ((list === undefined) === (file === undefined)) throw new UsageError("cpm logits: give --tokens or --tokens-file");
  const text = list ?? (await readFile(file!, "utf8"));
  const words = text.replace(/[[\]]/g, " ").split(/[\s,]+/).filter((word) => word !== "");
  const tokens = words.map(Number);
  const bad = tokens.findIndex((t) => !Number.isSafeInteger(t) || t < 0);
  if (bad >= 0) throw new UsageError(`cpm logits: "${words[bad]}" is no token id; give ids separated by commas or white space`);
  return tokens;
}

/** Tokens per forward call: bounds the memory of "all". */
const CHUNK = 64;

export const logits: Command = {
  name: "logits",
  description: "Show the logits after given tokens",
  args: {
    ...modelArg,
    tokens: { type: "string", valueHint: "1,5,9", description: "Token ids" },
    "tokens-file": { type: "string", valueHint: "FILE", description: "Read token ids from a file (commas, white space or a JSON list)" },
    at: { type: "string", valueHint: "WHERE", description: '"last" (default): after the last token; "all": after each' },
    ...loadArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const tokens = await tokensOf(args);
    const at = args.text("at") ?? "last";
    if (at !== "last" && at !== "all") throw new UsageError(`cpm logits: --at: expected "last" or "all", found "${at}"`);
    const json = args.flag("json");
    const options = loadOptions(args);
    await using model = await openModel(args.positionals[0], options, json);
    await using session = await model.session();
    const { vocab } = model.info.config;
    const best: number[] = [];
    let first = true;
    if (json) await write('{"logits":[');
    for (let begin = 0; begin < Math.max(1, tokens.length); begin += at === "all" ? CHUNK : tokens.length || 1) {
      const part = at === "all" ? tokens.slice(begin, begin + CHUNK) : tokens;
      const rows = await session.forward(part, { logits: at, signal: interrupt.signal });
      for (let r = 0; r < rows.length; r += vocab) {
        const row = rows.subarray(r, r + vocab);
        best.push(row.reduce((top, value, i) => (value > row[top]! ? i : top), 0));
        // Nine digits tell every float32 apart.
        if (json) await write(`${first ? "" : ","}[${Array.from(row, (value) => Number(value.toPrecision(9))).join(",")}]`);
        else await write(`${top(row, best.length - 1)}\n`);
        first = false;
      }
    }
    if (json) await write(`],"argmax":${JSON.stringify(best)}}\n`);

    function top(row: Float32Array, index: number): string {
      const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b).slice(0, 5);
      const position = at === "all" ? index : tokens.length - 1;
      return `after token ${position}\n${table([["id", "logit", "piece"], ...order.map((id) => [String(id), row[id]!.toFixed(4), JSON.stringify(model.tokenizer.piece(id))])])}\n`;
    }
  },
};
