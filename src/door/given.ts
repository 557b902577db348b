// What callers write, where its meaning is plain, as the rest of the package expects it: null as absent, one stop text, content in parts,
// headers of any kind, callbacks that may fail.
import { isRecord, kindOf } from "../brands.ts";
import { constraintKinds } from "../constrain/limits.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { shown } from "../shown.ts";
import type { ChatMessage } from "../text/template.ts";

export function bad(field: string, expected: string, found: unknown, hint = ""): never {
  const what = (typeof found === "object" && found !== null) || found === undefined ? kindOf(found) : shown(found);
  throw new CpmError("bad-option", `${field}: expected ${expected}, found ${what}${hint}`, { field, expected, found: what });
}

/** Refuses options that do not exist: a misspelt one would be ignored silently. */
export function checkNames(what: string, options: unknown, names: readonly string[]): void {
  if (!isRecord(options)) bad(what, "an object", options);
  for (const name of Object.keys(options))
    if (!names.includes(name)) bad(name, `one of ${names.join(", ")}`, "unknown option", didYouMean(name, names));
}

/** Options of any names; null and undefined mean absent. Throws CpmError "bad-option" for what are no options. */
export function withoutNulls<T extends object>(options: T | null | undefined): T {
  const names: string[] = [];
  // What an object inherits counts as given.
  for (const name in options) names.push(name);
  return given(options, names);
}

/** Options with known names; null and undefined mean absent. Throws CpmError "bad-option". */
export function given<T extends object>(options: T | null | undefined, names: readonly string[], what = "options"): T {
  const all = options ?? {};
  checkNames(what, all, names);
  const values = names.map((name) => [name, (all as Record<string, unknown>)[name]] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== null && value !== undefined)) as T;
}

/** Names and texts, as fetch takes them: a record, Headers, a Map, or pairs. */
export type HeadersInput = Readonly<Record<string, string>> | Iterable<readonly [string, string]>;

/** Headers as a record. Throws CpmError "bad-option" for what is none, or what HTTP would refuse. */
export function headersOf(input: HeadersInput | null | undefined): Readonly<Record<string, string>> | undefined {
  if (input === undefined || input === null) return undefined;
  const iterable = typeof input === "object" && Symbol.iterator in input && !ArrayBuffer.isView(input);
  if (!iterable && !isRecord(input)) bad("headers", "names and texts", input);
  const pairs: unknown[] = iterable ? Array.from(input as Iterable<unknown>) : Object.entries(input);
  const headers: Record<string, string> = Object.create(null);
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string" || typeof pair[1] !== "string")
      bad("headers", "names and texts", Array.isArray(pair) ? pair[1] : pair);
    const [name, value] = pair as [string, string];
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) bad("headers", "names that HTTP allows", name);
    // The value may be a secret: it is not shown.
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      bad(`headers.${name}`, "a text without line breaks, in Latin-1", "another text");
    headers[name] = value;
  }
  return { ...headers };
}

/** Token ids as a list: an array, a typed array, or any other iterable of numbers. Throws CpmError "bad-input". */
export function tokensOf(field: string, input: unknown): number[] {
  if (typeof input === "object" && input !== null && Symbol.iterator in input && !(input instanceof Map))
    return Array.from(input as Iterable<number>);
  throw new CpmError("bad-input", `${field}: expected token ids, found ${kindOf(input)}`, { field, found: kindOf(input) });
}

/** Parts that are text, as OpenAI's APIs name them. */
const TEXT_PARTS = ["text", "input_text", "output_text"];

function contentOf(field: string, content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  return content
    .map((part: unknown, i) => {
      if (typeof part === "string") return part;
      const { type, text } = (isRecord(part) ? part : {}) as { type?: unknown; text?: unknown };
      if ((type === undefined || TEXT_PARTS.includes(type as string)) && typeof text === "string") return text;
      const found =
        typeof type === "string" && !TEXT_PARTS.includes(type)
          ? `a part of type ${JSON.stringify(type.slice(0, 40))}`
          : kindOf(part);
      throw new CpmError(
        "bad-input",
        `${field}[${i}]: expected a part { type: "text", text }, found ${found}; this model reads text only`,
        {
          field: `${field}[${i}]`,
          found,
        },
      );
    })
    .join("");
}

/** Messages with their parts of text joined and fields that are null left out, as OpenAI's answers have them. */
export function messagesOf(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  if (!Array.isArray(messages)) return messages;
  return messages.map((message: unknown, i) => {
    if (!isRecord(message)) return message as ChatMessage;
    const fields = Object.entries(message)
      .filter(([name, value]) => name === "content" || value !== null)
      .map(([name, value]) => [name, name === "content" ? contentOf(`messages[${i}].content`, value) : value]);
    return Object.fromEntries(fields) as unknown as ChatMessage;
  });
}

/** A caller's callback whose failure, thrown or as a promise, goes to `fail` instead of to whoever calls it. */
export function guarded<A extends readonly unknown[]>(
  callback: ((...args: A) => unknown) | undefined,
  fail: (error: unknown) => void,
): ((...args: A) => void) | undefined {
  if (!callback) return undefined;
  return (...args) => {
    try {
      const result = callback(...args) as PromiseLike<unknown> | undefined;
      if (typeof result?.then === "function") result.then(undefined, fail);
    } catch (error) {
      fail(error);
    }
  };
}

/** Options that hold a text to a form, and those of tools beside the template's. */
export const choiceNames = [...constraintKinds, "constraint", "whitespace", "lenient"] as const;
export const toolOptionNames = ["toolChoice", "parallelToolCalls", "toolFormat"] as const;

/** Throws "unsupported", for an entry without constraints and tools. */
export function noForms(field: string): never {
  throw new CpmError("unsupported", `${field}: "cpm-wasm/plain" has no constraints and tools; import from "cpm-wasm"`, { field });
}
