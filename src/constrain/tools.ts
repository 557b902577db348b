// Grammars of answers that may call tools, in each format that models write; src/text/calls/ reads what they allow.
import { CpmError } from "../errors.ts";
import type { DialectName } from "../text/calls/dialect.ts";
import { schemaType, type Tool, ToolTable } from "../text/calls/tools.ts";
import {
  alt,
  automaton,
  call,
  type GraphEdge,
  graph,
  literal,
  optional,
  type Part,
  Rule,
  repeat,
  seq,
  textWithout,
  token,
} from "./grammar.ts";
import { UnsupportedSchemaError } from "./limits.ts";
import { readSchema } from "./schema/compile.ts";
import { Emitter } from "./schema/emit.ts";
import type { Reader } from "./schema/read.ts";
import { type Lazy, memberOf, type Shape, type StringSet } from "./schema/shape.ts";
import { combine, limited } from "./strings.ts";

/** Which tools an answer may, must or must not call. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string };

export interface ToolGrammarOptions {
  readonly dialect: DialectName;
  readonly tools: readonly unknown[];
  /** Default "auto": text, calls, or text and then calls. */
  readonly choice?: ToolChoice | undefined;
  /** More than one call. Default true. */
  readonly parallel?: boolean | undefined;
  /** The chat template: which of a format's spellings the model knows. */
  readonly template?: string | undefined;
  /** The id of a token that stands for exactly this text and that no text becomes (special tokens), if there is one. */
  special?(text: string): number | undefined;
}

/** Values under these are data or other names, not schemas. */
const data = new Set(["enum", "const", "default", "examples"]);
const byName = new Set(["properties", "patternProperties", "$defs", "definitions"]);

/** A tool's schema with the type names of other languages as JSON Schema has them; "any" and unknown names allow everything. */
export function toolSchema(schema: unknown, depth = 0): unknown {
  if (typeof schema !== "object" || schema === null || depth > 400) return schema;
  if (Array.isArray(schema)) return schema.map((item) => toolSchema(item, depth + 1));
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (data.has(key)) out[key] = value;
    else if (key === "type" && typeof value === "string") {
      const name = schemaType(value);
      if (name !== undefined) out[key] = name;
    } else if (byName.has(key) && typeof value === "object" && value !== null)
      out[key] = Object.fromEntries(Object.entries(value).map(([name, sub]) => [name, toolSchema(sub, depth + 2)]));
    else out[key] = toolSchema(value, depth + 1);
  }
  return out;
}

/** The schema of a tool's arguments: an object, closed unless it says otherwise. */
function argumentsSchema(tool: Tool): Record<string, unknown> {
  const { optional: _, ...schema } = toolSchema(tool.parameters) as Record<string, unknown>;
  return { additionalProperties: false, ...schema, type: "object" };
}

type Words = Readonly<Record<"true" | "false" | "null", string>>;
const PYTHON_WORDS: Words = { true: "True", false: "False", null: "None" };
const JSON_WORDS: Words = { true: "true", false: "false", null: "null" };
const identifier = /^[\p{L}_][\p{L}\p{N}_-]*$/u;

/** An argument of a tool, in the order of its schema. */
interface Member {
  readonly name: string;
  readonly required: boolean;
  readonly lazy: Lazy;
}

class Writer {
  readonly #options: ToolGrammarOptions;
  readonly table: ToolTable;

  constructor(options: ToolGrammarOptions) {
    this.#options = options;
    this.table = new ToolTable(options.tools);
  }

  has(text: string): boolean {
    return this.#options.template?.includes(text) ?? false;
  }

  /** Text that the vocabulary may have special tokens for: written by them or by ordinary ones. */
  mark(text: string): Part {
    const tokens: Part[] = [];
    let [plain, found] = ["", false];
    for (let at = 0; at < text.length; ) {
      let length = text.length - at;
      let id: number | undefined;
      for (; length > 1; length--) {
        id = this.#options.special?.(text.slice(at, at + length));
        if (id !== undefined) break;
      }
      if (id === undefined) plain += text[at++];
      else {
        if (plain !== "") tokens.push(literal(plain));
        plain = "";
        tokens.push(token(id));
        at += length;
        found = true;
      }
    }
    if (plain !== "") tokens.push(literal(plain));
    return found ? alt(seq(...tokens), literal(text)) : literal(text);
  }

  /** The first special token of a text that begins with one. */
  leading(text: string): number | undefined {
    for (let length = text.length; length > 1; length--) {
      const id = this.#options.special?.(text.slice(0, length));
      if (id !== undefined) return id;
    }
    return undefined;
  }

