// JSON text as Python's json.loads gives it: whole numbers of any size stay whole, 2.0 stays a float.
import { bounded, PyDict, PyList, type Value } from "./values.ts";

const token =
  /\s*(?:([{}[\],:])|"((?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*)"|(-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)|(true|false|null|NaN|-?Infinity))/y;
const words: Readonly<Record<string, Value>> = {
  true: true,
  false: false,
  null: null,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};

/** Undefined for text that is not JSON, or nested more than 100 deep. `source`: kept with the outermost object or list. */
export function fromJson(source: string): Value | undefined {
  let at = 0;
  const next = (): RegExpExecArray => {
    token.lastIndex = at;
    const match = token.exec(source);
    if (!match) throw new SyntaxError("not JSON");
    at = token.lastIndex;
    return match;
  };
  const value = (match: RegExpExecArray, depth: number): Value => {
    const [, mark, text, number, fraction, exponent, word] = match;
    if (text !== undefined) return JSON.parse(`"${text}"`) as string;
    if (number !== undefined)
      return fraction === undefined && exponent === undefined && number.length < 4300 ? bounded(BigInt(number)) : Number(number);
    if (word !== undefined) return words[word]!;
    if (depth > 100) throw new SyntaxError("nested too deep");
    const outer = depth === 0 ? source : undefined;
    if (mark === "[") {
      const items: Value[] = [];
      let inner = next();
      if (inner[1] === "]") return new PyList(items, outer);
      for (;;) {
        items.push(value(inner, depth + 1));
        const end = next()[1];
        if (end === "]") return new PyList(items, outer);
        if (end !== ",") throw new SyntaxError("not JSON");
        inner = next();
      }
    }
    if (mark !== "{") throw new SyntaxError("not JSON");
    const entries: [Value, Value][] = [];
    let inner = next();
    if (inner[1] === "}") return new PyDict(entries, outer);
    for (;;) {
      if (inner[2] === undefined || next()[1] !== ":") throw new SyntaxError("not JSON");
      entries.push([JSON.parse(`"${inner[2]}"`) as string, value(next(), depth + 1)]);
      const end = next()[1];
      if (end === "}") return new PyDict(entries, outer);
      if (end !== ",") throw new SyntaxError("not JSON");
      inner = next();
    }
  };
  try {
    const found = value(next(), 0);
    return /^\s*$/.test(source.slice(at)) ? found : undefined;
  } catch {
    return undefined;
  }
}
