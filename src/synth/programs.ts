// Programs and what they give for which arguments: found by running them, told in either language.
import type { SandboxLanguage } from "../data/verify/code.ts";

/** A value of JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Arguments of a call, and what it gave. */
export interface Case {
  readonly input: readonly Json[];
  readonly output: Json;
}

/** A value as a program of the language writes it. */
export function literal(value: Json, language: SandboxLanguage): string {
  if (language === "javascript") return JSON.stringify(value);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" || typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((one: Json) => literal(one, language)).join(", ")}]`;
  const members = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one as Json, language)}`);
  return `{${members.join(", ")}}`;
}

/** A text as a string literal of either language. */
const quoted = (text: string): string =>
  JSON.stringify(text).replace(/[\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`);

/** What stands before the line that tells what calls gave. */
const MARK = "~~calls gave ";

/**
 * Lines behind a program that call a function of it for each list of arguments, and print what it gave. Calls that throw, and what JSON
 * cannot tell (functions, NaN, sets, in Python whole numbers of more than 2^53), give nothing.
 */
export function callsOf(name: string, inputs: readonly (readonly Json[])[], language: SandboxLanguage): string {
  const text = quoted(JSON.stringify(inputs));
  if (language === "javascript")
    return `{
  const plain = (v) =>
    v === null || typeof v === "boolean" || typeof v === "string" || Number.isFinite(v) ||
    (Array.isArray(v) ? v.every(plain) : typeof v === "object" && Object.getPrototypeOf(v) === Object.prototype && Object.values(v).every(plain));
  const gave = JSON.parse(${text}).map((input) => {
    try {
      const output = ${name}(...input);
      return plain(output) ? [output] : [];
    } catch {
      return [];
    }
  });
  console.log(${quoted(MARK)} + JSON.stringify(gave));
}`;
  return `def _calls():
    import json, math
    def plain(v):
        if v is None or isinstance(v, (bool, str)): return True
        if isinstance(v, int): return abs(v) < 2 ** 53
        if isinstance(v, float): return math.isfinite(v)
        if isinstance(v, (list, tuple)): return all(map(plain, v))
        return isinstance(v, dict) and all(isinstance(k, str) for k in v) and all(map(plain, v.values()))
    gave = []
    for given in json.loads(${text}):
        try:
            found = ${name}(*given)
            gave.append([found] if plain(found) else [])
        except Exception:
            gave.append([])
    print(${quoted(MARK)} + json.dumps(gave))
_calls()`;
}

/** The cases of what callsOf() printed; none where it did not come to that. */
export function casesOf(output: string, inputs: readonly (readonly Json[])[]): readonly Case[] {
  const line = output.split("\n").findLast((one) => one.startsWith(MARK));
  if (line === undefined) return [];
  try {
    const gave = JSON.parse(line.slice(MARK.length)) as unknown;
    if (!Array.isArray(gave) || gave.length !== inputs.length) return [];
    return inputs.flatMap((input, i) => {
      const one = gave[i] as unknown;
      return Array.isArray(one) && one.length === 1 ? [{ input, output: one[0] as Json }] : [];
    });
  } catch {
    return [];
  }
}

/** How values are compared: numbers to nine digits, lists and tuples alike, everything else exactly. */
const CLOSE: Readonly<Record<SandboxLanguage, string>> = {
  javascript: `  const close = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));
    if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((one, i) => close(one, b[i]));
    if (a === null || typeof a !== "object") return a === b;
    if (b === null || typeof b !== "object" || Array.isArray(b)) return false;
    const names = Object.keys(a);
    return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && close(a[name], b[name]));
  };`,
  python: `    def close(a, b):
        if isinstance(a, bool) or isinstance(b, bool): return a is b
        if isinstance(a, (int, float)) and isinstance(b, (int, float)): return abs(a - b) <= 1e-9 * max(1, abs(a), abs(b))
        if isinstance(a, (list, tuple)): return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(close, a, b))
        if isinstance(a, dict): return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
        return type(a) is type(b) and a == b`,
};

/** Tests: a function gives for each input its output. */
export function testsOf(name: string, cases: readonly Case[], language: SandboxLanguage): string {
  const text = quoted(JSON.stringify(cases.map(({ input, output }) => [input, output])));
  if (language === "javascript")
    return `{
${CLOSE.javascript}
  for (const [input, output] of JSON.parse(${text})) {
    const found = ${name}(...input);
    if (!close(output, found)) throw new Error(\`${name}(\${JSON.stringify(input).slice(1, -1)}) is \${JSON.stringify(found)}, not \${JSON.stringify(output)}\`);
  }
}`;
  return `def _tests():
    import json
${CLOSE.python}
    for given, wanted in json.loads(${text}):
        found = ${name}(*given)
        assert close(wanted, found), f"${name}{tuple(given)} is {found!r}, not {wanted!r}"
_tests()`;
}

/** Tests: the variable \`result\` holds what a call of the program gives. */
export function resultTest(program: string, name: string, input: readonly Json[], language: SandboxLanguage): string {
  const text = quoted(JSON.stringify(input));
  if (language === "javascript")
    return `${program}
{
${CLOSE.javascript}
  const found = ${name}(...JSON.parse(${text}));
  if (!close(found, result)) throw new Error(\`the call gives \${JSON.stringify(found)}, not \${JSON.stringify(result)}\`);
}`;
  return `${program}
def _tests():
    import json
${CLOSE.python}
    found = ${name}(*json.loads(${text}))
    assert close(found, result), f"the call gives {found!r}, not {result!r}"
_tests()`;
}

/** Names of functions that a program defines at its top, in order. */
export const functionsOf = (code: string, language: SandboxLanguage): string[] =>
  [
    ...code.matchAll(
      language === "python"
        ? /^(?:async )?def ([A-Za-z_]\w*)/gm
        : /^(?:async )?function\*? ([A-Za-z_$][\w$]*)|^(?:const|let|var) ([A-Za-z_$][\w$]*) = (?:async )?(?:function\b|\(|[A-Za-z_$][\w$]* =>)/gm,
    ),
  ].map((match) => match[1] ?? match[2]!);

/** A name replaced wherever it stands alone. */
export const renamed = (text: string, from: string, to: string): string =>
  text.replace(new RegExp(`(?<![\\w$])${from.replaceAll("$", "\\$")}(?![\\w$])`, "g"), () => to);
