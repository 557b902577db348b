// What the fuzzer starts from, and what it once found: each input works or is refused with a typed error. `run.mjs` does the fuzzing.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { mutateBytes, mutateJson, mutateText, randomFrom } from "./mutate.ts";
import { targets } from "./targets.ts";

const all = await targets();
const corpus = (name: string): Uint8Array[] => {
  const folder = fileURLToPath(new URL(`corpus/${name}/`, import.meta.url));
  return existsSync(folder) ? readdirSync(folder).map((file) => new Uint8Array(readFileSync(folder + file))) : [];
};

test.each(all)("$name: seeds and earlier findings", async ({ name, seeds, run }) => {
  let worked = 0;
  for (const input of [...seeds, ...corpus(name)])
    try {
      await run(input.slice());
      worked++;
    } catch (error) {
      expect(error).toBeInstanceOf(CpmError);
    }
  expect(worked, "inputs that work, so that mutations begin somewhere").toBeGreaterThan(0);
});

test("mutations are a seed's alone, and change what they are given", () => {
  const run = (seed: number) => {
    const random = randomFrom(seed);
    const bytes = new TextEncoder().encode("GGUF and some bytes behind it");
    return Array.from({ length: 200 }, () => [
      mutateBytes(bytes, random, [bytes]).join(),
      mutateText("{% if a %}b{% endif %}", random, ["other"], ["{{"]),
      mutateJson('{"a": [1, {"b": "c"}]}', random, ["{}"], ["key"]),
    ]);
  };
  expect(run(5)).toEqual(run(5));
  expect(run(5)).not.toEqual(run(6));
  expect(new Set(run(5).map(String)).size).toBeGreaterThan(190);
});