  json(tool: Tool): Part {
    const reader = readSchema(argumentsSchema(tool));
    return call(new Rule(`/${tool.name}`, new Emitter(reader, "single").value([root(reader)], `/${tool.name}`)));
  }

  /** The members of a tool's arguments, for formats that write them one by one. */
  members(tool: Tool): { reader: Reader; members: Member[] } {
    const reader = readSchema(argumentsSchema(tool));
    const { objects } = reader.shape([root(reader)]);
    const [set] = objects;
    if (objects.length !== 1 || set === undefined || set.nameSets.length || set.groups.some((g) => g.patterns.length))
      throw new UnsupportedSchemaError(`/${tool.name}`, "parameters", "arguments of this format need plain properties");
    const names = new Set([...set.groups.flatMap((g) => [...g.names.keys()]), ...set.required]);
    const members = [...names].map((name) => ({ name, required: set.required.has(name), lazy: memberOf(set, name) }));
    return { reader, members: members.filter(({ lazy, required }) => required || !reader.isEmpty(lazy)) };
  }
}

const root = (reader: Reader) => ({ ...reader.document.root, negated: false });

/** Parts in order, those not required at will, with `separator` between those that are written. */
function sequence(members: readonly { readonly part: Part; readonly required: boolean }[], separator: Part): Part {
  const n = members.length;
  // Node i: nothing written before the i-th; n + 1 + i: something was.
  const [first, behind] = [(i: number) => i, (i: number) => n + 1 + i];
  const end = 2 * n + 2;
  const edges: GraphEdge[] = [];
  for (const [i, { part, required }] of members.entries()) {
    edges.push({ from: first(i), to: behind(i + 1), part }, { from: behind(i), to: behind(i + 1), part: seq(separator, part) });
    if (!required) edges.push({ from: first(i), to: first(i + 1) }, { from: behind(i), to: behind(i + 1) });
  }
  edges.push({ from: first(n), to: end }, { from: behind(n), to: end });
  return graph(end + 1, edges);
}

const gap = optional(literal(" "));

/** `f(a=1, b="x")`; `words`: how it spells true, false and null. @throws CpmError "unsupported" for names that Python cannot spell */
function pythonCallPart(writer: Writer, tool: Tool, words = PYTHON_WORDS): Part {
  if (!/^[\p{L}_][\p{L}\p{N}_]*(?:[-.][\p{L}\p{N}_]+)*$/u.test(tool.name)) throw unspeakable(tool.name);
  const { reader, members } = writer.members(tool);
  const emitter = new Emitter(reader, "single", words);
  const parts = members.map(({ name, required, lazy }) => {
    if (!identifier.test(name)) throw unspeakable(name);
    return { required, part: seq(literal(`${name}=`), emitter.value(lazy, `/${tool.name}/${name}`)) };
  });
  return seq(literal(`${tool.name}(`), sequence(parts, seq(literal(","), gap)), literal(")"));
}

const unspeakable = (name: string): CpmError =>
  new CpmError("unsupported", `tools: ${JSON.stringify(name)} is no name that this model's format of calls can write`, {
    field: "tools",
  });

/** Bare text for an argument that is a text by its schema: everything that does not end it. */
function bareText(set: StringSet, end: string, path: string): Part {
  const outside = textWithout(end, "<![CDATA[");
  if (set.words) return alt(...set.words.filter((word) => !word.includes(end) && word.trim() === word).map(literal));
  const bounded = set.least > 0 || set.most !== Number.POSITIVE_INFINITY;
  if (outside.kind !== "dfa" || (!set.dfa && !bounded)) return outside;
  let dfa: typeof outside.dfa | undefined = outside.dfa;
  if (set.dfa) dfa = combine(dfa, set.dfa, true, path);
  if (dfa && bounded) dfa = limited(dfa, set.least, set.most, path);
  return dfa ? automaton(dfa) : alt();
}

const isAnyText = (set: StringSet): boolean => !set.words && !set.dfa && set.least === 0 && set.most === Number.POSITIVE_INFINITY;
const isAnything = ({ words, numbers, strings, arrays, objects }: Shape): boolean =>
  words.size === 3 && numbers.length > 0 && arrays.length > 0 && objects.length > 0 && strings.some(isAnyText);

