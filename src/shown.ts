// What comes from outside, as messages may have it: short, on one line, without a character that steers a terminal or turns text about.

/** Characters of a value that a message shows. */
const LONGEST = 80;

/**
 * Control characters (C0, DEL, C1), line and paragraph separators, marks that are invisible or turn the direction of text, and halves of
 * surrogate pairs.
 */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** At most `limit` units of a text, no pair of them cut in two, and "…" where it went on. */
function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  return `${text.slice(0, last >= 0xd800 && last < 0xdc00 ? limit - 1 : limit)}…`;
}

/** The first `limit` characters of a text, what cannot be printed as "\u001b"; characters in `keep` stay. Work is bounded by `limit`. */
export function printable(text: string, limit: number, keep = ""): string {
  const clean = cut(text, limit).replace(UNPRINTABLE, (c) =>
    keep.includes(c) ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return cut(clean, limit + 1);
}

/**
 * A value from a file or a caller for a message: at most about a hundred characters, and nothing of it is called (a "toString" of its own,
 * say). This is the one form in which such a value reaches a message.
 */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string")
    return printable(JSON.stringify(value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value), 600);
  if (typeof value === "bigint") return value > -(2n ** 64n) && value < 2n ** 64n ? `${value}` : "a number beyond 64 bits";
  if (typeof value === "symbol" || typeof value === "function") return `a ${typeof value}`;
  if (typeof value !== "object" || value === null) return `${value}`;
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && !(value instanceof DataView))) return "an object";
  const list = value as ArrayLike<unknown>;
  if (list.length > 8) return `a list of ${list.length}`;
  const items = Array.from(list);
  return items.every((item) => typeof item === "number") ? `[${items.join(", ")}]` : `a list of ${list.length}`;
}

/** What a thrown value says: an error's message, else the value as it is shown. */
export function reasonOf(thrown: unknown): string {
  const message =
    typeof thrown === "object" && thrown !== null && "message" in thrown ? (thrown as { message: unknown }).message : thrown;
  return typeof message === "string" ? printable(message, 1000, "\n") : shown(thrown);
}
