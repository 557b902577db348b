// cpm-wasm/plain: the same package without constraints and tools, for pages and edge workers that use neither.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { openDoor } from "../../src/door/door.ts";
import * as here from "../../src/door/here.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { story } from "../cli/command.ts";
import { host } from "../support/engine.ts";

const door = openDoor({ host: () => ({ ...host, cores: 1 }), openPath: pathFiles, here: () => here });
const refusal = (field: string) =>
  expect.objectContaining({ code: "unsupported", detail: { field }, message: expect.stringMatching(/cpm-wasm\/plain/) });
const failure = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

test("it generates and chats; what it leaves out is refused by name, and null asks for nothing", async () => {
  await using model = await door.load(story, { contextSize: 128 });
  const { text } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 5, schema: undefined });
  expect(text.length).toBeGreaterThan(0);
  const messages = [{ role: "user", content: "Hello" }];
  const nulls = { tools: null, toolChoice: null } as never;
  expect((await model.chat(messages, { maxTokens: 3, ...(nulls as object) })).tokens).toHaveLength(3);
  await using session = await model.session();
  await using copy = await session.copy();
  for (const [field, work] of [
    ["schema", () => model.generate("a", { schema: {} })],
    ["regex", () => session.generate("a", { regex: "a" })],
    ["choices", () => copy.chat(messages, { choices: ["a"] })],
    ["tools", () => model.chat(messages, { tools: [] })],
    ["toolChoice", () => model.chat(messages, { toolChoice: "none" })],
    ["constraint", () => model.constraint({ regex: "a" })],
  ] as const)
    expect(failure(work), field).toEqual(refusal(field));
});

/** Sources, by folder, of what a bundle of `entry` loads at once, and bytes of its own. */
async function loadedAtOnce(entry: string) {
  const { outputs } = (
    await build({
      stdin: {
        contents: `export { load } from "./dist/host/${entry}.js"`,
        resolveDir: fileURLToPath(new URL("../../", import.meta.url)),
      },
      bundle: true,
      splitting: true,
      format: "esm",
      outdir: "out",
      external: ["*.wasm"],
      metafile: true,
      minify: true,
      write: false,
    })
  ).metafile;
  const first = Object.keys(outputs).find((name) => outputs[name]!.entryPoint === "<stdin>")!;
  const names = new Set([first]);
  for (const name of names)
    for (const { path, kind } of outputs[name]!.imports) if (kind === "import-statement" && outputs[path]) names.add(path);
  const sources = [...names].flatMap((name) =>
    Object.entries(outputs[name]!.inputs).flatMap(([input, { bytesInOutput }]) => (bytesInOutput > 0 ? [input] : [])),
  );
  return { sources, bytes: [...names].reduce((sum, name) => sum + outputs[name]!.bytes, 0) };
}

test("what is bundled has no compilers in it, and on a page no engine before one is used in its thread", async () => {
  const [page, whole, edge] = await Promise.all(["browser.plain", "browser", "edge.plain"].map(loadedAtOnce));
  const of = (sources: readonly string[], folder: string) =>
    sources.filter((name) => name.startsWith(`dist/${folder}/`) && !name.endsWith("/limits.js"));
  for (const found of [page!, edge!])
    for (const folder of ["constrain", "text/calls"]) expect(of(found.sources, folder)).toEqual([]);
  for (const found of [page!, whole!])
    for (const folder of ["model", "engine"]) expect(of(found.sources, folder).length).toBeLessThan(4);
  expect(of(whole!.sources, "constrain").length).toBeGreaterThan(5);
  expect(page!.bytes).toBeLessThan(190_000);
});
