// cpm constrain: which instances a schema, an expression or a grammar lets through, token by token.
import { readFile } from "node:fs/promises";
import process from "node:process";
import { loadTokenizer } from "cpm-wasm";
import { type ConstraintInput, compileConstraint } from "../constrain/compile.ts";
import { UnsupportedSchemaError } from "../constrain/limits.ts";
import type { Whitespace } from "../constrain/schema/compile.ts";
import { Automaton, DEAD } from "../decode/constrain.ts";
import { CpmError } from "../index.ts";
import { pieceTable } from "../text/pieces.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { headers, jsonArg, loadArgs, modelArg, networkArgs } from "./options.ts";
import { note, plural, printJson, short, write } from "./output.ts";

async function fileOf(name: string, option: string): Promise<string> {
  try {
    return await readFile(name, "utf8");
  } catch (cause) {
    const why = (cause as { code?: string }).code === "ENOENT" ? "no such file" : (cause as Error).message;
    throw new CpmError("io", `${name}: ${why}; check the path of ${option}`, { file: name }, { cause });
  }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CpmError("bad-input", `${where}: no JSON (${(cause as Error).message})`, { file: where }, { cause });
  }
}

/** What --schema, --regex or --grammar say; undefined: none is given. @throws UsageError for several, CpmError for bad files */
export async function constraintInput(args: Parsed): Promise<ConstraintInput | undefined> {
  const [schema, regex, grammar] = ["schema", "regex", "grammar"].map((name) => args.text(name));
  if ([schema, regex, grammar].filter((given) => given !== undefined).length > 1)
    throw new UsageError("give one of --schema, --regex and --grammar");
  if (schema !== undefined) return { schema: parsed(await fileOf(schema, "--schema"), schema) };
  if (grammar !== undefined) return { grammar: await fileOf(grammar, "--grammar") };
  return regex === undefined ? undefined : { regex };
}

export const constraintArgs = {
  schema: { type: "string", valueHint: "FILE", description: "JSON that this JSON Schema allows" },
  regex: { type: "string", valueHint: "R", description: "Text that this expression matches as a whole" },
  grammar: { type: "string", valueHint: "FILE", description: "Text of this GBNF grammar" },
} as const;

export const forcedTextArgs = {
  "forced-text": {
    type: "string",
    valueHint: "HOW",
    description: "Text that these leave no choice of: draft (guessed, verified) or write (sooner, in other tokens perhaps)",
  },
} as const;

/** Times of masks, in microseconds. */
function summary(times: number[]): { mean: number; p50: number; p99: number; max: number } {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const mean = sorted.length ? sorted.reduce((sum, t) => sum + t, 0) / sorted.length : 0;
  const round = (x: number) => Math.round(1000 * x) / 1000;
  return { mean: round(mean), p50: round(at(0.5)), p99: round(at(0.99)), max: round(at(1)) };
}

/** Runs a text as decoding would: mask, look, commit. */
function accepts(
  automaton: Automaton,
  tokenizer: Tokenizer,
  table: PieceTable,
  text: string,
  times: number[],
): { accepted: boolean; refusedAt: number | null } {
  const ids = tokenizer.encode(text, { bos: false, eos: false, special: false });
  let space = table.stripSpace;
  let state = automaton.start(space);
  let at = 0;
  for (const id of ids) {
    const before = performance.now();
    const mask = automaton.mask(state);
    times.push(1000 * (performance.now() - before));
    const bytes = table.bytes.subarray(
      table.offsets[id]! + (space && table.bytes[table.offsets[id]!] === 0x20 ? 1 : 0),
      table.offsets[id + 1],
    );
    const next = ((mask[id >> 5]! >>> (id & 31)) & 1) === 1 ? automaton.advance(state, id) : DEAD;
    if (next === DEAD) return { accepted: false, refusedAt: at + automaton.advanceBytes(state, bytes).taken };
    at += bytes.length;
    space = false;
    state = next;
  }
  const accepted = automaton.accepting(state);
  return { accepted, refusedAt: accepted ? null : at };
}

/** A schema with something of everything. */
const SAMPLE = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1, maxLength: 80 },
    when: { type: "string", format: "date-time" },
    code: { type: "string", pattern: "^[a-z]+-\\d{2,4}$" },
    size: { type: "number", minimum: 0, maximum: 99.5 },
    count: { type: "integer", minimum: 1, maximum: 5000 },
    tags: { type: "array", items: { enum: ["small", "red", "old"] }, maxItems: 50 },
    more: { anyOf: [{ $ref: "#" }, { type: "null" }] },
  },
  required: ["name", "tags"],
};
const SAMPLE_TEXT =
  '{"name":"A \\"quoted\\" name","when":"2024-02-29T12:30:00Z","code":"ab-123","size":12.5,"count":17,"tags":["red","old"],"more":null,"else":{"a":[1,true,"x"]}}';
