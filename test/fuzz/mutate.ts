// Mutations of inputs: bytes, texts and JSON. All are drawn from one seeded source, so that a finding can be made again.

/** Numbers in [0, 1). */
export type Random = () => number;

/** Source: Bob Jenkins' small fast generator (32 bits, one state word a step), seeded by a counter. */
export function randomFrom(seed: number): Random {
  let [a, b, c, d] = [0xf1ea5eed, seed >>> 0, seed >>> 0, seed >>> 0];
  const next = () => {
    const e = (a - ((b << 27) | (b >>> 5))) >>> 0;
    a = (b ^ ((c << 17) | (c >>> 15))) >>> 0;
    b = (c + d) >>> 0;
    c = (d + e) >>> 0;
    d = (e + a) >>> 0;
    return d / 2 ** 32;
  };
  for (let i = 0; i < 20; i++) next();
  return next;
}

export const below = (random: Random, n: number): number => Math.floor(random() * n);
export const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)]!;

const SIZES = [0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2 ** 31 - 1, -(2 ** 31), 2 ** 32 - 1];
const LARGE = [0n, 1n, -1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 53n - 1n, 2n ** 63n - 1n, -(2n ** 63n)];

/** `where`: only the first so many bytes are changed, where the sizes lie. */
export function mutateBytes(input: Uint8Array, random: Random, others: readonly Uint8Array[], where = input.length): Uint8Array {
  const bytes = input.slice();
  const most = Math.max(1, Math.min(where, bytes.length));
  const at = below(random, most);
  const view = new DataView(bytes.buffer);
  switch (below(random, 9)) {
    case 0:
      if (bytes.length > 0) bytes[at] = bytes[at]! ^ (1 << below(random, 8));
      return bytes;
    case 1:
      if (bytes.length > 0) bytes[at] = below(random, 256);
      return bytes;
    case 2:
      if (bytes.length >= 4) view.setInt32(Math.min(at, bytes.length - 4), pick(random, SIZES) | 0, true);
      return bytes;
    case 3:
      if (bytes.length >= 8) view.setBigInt64(Math.min(at, bytes.length - 8), BigInt.asIntN(64, pick(random, LARGE)), true);
      return bytes;
    case 4:
      return bytes.slice(0, at);
    case 5: {
      const gone = 1 + below(random, 16);
      return joined(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + gone)));
    }
    case 6: {
      const from = below(random, most);
      return joined(bytes.subarray(0, at), bytes.subarray(from, from + 1 + below(random, 64)), bytes.subarray(at));
    }
    case 7: {
      const other = pick(random, others);
      const from = below(random, Math.max(1, other.length));
      return joined(bytes.subarray(0, at), other.subarray(from, from + 1 + below(random, 256)), bytes.subarray(at));
    }
    default:
      for (let i = at; i < Math.min(bytes.length, at + 1 + below(random, 16)); i++) bytes[i] = below(random, 256);
      return bytes;
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const ODD = [
  "\u0000",
  "\ufeff",
  "\ud800",
  "\udc00",
  "\u2028",
  "e\u0301",
  "\u{1f468}\u200d\u{1f469}",
  "\u0345",
  "\u00df",
  "\u0130",
  "\r\n",
  "\\",
  '"',
  "'",
  "%",
  "{{",
  "}}",
  "1e999",
  "-0",
  "9".repeat(40),
  " ".repeat(300),
  "a".repeat(2000),
];

/** `words`: what the language of the text is made of. */
export function mutateText(input: string, random: Random, others: readonly string[], words: readonly string[]): string {
  const at = below(random, input.length + 1);
  const end = Math.min(input.length, at + below(random, 20));
  switch (below(random, 9)) {
    case 0:
      return input.slice(0, at) + pick(random, words.length ? words : ODD) + input.slice(at);
    case 1:
      return input.slice(0, at) + pick(random, words.length ? words : ODD) + input.slice(end);
    case 2:
      return input.slice(0, at) + input.slice(end);
    case 3:
      return input.slice(0, at) + pick(random, ODD) + input.slice(at);
    case 4:
      return input.slice(0, at);
    case 5: {
      const piece = input.slice(at, end);
      return input.slice(0, at) + piece.repeat(1 + below(random, 60)) + input.slice(at);
    }
    case 6: {
      const other = pick(random, others);
      const from = below(random, other.length + 1);
      return input.slice(0, at) + other.slice(from, from + below(random, 200)) + input.slice(at);
    }
    case 7: {
      const from = below(random, input.length + 1);
      const moved = input.slice(from, from + below(random, 40));
      return input.slice(0, at) + moved + input.slice(at);
    }
    default:
      return input.slice(0, at) + String.fromCharCode(below(random, 0x3000)) + input.slice(at + 1);
  }
}

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e300,
  2 ** 53,
  2 ** 31,
  "",
  "a",
  "\ud800",
  "__proto__",
  [],
  {},
  [[]],
  [null],
  { a: 1 },
  { __proto__: null },
];

/** Mutates a JSON text as a tree, or (a quarter, and what is no JSON) as a text. */
export function mutateJson(input: string, random: Random, others: readonly string[], words: readonly string[]): string {
  if (random() < 0.25) return mutateText(input, random, others, [...words, '"', "{", "}", "[", "]", ",", ":", "null", "1e5"]);
  let tree: unknown;
  try {
    tree = JSON.parse(input);
  } catch {
    return mutateText(input, random, others, words);
  }
  const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      if (places.length > 5000) return;
      places.push({ holder: value as Record<string, unknown>, key });
      walk((value as Record<string, unknown>)[key]);
    }
  };
  walk(tree);
  if (places.length === 0) return JSON.stringify(pick(random, VALUES));
  const { holder, key } = pick(random, places);
  const set = (name: string, value: unknown) =>
    Object.defineProperty(holder, name, { value, enumerable: true, writable: true, configurable: true });
  switch (below(random, 7)) {
    case 0:
      set(key, pick(random, VALUES));
      break;
    case 1:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      break;
    case 2: {
      const other = pick(random, places);
      set(key, other.holder[other.key] === tree ? null : structuredClone(other.holder[other.key]));
      break;
    }
    case 3:
      if (words.length) set(pick(random, words), structuredClone(holder[key]));
      break;
    case 4: {
      let deep: unknown = structuredClone(holder[key]);
      for (let i = below(random, 200); i >= 0; i--) deep = random() < 0.5 ? [deep] : { a: deep };
      set(key, deep);
      break;
    }
    case 5: {
      const value = holder[key];
      if (typeof value === "string") set(key, mutateText(value, random, others, words));
      else if (typeof value === "number") set(key, pick(random, [...SIZES, value + 1, value - 1, -value, value * 1000, 0.1]));
      else set(key, pick(random, VALUES));
      break;
    }
    default:
      if (Array.isArray(holder[key])) {
        const list = holder[key] as unknown[];
        set(
          key,
          Array.from({ length: below(random, 50) }, () => structuredClone(list[0] ?? null)),
        );
      } else if (words.length) set(key, pick(random, words));
  }
  return JSON.stringify(tree);
}
