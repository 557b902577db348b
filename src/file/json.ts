// JSON from untrusted files: parsed, bounded, and shown in messages without being walked.
import { modelError } from "../errors.ts";
import { reasonOf, shown } from "../shown.ts";
import { BASE_BYTES, BYTES_A_CHARACTER, MAX_DEPTH, weigh } from "./weigh.ts";

export { shown };

/**
 * Parses a JSON object; anything else is a "bad-model" error naming the file. Members that `keep` does not name are skipped, not parsed.
 * What the parsed form will take is counted first, in one pass: nesting beyond 64 levels, and more than 64 MiB + 12 times the text, are
 * refused before anything is made of it.
 */
export function parseObject(text: string, file: string, offset = 0, keep?: readonly string[]): Record<string, unknown> {
  refusePointer(text, file);
  const { depth, bytes, kept } = weigh(text, keep);
  if (depth > MAX_DEPTH)
    throw modelError({ file, offset, expected: `at most ${MAX_DEPTH} levels of nesting`, found: "more" }, "JSON");
  const most = BASE_BYTES + BYTES_A_CHARACTER * text.length;
  if (bytes > most)
    throw modelError(
      { file, offset, expected: `values that take at most ${most} bytes`, found: `${bytes} bytes of lists, objects and numbers` },
      "JSON",
    );
  text = kept;
  let json: unknown;
  try {
    json = parsePython(text);
  } catch (cause) {
    throw modelError({ file, offset, expected: "JSON", found: reasonOf(cause) }, "not valid JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw modelError({ file, offset, expected: "a JSON object", found: shown(json) }, "JSON");
  return json as Record<string, unknown>;
}

/** JSON as Python's json module writes and reads it: NaN, Infinity and -Infinity are numbers, too (all read as infinite). */
function parsePython(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const numbers = text.replace(/"(?:[^"\\]|\\[\s\S])*"|-?\b(?:NaN|Infinity)\b/g, (part) =>
      part.startsWith('"') ? part : part.startsWith("-") ? "-1e999" : "1e999",
    );
    if (numbers === text) throw cause;
    return JSON.parse(numbers);
  }
}

/** How a file of Git LFS begins that was not fetched: a few lines that say where the file would be. */
const POINTER = "version https://git-lfs.github.com/spec/";

/** @throws CpmError "bad-model" when a file is a pointer of Git LFS instead of what it should be. */
export function refusePointer(head: string | Uint8Array, file: string): void {
  const text = typeof head === "string" ? head : new TextDecoder("latin1").decode(head.subarray(0, POINTER.length));
  if (text.startsWith(POINTER))
    throw modelError(
      { file, offset: 0, expected: "the file itself", found: "a Git LFS pointer to it" },
      "not downloaded yet",
      'run "git lfs pull" in its folder, or download the file itself',
    );
}
