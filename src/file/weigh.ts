// What a JSON text will take when it is parsed, counted before it is: three characters can become forty bytes.

/** No file of a model nests deeper; whoever walks a parsed value recursively is safe below it. */
export const MAX_DEPTH = 64;
/** Parsed values may take this, whatever the length of their text, … */
export const BASE_BYTES = 64 << 20;
/** … and this for each character beside it. Vocabularies and pairs of merges take 8 to 11. */
export const BYTES_A_CHARACTER = 12;

/** Bytes of a list or an object with its backing store, of a slot in it, and of an object's entry with its name: engines on 64 bits. */
const CONTAINER = 64;
const SLOT = 16;
const ENTRY = 80;

export interface Weight {
  readonly depth: number;
  /** Bytes that the kept part takes when it is parsed, without the characters of its texts. */
  readonly bytes: number;
  /** The text to parse. */
  readonly kept: string;
  /** Characters looked at. */
  readonly steps: number;
}

/**
 * One pass over a text that should be JSON; of broken text it says something, and JSON.parse refuses it. With `keep`, members of the
 * outermost object with other names are left out of `kept` and of `bytes` (their nesting counts).
 */
export function weigh(text: string, keep?: readonly string[]): Weight {
  const names = keep && new Set(keep);
  const parts: string[] = [];
  let [depth, deepest, bytes, before, steps] = [0, 0, 0, 0, 0];
  // Where the present member of the outermost object begins, and whether a name was seen in it.
  let [begin, named, outer, wanted] = [-1, false, "", true];
  const finish = (end: number) => {
    if (begin >= 0 && wanted) parts.push(text.slice(begin, end));
    if (!wanted) bytes = before;
    [begin, named, wanted] = [end + 1, false, true];
    before = bytes;
  };
  let i = 0;
  for (; i < text.length; i++, steps++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) {
      const from = i;
      for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++, steps++) if (text.charCodeAt(i) === 0x5c) i++;
      if (depth === 1 && outer === "{" && !named) {
        named = true;
        wanted = names === undefined || names.has(nameOf(text, from, i + 1));
      }
    } else if (c === 0x3a) bytes += ENTRY;
    else if (c === 0x2c) {
      bytes += SLOT;
      if (names && depth === 1 && outer === "{") finish(i);
    } else if (c === 0x7b || c === 0x5b) {
      bytes += CONTAINER + SLOT;
      deepest = Math.max(deepest, ++depth);
      if (depth === 1 && outer === "") {
        outer = text[i]!;
        begin = i + 1;
      }
    } else if (c === 0x7d || c === 0x5d) {
      depth--;
      if (names && depth === 0 && outer === "{" && c === 0x7d) {
        finish(i);
        break;
      }
    }
  }
  if (!names || outer !== "{" || depth !== 0) return { depth: deepest, bytes, kept: text, steps };
  return { depth: deepest, bytes, kept: `${text.slice(0, text.indexOf("{"))}{${parts.join(",")}}${text.slice(i + 1)}`, steps };
}

/** A member's name as parsed; names longer than any that is kept are none of them. */
function nameOf(text: string, from: number, to: number): string {
  if (to - from > 200) return "";
  const raw = text.slice(from, to);
  try {
    return raw.includes("\\") ? (JSON.parse(raw) as string) : raw.slice(1, -1);
  } catch {
    return "";
  }
}