/** Rounds after which engines have optimised what is timed. */
const ROUNDS = 12;

/** Times are meant to be those of a process that has run for a while: one that just began still compiles itself. */
function warmUp(automaton: Automaton, tokenizer: Tokenizer, table: PieceTable): void {
  for (let i = 0; i < ROUNDS; i++) {
    automaton.load(compileConstraint({ schema: { ...SAMPLE, title: i } }).machine);
    accepts(automaton, tokenizer, table, SAMPLE_TEXT, []);
  }
}

/** Tells what cannot be enforced, and where; exit status 3. */
function refuse(error: CpmError, json: boolean): void {
  const { keyword, path } =
    error instanceof UnsupportedSchemaError ? error : { keyword: error.detail.field ?? "grammar", path: "" };
  const { code, message } = error;
  note(json ? JSON.stringify({ error: { code, message, keyword, path } }) : message);
  process.exitCode = 3;
}

export const constrain: Command = {
  name: "constrain",
  description: "Try instances against a schema, an expression or a grammar",
  args: {
    model: { ...modelArg.model, description: `${modelArg.model.description}; also a tokenizer.json or tokenizer.model` },
    ...constraintArgs,
    instances: { type: "string", valueHint: "FILE", description: "Lines of JSON values, tried as compact JSON" },
    raw: { type: "boolean", description: "Each line is a JSON string: the text itself" },
    whitespace: { type: "string", valueHint: "W", description: "Around JSON: single (default), none or indented" },
    lenient: { type: "boolean", description: "List what a schema asks for and cannot be enforced, instead of refusing" },
    header: loadArgs.header,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const json = args.flag("json");
    const input = await constraintInput(args);
    if (!input) throw new UsageError("cpm constrain: give --schema, --regex or --grammar");
    const whitespace = args.text("whitespace");
    if (whitespace !== undefined && !["none", "single", "indented"].includes(whitespace))
      throw new UsageError(`--whitespace: expected none, single or indented, found "${whitespace}"`);
    const file = args.text("instances");
    const lines = file === undefined ? [] : (await fileOf(file, "--instances")).split("\n").filter((line) => line.trim() !== "");
    const texts = lines.map((line, i) => {
      const value = parsed(line, `${file}, line ${i + 1}`);
      if (!args.flag("raw")) return JSON.stringify(value);
      if (typeof value !== "string") throw new UsageError(`${file}, line ${i + 1}: --raw takes JSON strings`);
      return value;
    });
    const tokenizer = await loadTokenizer(await modelOf(args.positionals[0], args.flag("json")), {
      headers: headers(args),
      signal: interrupt.signal,
    });
    const table = pieceTable(tokenizer.data);
    const module = await WebAssembly.compile(await readFile(new URL("../../wasm/constrain.wasm", import.meta.url)));
    const automaton = await Automaton.create(module, table, tokenizer.stop);
    const options = {
      lenient: args.flag("lenient"),
      whitespace: whitespace as Whitespace | undefined,
      tokenId: (name: string) => tokenizer.id(name),
    };
    warmUp(automaton, tokenizer, table);
    const started = performance.now();
    let compiled: ReturnType<typeof compileConstraint>;
    try {
      compiled = compileConstraint(input, options);
      automaton.load(compiled.machine);
    } catch (error) {
      if (!(error instanceof CpmError)) throw error;
      return refuse(error, json);
    }
    const compileMs = performance.now() - started;
    const times: number[] = [];
    let accepted = 0;
    for (const text of texts) {
      const result = accepts(automaton, tokenizer, table, text, times);
      if (result.accepted) accepted++;
      if (json) await printJson(result);
      else await write(`${result.accepted ? "accepted" : `refused at byte ${result.refusedAt}`}\n`);
    }
    const { ignored, refused } = compiled;
    const maskMicros = summary(times);
    const { states } = compiled.machine;
    const notes = { ...(ignored.length ? { ignored } : {}), ...(refused.length ? { refused } : {}) };
    if (json) return printJson({ compileMs, maskMicros, states, ...notes });
    for (const { path, keyword, why } of refused) note(`not enforced: ${keyword} at ${path || "/"}: ${why}`);
    for (const { path, keyword } of ignored) note(`ignored: ${keyword} at ${path || "/"}`);
    note(
      `${accepted} of ${plural(texts.length, "instance")} accepted; compiled in ${short(compileMs)} ms to ${plural(states, "state")}; a mask takes ${short(maskMicros.mean)} µs in the mean, ${short(maskMicros.max)} at most`,
    );
  },
};
