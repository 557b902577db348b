// Adapters behind OpenAI's routes: names of their own, and the parameter `lora`.
import { expect, test } from "vitest";
import { load } from "../../src/host/node.ts";
import { loraGguf, tinyLora } from "../support/lora.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { served } from "./served.ts";

const model = tinyModel({ tied: false });
const prompt = Array.from({ length: 12 }, (_, i) => (i * 37 + 5) % 320);

test("a model, an adapter's name, and a request's own choice each give their own text", async () => {
  const lora = [{ path: loraGguf(model, tinyLora(model, 8)), name: "one" }];
  await using loaded = await load(tinyGguf(model), { lora, threads: 1, worker: false });
  const source = { load: async () => loaded, lora: false as const };
  const { post, get } = served({ base: source, one: { base: "base", lora: ["one"] } });
  const own = async (choice: false | { name: string; scale: number }[]) =>
    (await loaded.generate(prompt, { temperature: 0, maxTokens: 12, lora: choice })).text;
  const [plain, full, half] = [
    await own(false),
    await own([{ name: "one", scale: 1 }]),
    await own([{ name: "one", scale: 0.5 }]),
  ];
  expect(new Set([plain, full, half]).size).toBe(3);
  const text = async (body: object) => {
    const response = await post("/v1/completions", { prompt, temperature: 0, max_tokens: 12, ...body });
    const json = (await response.json()) as { model: string; choices: { text: string }[] };
    return [json.model, json.choices[0]!.text];
  };
  expect(await text({})).toEqual(["base", plain]);
  expect(await text({ model: "base" })).toEqual(["base", plain]);
  expect(await text({ model: "one" })).toEqual(["one", full]);
  expect(await text({ model: "base", lora: ["one"] })).toEqual(["base", full]);
  expect(await text({ model: "one", lora: [{ name: "one", scale: 0.5 }] })).toEqual(["one", half]);
  expect(await text({ model: "one", lora: [] })).toEqual(["one", plain]);
  const list = (await (await get("/v1/models")).json()) as { data: { id: string }[] };
  expect(list.data.map(({ id }) => id)).toEqual(["base", "one"]);
  const vector = async (body: object) =>
    ((await (await post("/v1/embeddings", { input: prompt, ...body })).json()) as { data: { embedding: number[] }[] }).data[0]!
      .embedding;
  expect(await vector({ model: "one" })).not.toEqual(await vector({ model: "base" }));
  for (const bad of [["two"], "one", [{ scale: 1 }], [{ name: "one", scale: "x" }], [{ name: "one", weight: 2 }]]) {
    const response = await post("/v1/completions", { model: "base", prompt, lora: bad });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining("lora")]);
  }
});

test("an adapter of a model that is not served is a mistake", () => {
  expect(() => served({ one: { base: "base", lora: ["one"] } })).toThrow("no model named");
});
