// cpm logits: the model's raw scores of the next token.
import { CpmError, type EngineInfo, type Tokenizer } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, loraArgs, modelArg, networkArgs, textOf } from "./options.ts";
import { table, write } from "./output.ts";

/** Tokens per forward call: bounds the memory of "all". */
const CHUNK = 64;

export const logits: Command = {
  name: "logits",
  description: "Show the logits after given tokens",
  args: {
    ...modelArg,
    tokens: { type: "string", valueHint: "1,5,9", description: "Token ids" },
    "tokens-file": { type: "string", valueHint: "FILE", description: "Read ids from a file: commas, white space or a JSON list" },
    at: { type: "string", valueHint: "WHERE", description: '"last" (default): after the last token; "all": after each' },
    ...loraArgs,
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header", "lora"],
  async run(args) {
    const tokens = await tokensOf(args);
    const at = args.text("at") ?? "last";
    if (at !== "last" && at !== "all") throw new UsageError(`--at: expected "last" or "all", found "${at}"`);
    const json = args.flag("json");
    await using model = await openModel(args.positionals[0], loadOptions(args), json);
    // All before the first row is written: a failure leaves stdout empty.
    checkTokens(tokens, model.info);
    await using session = await model.session();
    const { vocab } = model.info.config;
    const argmax: number[] = [];
    const step = at === "all" ? CHUNK : tokens.length;
    for (let begin = 0; begin < tokens.length; begin += step) {
      const part = tokens.slice(begin, begin + step);
      const rows = await session.forward(part, { logits: at, signal: interrupt.signal });
      for (let r = 0; r < rows.length; r += vocab) {
        const row = rows.subarray(r, r + vocab);
        const position = at === "all" ? argmax.length : tokens.length - 1;
        checkFinite(row, position);
        const first = argmax.length === 0;
        if (json) await write((first ? '{"logits":[' : ",") + exact(row));
        else await write(`${first ? "" : "\n"}after token ${position}\n${top(row, model.tokenizer)}\n`);
        argmax.push(row.reduce((best, value, i) => (value > row[best]! ? i : best), 0));
      }
    }
    if (json) await write(`],"argmax":${JSON.stringify(argmax)}}\n`);
  },
};

async function tokensOf(args: Parsed): Promise<number[]> {
  const text = await textOf(args, "tokens");
  if (text === undefined) throw new UsageError("cpm logits: give --tokens or --tokens-file");
  const words = text
    .replace(/^\s*\[|\]\s*$/g, "")
    .split(/[\s,]+/)
    .filter((word) => word !== "");
  if (words.length === 0) throw new UsageError("cpm logits: expected at least one token id, found none");
  const bad = words.find((word) => !/^\d{1,10}$/.test(word));
  if (bad !== undefined) throw new UsageError(`cpm logits: expected token ids like 1,5,9, found ${JSON.stringify(bad)}`);
  return words.map(Number);
}

function checkTokens(tokens: readonly number[], { config: { vocab }, contextSize }: EngineInfo): void {
  const bad = tokens.findIndex((token) => token >= vocab);
  if (bad >= 0)
    throw new CpmError("bad-input", `token ${tokens[bad]} at index ${bad} is outside the vocabulary of ${vocab} tokens`, {
      field: "tokens",
    });
  if (tokens.length > contextSize)
    throw new CpmError(
      "context-overflow",
      `${tokens.length} tokens do not fit the context of ${contextSize}; give a larger --ctx`,
      {
        field: "tokens",
      },
    );
}

function checkFinite(row: Float32Array, position: number): void {
  const bad = row.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const what = `the logit of token ${bad} after position ${position} is ${row[bad]}`;
  throw new CpmError("bad-model", `${what}: the model's weights are damaged, or too large for this KV type; try --kv-type f32`, {
    field: "logits",
  });
}

/** As JSON. Nine digits tell every float32 apart. */
const exact = (row: Float32Array): string => `[${Array.from(row, (value) => Number(value.toPrecision(9))).join(",")}]`;

/** The five best, for people. */
function top(row: Float32Array, tokenizer: Tokenizer): string {
  const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
  const piece = (id: number) => (id < tokenizer.size ? JSON.stringify(tokenizer.piece(id)) : "");
  return table([["id", "logit", "piece"], ...order.slice(0, 5).map((id) => [String(id), row[id]!.toFixed(4), piece(id)])]);
}