/** A value between tags: bare where the schema has a text, else JSON. */
function taggedValue(writer: Writer, tool: Tool, { name, lazy }: Member, reader: Reader, emitter: Emitter, end: string): Part {
  const path = `/${tool.name}/${name}`;
  const types = writer.table.types(tool.name, name);
  const shape = reader.shape(lazy);
  // Where anything goes, text may stand bare as well: what is no literal is read as text.
  if (types.length === 0 && isAnything(shape)) return alt(emitter.value(lazy, path), textWithout(end, "<![CDATA["));
  if (!types.includes("string")) return emitter.value(lazy, path);
  const texts = shape.strings.map((set) => bareText(set, end, path));
  return alt(...texts, ...(shape.words.has("null") ? [literal("null")] : []));
}

function xmlCall(writer: Writer, tool: Tool): Part {
  if (/["<>&]/.test(tool.name)) throw unspeakable(tool.name);
  const { reader, members } = writer.members(tool);
  const emitter = new Emitter(reader, "single");
  const parts = members.map((member) => {
    if (/["<>&]/.test(member.name)) throw unspeakable(member.name);
    const value = taggedValue(writer, tool, member, reader, emitter, "</param>");
    const isText = writer.table.types(tool.name, member.name).includes("string");
    const quoted = seq(literal("<![CDATA["), textWithout("]]>"), literal("]]>"));
    const plain = reader.shape(member.lazy).strings.some(isAnyText);
    return {
      required: member.required,
      part: seq(
        writer.mark(`<param name="${member.name}">`),
        isText && plain ? alt(value, quoted) : value,
        writer.mark("</param>"),
      ),
    };
  });
  return seq(writer.mark(`<function name="${tool.name}">`), sequence(parts, optional(literal("\n"))), writer.mark("</function>"));
}

function qwenCall(writer: Writer, tool: Tool): Part {
  if (/[<>\s]/.test(tool.name)) throw unspeakable(tool.name);
  const { reader, members } = writer.members(tool);
  const emitter = new Emitter(reader, "single");
  const parts = members.map((member) => {
    if (/[<>\s]/.test(member.name)) throw unspeakable(member.name);
    const value = taggedValue(writer, tool, member, reader, emitter, "</parameter>");
    return { required: member.required, part: seq(literal(`<parameter=${member.name}>\n`), value, literal("\n</parameter>\n")) };
  });
  return seq(
    writer.mark("<tool_call>"),
    literal(`\n<function=${tool.name}>\n`),
    sequence(parts, seq()),
    literal("</function>\n"),
    writer.mark("</tool_call>"),
  );
}

/** One block of calls: how it begins, as text, and the whole. */
interface Block {
  /** Texts that free text must not contain. */
  readonly openers: readonly string[];
  /** Calls, several where `parallel` says so. */
  readonly calls: Part;
  /** The format has no marker: an answer is calls, or text that does not begin like them. */
  readonly bare?: boolean;
}

const several = (part: Part, separator: Part, parallel: boolean): Part =>
  parallel ? seq(part, repeat(seq(separator, part), 0)) : part;

function blockOf(writer: Writer, dialect: DialectName, tools: readonly Tool[], parallel: boolean): Block {
  const one = (write: (tool: Tool) => Part) => call(new Rule("tools", alt(...tools.map(write))));
  const object = (key: string) =>
    one((tool) =>
      seq(
        literal(`{"name":`),
        gap,
        literal(`${JSON.stringify(tool.name)},`),
        gap,
        literal(`"${key}":`),
        gap,
        writer.json(tool),
        literal("}"),
      ),
    );
  const list = (part: Part) => several(part, seq(literal(","), gap), parallel);
  switch (dialect) {
    case "minicpm4-python": {
      const [open, close] = [writer.mark("<|tool_call_start|>"), writer.mark("<|tool_call_end|>")];
      const lines = several(
        one((tool) => pythonCallPart(writer, tool)),
        literal("\n"),
        parallel,
      );
      return { openers: ["<|tool_call_start|>"], calls: seq(open, literal("\n```python\n"), lines, literal("\n```\n"), close) };
    }
    case "pythonic-list": {
      const calls = seq(literal("["), list(one((tool) => pythonCallPart(writer, tool))), literal("]"));
      if (!writer.has("<|tool_call_start|>")) return { openers: ["["], calls, bare: true };
      return {
        openers: ["<|tool_call_start|>"],
        calls: seq(writer.mark("<|tool_call_start|>"), calls, writer.mark("<|tool_call_end|>")),
      };
    }
    case "olmo3-python": {
      const lines = several(
        one((tool) => pythonCallPart(writer, tool, JSON_WORDS)),
        literal("\n"),
        parallel,
      );
      return {
        openers: ["<function_calls>"],
        calls: seq(writer.mark("<function_calls>"), lines, writer.mark("</function_calls>")),
      };
    }
    case "hermes-json": {
      const part = seq(
        writer.mark("<tool_call>"),
        literal("\n"),
        object("arguments"),
        literal("\n"),
        writer.mark("</tool_call>"),
      );
      return { openers: ["<tool_call>"], calls: several(part, literal("\n"), parallel) };
    }
    case "granite-json": {
      const opener = writer.has("<tool_call>") ? "<tool_call>" : "<|tool_call|>";
      const close = writer.has("<|/tool|>") ? writer.mark("<|/tool_call|>") : seq();
      const calls = seq(writer.mark(opener), literal("["), list(object("arguments")), literal("]"), close);
      return { openers: ["<|tool_call|>", "<tool_call>"], calls };
    }
    case "qwen3-coder-xml":
      return {
        openers: ["<tool_call>", "<function="],
        calls: several(
          one((tool) => qwenCall(writer, tool)),
          literal("\n"),
          parallel,
        ),
      };
    case "minicpm5-xml":
      return {
        openers: ["<function"],
        calls: several(
          one((tool) => xmlCall(writer, tool)),
          optional(literal("\n")),
          parallel,
        ),
      };
    case "mistral": {
      const opener = "[TOOL_CALLS]";
      if (writer.has("[ARGS]")) {
        const part = seq(
          writer.mark(opener),
          one((tool) => seq(literal(tool.name), writer.mark("[ARGS]"), writer.json(tool))),
        );
        return { openers: [opener], calls: parallel ? repeat(part, 1) : part };
      }
      return { openers: [opener], calls: seq(writer.mark(opener), gap, literal("["), list(object("arguments")), literal("]")) };
    }
    case "llama3-json": {
      const opener = "<|python_tag|>";
      const calls = several(object("parameters"), seq(literal(";"), gap), parallel);
      return { openers: [opener, "{"], calls: seq(optional(writer.mark(opener)), calls), bare: true };
    }
    case "json": {
      const part = object("arguments");
      return { openers: ["{", "["], calls: parallel ? alt(part, seq(literal("["), list(part), literal("]"))) : part, bare: true };
    }
  }
}

/**
 * The grammar of an answer: text, calls of these tools with arguments that their schemas allow, or both, by `choice`. What it allows
 * is read back by CallStream of the same dialect, without exception.
 * @throws UnsupportedSchemaError for schemas that cannot be enforced, CpmError "bad-option" for a choice that no tool has,
 * "unsupported" for names that the format cannot write.
 */
export function toolGrammar(options: ToolGrammarOptions): Part {
  const writer = new Writer(options);
  const { choice = "auto", parallel = true, dialect } = options;
  const names = typeof choice === "object" ? [choice.name] : writer.table.names;
  const tools = names.map((name) => writer.table.get(name));
  if (typeof choice === "object" && tools[0] === undefined)
    throw new CpmError(
      "bad-option",
      `toolChoice: there is no tool ${JSON.stringify(choice.name)}; there are ${writer.table.names.join(", ")}`,
      { field: "toolChoice" },
    );
  if (tools.length === 0) {
    if (choice === "required")
      throw new CpmError("bad-option", "toolChoice: there are no tools to call", { field: "toolChoice" });
    return textWithout();
  }
  const { openers, calls, bare = false } = blockOf(writer, dialect, tools as Tool[], parallel && typeof choice !== "object");
  const text = bare ? textNotBeginningWith(openers) : textWithout(...openers);
  if (choice === "none") return text;
  if (choice === "required" || typeof choice === "object") return calls;
  if (bare) return alt(text, calls);
  // Text, and calls when an opener begins; what follows the calls is text again.
  const ending = optional(seq(literal("\n"), repeat(literal("\n"), 0, 2)));
  return alt(text, seq(text, calls, ending));
}

/** Text whose first character, blanks aside, begins none of these. Nothing at all is such a text. */
function textNotBeginningWith(openers: readonly string[]): Part {
  const first = new Set([...openers.map((opener) => opener.codePointAt(0)!), 0x20, 0x0a, 0x0d, 0x09]);
  const edges = [...first].sort((a, b) => a - b);
  const set: number[] = [];
  let low = 0;
  for (const code of [...edges, 0x110000]) {
    if (code > low) for (const [from, to] of [[low, code - 1]] as const) set.push(...withoutSurrogates(from, to));
    low = code + 1;
  }
  return optional(seq({ kind: "chars", set }, textWithout()));
}

const withoutSurrogates = (from: number, to: number): number[] =>
  from < 0xd800 && to > 0xdfff ? [from, 0xd7ff, 0xe000, to] : [from, to];
