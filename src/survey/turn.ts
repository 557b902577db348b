// A turn of the model: the grammar that holds it to what may come next, and the reading of what came. The form is the paper's:
// thoughts in <think>, an update in <answer>, the next step in <tool_call>.
import { isRecord } from "../brands.ts";
import { citationsOf, type Section } from "./tree.ts";

/** What a turn may do. */
export interface Allowed {
  /** "search": only look things up; "plan": the title and the sections; "write": a position that is not written yet. */
  readonly kind: "search" | "plan" | "write";
  readonly positions: readonly string[];
  /** Keys that may be cited: of what was retrieved. */
  readonly keys: readonly string[];
  /** Nothing may be written in this turn, to look for more first. */
  readonly skip: boolean;
  /** This turn's step is not asked for: the survey is whole behind it. */
  readonly last: boolean;
}

export interface Plan {
  readonly title: string;
  readonly sections: readonly Section[];
}

export interface Turn {
  readonly plan?: Plan;
  readonly update?: { readonly position: string; readonly content: string };
  /** What to search for; empty: nothing. */
  readonly queries: readonly string[];
}

export const MOST_SECTIONS = 8;
export const MOST_SUBSECTIONS = 3;
const MOST_QUERIES = 5;

const quoted = (text: string): string =>
  JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** GBNF of a turn: what it does not allow cannot be written. */
export function turnGrammar({ kind, positions, keys, skip, last }: Allowed): string {
  const rules = [
    // Thoughts and texts are bounded, so that every turn ends.
    'think ::= "<think>" thought{1,400} "</think>"',
    "thought ::= [^<>]",
    'letter ::= [^"\\\\\\x00-\\x1F<>]',
    'short ::= "\\"" letter{1,80} "\\""',
    'long ::= "\\"" letter{1,200} "\\""',
  ];
  const search = `"<tool_call>{\\"name\\": \\"search_engine\\", \\"arguments\\": {\\"query\\": [" short (", " short){0,${MOST_QUERIES - 1}} "]}}</tool_call>"`;
  const step = last
    ? '"<tool_call>{\\"name\\": \\"finalize\\", \\"arguments\\": {}}</tool_call>"'
    : `(${search} | "<tool_call>{}</tool_call>")`;
  if (kind === "search") rules.push(`root ::= think ${search}`);
  else if (kind === "plan") {
    rules.push(
      `root ::= think "<answer>{\\"update\\": \\"plan\\", \\"content\\": {\\"title\\": " short ", \\"sections\\": [" section (", " section){0,${MOST_SECTIONS - 1}} "]}}</answer>" think ${step}`,
      `section ::= "{\\"title\\": " short ", \\"plan\\": " long (", \\"subsections\\": [" part (", " part){0,${MOST_SUBSECTIONS - 1}} "]")? "}"`,
      'part ::= "{\\"title\\": " short ", \\"plan\\": " long "}"',
    );
  } else {
    if (keys.length) rules.push(`cite ::= "\\\\\\\\cite{" key ("," key){0,4} "}"`, `key ::= ${keys.map(quoted).join(" | ")}`);
    rules.push(
      // What stands between two runs begins with a backslash, which no run has: there is one way to read a text.
      `mark ::= "\\\\n\\\\n" | "\\\\\\""${keys.length ? " | cite" : ""}`,
      "run ::= letter{0,600}",
      "text ::= letter run (mark run){0,12}",
      `position ::= ${positions.map((position) => quoted(JSON.stringify(position))).join(" | ")}`,
      `update ::= "<answer>{\\"update\\": " position ", \\"content\\": \\"" text "\\"}</answer>"`,
      `root ::= think ${skip ? '(update | "<answer>{}</answer>")' : "update"} think ${step}`,
    );
  }
  return rules.join("\n");
}

/** JSON Schema of a turn, for endpoints that take no grammars; what it cannot say is checked when the turn is read. */
export function turnSchema({ kind, positions, skip, last }: Allowed): Record<string, unknown> {
  const text = (description: string) => ({ type: "string", description });
  const object = (properties: Record<string, unknown>) => ({
    type: "object",
    properties,
    required: Object.keys(properties),
    additionalProperties: false,
  });
  const part = { title: text("a heading"), plan: text("what it will say") };
  const section = object({ ...part, subsections: { type: "array", items: object(part) } });
  return object({
    thought: text("what to do and why"),
    ...(kind === "plan" ? { plan: object({ title: text("of the survey"), sections: { type: "array", items: section } }) } : {}),
    ...(kind === "write"
      ? {
          update: { type: "string", enum: [...positions, ...(skip ? ["nothing"] : [])] },
          content: text("the text, citing with \\cite{key}"),
        }
      : {}),
    ...(last ? {} : { queries: { type: "array", items: { type: "string" } } }),
  });
}

