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
    json = JSON.parse(text);
  } catch (cause) {
    throw modelError({ file, offset, expected: "JSON", found: reasonOf(cause) }, "not valid JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw modelError({ file, offset, expected: "a JSON object", found: shown(json) }, "JSON");
  return json as Record<string, unknown>;
}
