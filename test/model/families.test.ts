// Models of every family against a float64 evaluation by their published code, from folders and from GGUF.
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { shared } from "../support/golden.ts";
import { checkFamilies } from "./families.mjs";

const own = fileURLToPath(new URL("../golden/families", import.meta.url));
const all = shared("golden/families") ?? own;
const names = readdirSync(all).filter((name) => existsSync(`${all}/${name}/config.json`));

test("the golden files of the families were found", () => {
  expect(names.length).toBeGreaterThanOrEqual(13);
});

for (const name of names)
  test(`${name}: logits and greedy text are those of the published code, from every form of its files`, async () => {
    const found = [];
    for await (const result of checkFamilies(all, [name])) found.push(result);
    expect(found.map(({ line, passed }) => (passed ? "ok" : line))).toEqual(["ok"]);
  });