/** Why a turn cannot be used. */
export class Malformed extends Error {}

const json = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new Malformed(`no JSON: ${text.slice(0, 60)}`);
  }
};

/** Reads a turn, in either form. @throws Malformed for what was not allowed, whoever let it through */
export function readTurn(text: string, allowed: Allowed): Turn {
  const { kind, skip, last } = allowed;
  const body = text.trim();
  const tagged = !body.startsWith("{");
  const between = (tag: string) => new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`).exec(body)?.[1]?.trim();
  const flat = tagged ? undefined : json(body);
  let [answer, queries]: [Record<string, unknown>, unknown] = [{}, []];
  if (isRecord(flat)) {
    queries = flat["queries"] ?? [];
    if (kind === "plan") answer = { update: "plan", content: flat["plan"] };
    else if (kind === "write" && flat["update"] !== "nothing") answer = { update: flat["update"], content: flat["content"] };
  } else {
    const [given, call] = [between("answer"), between("tool_call")];
    if (kind !== "search" && given === undefined) throw new Malformed("there is no <answer>");
    if (call === undefined) throw new Malformed("there is no <tool_call>");
    const [value, step] = [kind === "search" ? {} : json(given!), json(call)];
    if (!isRecord(value) || !isRecord(step)) throw new Malformed("an object belongs into <answer> and <tool_call>");
    answer = value;
    const name = step["name"];
    if (name !== undefined && name !== "search_engine" && name !== "finalize") throw new Malformed("there is no such tool");
    if (name === "finalize" && !last) throw new Malformed("not everything is written yet");
    if (name === "search_engine") queries = isRecord(step["arguments"]) ? step["arguments"]["query"] : undefined;
  }
  if (!Array.isArray(queries) || queries.some((query) => typeof query !== "string"))
    throw new Malformed("queries are a list of texts");
  const asked = last
    ? []
    : (queries as string[])
        .map((query) => query.trim().slice(0, 200))
        .filter((query) => query !== "")
        .slice(0, MOST_QUERIES);
  if (kind === "search") {
    if (asked.length === 0) throw new Malformed("there is nothing to search for");
    return { queries: asked };
  }
  const { update, content } = answer;
  if (kind === "plan") {
    if (update !== "plan") throw new Malformed("the plan comes first");
    return { plan: readPlan(content), queries: asked };
  }
  if (update === undefined) {
    if (!skip) throw new Malformed("something must be written now");
    return { queries: asked };
  }
  if (typeof update !== "string" || !allowed.positions.includes(update))
    throw new Malformed("there is no such position, or it is written already");
  if (typeof content !== "string" || content.trim() === "") throw new Malformed("the content is no text");
  const unknown = citationsOf(content).find((key) => !allowed.keys.includes(key));
  if (unknown !== undefined) throw new Malformed(`nothing with the key ${unknown.slice(0, 60)} was retrieved`);
  if (/\\cite(?!\{[^{}]+\})/.test(content)) throw new Malformed("a citation is not whole");
  return { update: { position: update, content: content.trim() }, queries: asked };
}

function readPlan(value: unknown): Plan {
  if (!isRecord(value) || typeof value["title"] !== "string" || value["title"].trim() === "" || !Array.isArray(value["sections"]))
    throw new Malformed("a plan has a title and sections");
  const parts = (list: readonly unknown[], most: number, nested: boolean): Section[] => {
    if (list.length === 0 || list.length > most) throw new Malformed(`a plan has 1 to ${most} parts side by side`);
    return list.map((part) => {
      if (!isRecord(part) || typeof part["title"] !== "string" || part["title"].trim() === "" || typeof part["plan"] !== "string")
        throw new Malformed("each part of a plan has a title and a plan");
      const inner = part["subsections"];
      if (inner !== undefined && (!nested || !Array.isArray(inner)))
        throw new Malformed("subsections are a list, of sections only");
      return {
        title: part["title"].trim(),
        plan: part["plan"].trim(),
        ...(inner?.length ? { subsections: parts(inner as unknown[], MOST_SUBSECTIONS, false) } : {}),
      };
    });
  };
  return { title: value["title"].trim(), sections: parts(value["sections"], MOST_SECTIONS, true) };
}
