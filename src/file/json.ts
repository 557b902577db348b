// JSON from untrusted files: parsed, bounded, and shown in messages without being walked.
import { modelError } from "../errors.ts";

/** No file of a model nests deeper; whoever walks a parsed value recursively is safe below it. */
const MAX_DEPTH = 64;

/** Parses a JSON object; anything else is a "bad-model" error naming the file. */
export function parseObject(text: string, file: string, offset = 0): Record<string, unknown> {
  if (nestsDeeper(text, MAX_DEPTH))
    throw modelError({ file, offset, expected: `at most ${MAX_DEPTH} levels of nesting`, found: "more" }, "JSON");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw modelError(
      { file, offset, expected: "JSON", found: cause instanceof Error ? cause.message : String(cause) },
      "not valid JSON",
    );
  }
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw modelError({ file, offset, expected: "a JSON object", found: shown(json) }, "JSON");
  return json as Record<string, unknown>;
}

function nestsDeeper(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) {
      for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
    } else if (c === 0x7b || c === 0x5b) {
      if (++depth > limit) return true;
    } else if (c === 0x7d || c === 0x5d) depth--;
  }
  return false;
}

/** A value from a file for a message: short, and nothing of it is called (a "toString" of its own, say). */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) return "an object";
  const list = value as ArrayLike<unknown>;
  const short = list.length <= 8 && Array.from(list).every((item) => typeof item === "number");
  return short ? `[${Array.from(list).join(", ")}]` : `a list of ${list.length}`;
}
