// Lines of bytes, and the records in them: untrusted, so that a bad one is told with its place and the next one is read.
import { CpmError } from "../errors.ts";

export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without its end; undefined where the line is longer than what is allowed. */
  readonly bytes: Uint8Array | undefined;
  readonly length: number;
}

/**
 * Cuts pieces at newlines. Memory is bounded: of a line longer than `most` bytes only its length is kept. Empty lines are
 * left out unless `blanks` are wanted.
 */
export async function* linesOf(pieces: AsyncIterable<Uint8Array>, most: number, blanks = false): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 1;
  const take = (part: Uint8Array) => {
    length += part.length;
    if (length <= most) parts.push(part.slice());
    else parts = [];
  };
  const line = (): Line | undefined => {
    const found: Line = { number, bytes: length <= most ? joined(parts, length) : undefined, length };
    [parts, length] = [[], 0];
    number++;
    if (blanks) return found;
    return found.length === 0 || (found.bytes !== undefined && blank(found.bytes)) ? undefined : found;
  };
  for await (const piece of pieces) {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      take(piece.subarray(from, end));
      from = end + 1;
      const whole = line();
      if (whole) yield whole;
    }
    take(piece.subarray(from));
  }
  const rest = length > 0 ? line() : undefined;
  if (rest) yield rest;
}

const blank = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 32 || byte === 13 || byte === 9);

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A record as it is worked on. */
export interface TextRecord {
  /** The JSON object as it was written; undefined for records that were no JSON. */
  readonly json: string | undefined;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly text: string;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const candidates = ["text", "content", "raw_content", "body"];

/** The record of a line. @throws CpmError "bad-input" that says what is wrong with it. */
export function parseRecord(bytes: Uint8Array, field?: string): TextRecord {
  let json: string;
  try {
    json = utf8.decode(bytes).trim();
  } catch {
    throw new CpmError("bad-input", "not UTF-8");
  }
  let fields: unknown;
  try {
    fields = JSON.parse(json);
  } catch (cause) {
    throw new CpmError("bad-input", `not JSON: ${(cause as Error).message.slice(0, 200)}`);
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    throw new CpmError("bad-input", "not a JSON object");
  return { json, fields: fields as Record<string, unknown>, text: textOf(fields as Record<string, unknown>, field) };
}

/** The text of a record: the field named ("": none is wanted), or the first of text, content, raw_content and body. @throws CpmError "bad-input" */
export function textOf(fields: Readonly<Record<string, unknown>>, field?: string): string {
  if (field === "") return "";
  const names = field === undefined ? candidates : [field];
  const name = names.find((candidate) => Object.hasOwn(fields, candidate));
  const text = name === undefined ? undefined : fields[name];
  if (typeof text !== "string") throw new CpmError("bad-input", `no text in ${names.join(", ")}`);
  return text;
}

/** A record's JSON with fields put in at its end, the rest as it was written, to the byte. */
export function withFields({ json, fields }: TextRecord, added: Readonly<Record<string, unknown>>): string {
  const more = JSON.stringify(added).slice(1);
  if (json === undefined) return JSON.stringify({ ...fields, ...added }, bigints);
  if (more === "}") return json;
  const open = json.slice(0, json.lastIndexOf("}")).trimEnd();
  return `${open}${open.endsWith("{") ? "" : ","}${more}`;
}

const bigints = (_: string, value: unknown): unknown => (typeof value === "bigint" ? Number(value) : value);
