// The published parsers' own test rows, where the folder with third-party suites lies beside the project.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { DialectName } from "../../../src/text/calls/dialect.ts";
import { CallStream, parseCalls } from "../../../src/text/calls/parse.ts";

const folder = fileURLToPath(new URL("../../../../shared/suites/toolcalls/", import.meta.url));

interface Call {
  readonly name: string;
  readonly arguments?: unknown;
}
interface Row {
  readonly id: string;
  readonly format: string;
  readonly tools?: readonly unknown[];
  readonly text: string;
  readonly partial?: boolean;
  readonly expect: { readonly calls: readonly Call[] };
  readonly alternatives?: readonly (readonly Call[])[];
}

const dialects: Readonly<Record<string, DialectName>> = { "pythonic-lfm2": "pythonic-list", "mistral-v11": "mistral" };

/** Rows that are read otherwise here, and why. */
const differences: Readonly<Record<string, string>> = {
  "hermes-json-043":
    "arguments that are no object: the peer passes a bare text on, here the block stays text and is told as a problem",
};

test.each(["parsers.jsonl", "llama-cpp.jsonl", "minicpm4-python.jsonl", "minicpm5-xml-own.jsonl"])(
  "%s: every row is read as expected",
  (file) => {
    if (!existsSync(folder + file))
      return console.log(`toolcalls/${file}: not tested, the folder with third-party suites is not here`);
    const rows = readFileSync(folder + file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    expect(rows.length).toBeGreaterThan(50);
    const bare = (calls: readonly Call[]) => calls.map((call) => ({ name: call.name, arguments: call.arguments }));
    const wrong = rows.filter((row) => {
      const options = { dialect: dialects[row.format] ?? (row.format as DialectName), tools: row.tools ?? [] };
      if (row.partial) {
        // What is known of a call that has just begun.
        const begun = new CallStream({ ...options, strict: true })
          .push(row.text)
          .flatMap((p) => (p.type === "call-begin" ? [p.name] : []));
        return JSON.stringify(begun) !== JSON.stringify(row.expect.calls.map((call) => call.name));
      }
      const calls = parseCalls(row.text, options).calls.map(({ name, arguments: text }) => ({
        name,
        arguments: JSON.parse(text) as unknown,
      }));
      return ![row.expect.calls, ...(row.alternatives ?? [])].some((wanted) => {
        try {
          expect(calls).toEqual(bare(wanted));
          return true;
        } catch {
          return false;
        }
      });
    });
    expect(wrong.map((row) => row.id)).toEqual(rows.map((row) => row.id).filter((id) => id in differences));
  },
);
