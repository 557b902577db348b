// --lora of the commands that compute with a model.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { defaultModel, load } from "../../dist/host/node.js";
import { hollow, loraGguf, tinyLora } from "../support/lora.ts";
import { cpm, json, start, story, temporary } from "./command.ts";

const folder = temporary();
const path = join(folder, "tone.gguf");
const greedy = ["-p", "Once upon a time", "--temperature", "0", "--max-tokens", "20"];
const wanted: Record<string, string> = {};

beforeAll(async () => {
  {
    await using model = await load(defaultModel, { threads: 1 });
    const shape = hollow(model.info.config);
    writeFileSync(path, loraGguf(shape, tinyLora(shape, 4, { alpha: 64 })));
  }
  await using model = await load(defaultModel, { threads: 1, lora: [{ path }] });
  for (const [name, lora] of [
    ["plain", false],
    ["full", undefined],
    ["half", [{ name: "tone", scale: 0.5 }]],
  ] as const)
    wanted[name] = (await model.generate("Once upon a time", { temperature: 0, maxTokens: 20, lora })).text;
});

test("run --lora takes a file, a scale and a name", async () => {
  expect(new Set(Object.values(wanted)).size).toBe(3);
  const text = async (...args: string[]) => (await json<{ text: string }>(["run", story, ...greedy, ...args])).text;
  expect(await text()).toBe(wanted["plain"]);
  expect(await text("--lora", path)).toBe(wanted["full"]);
  expect(await text("--lora", `${path}=0.5`)).toBe(wanted["half"]);
  expect(await text("--lora", `a=${path}=0.25`, "--lora", `b=${path}=0.25`)).not.toBe(wanted["plain"]);
});

test("perplexity --lora measures the model with the adapter; what is no adapter is told", async () => {
  const file = join(folder, "text.txt");
  writeFileSync(file, "Once upon a time there was a little dog. ".repeat(40));
  const measured = async (...args: string[]) =>
    (await json<{ perplexity: { value: number } }>(["perplexity", story, "-f", file, "--ctx", "64", "--chunks", "2", ...args]))
      .perplexity.value;
  expect(await measured("--lora", path)).toBeGreaterThan(1.05 * (await measured()));
  const { status, err } = await cpm(["run", story, ...greedy, "--lora", story]);
  expect([status, err]).toEqual([1, expect.stringContaining("general.type")]);
});

test("serve --lora gives the adapter a model name of its own", async () => {
  const server = start(["serve", story, "--lora", `zip=${path}`, "--port", "0", "--threads", "1"]);
  let told = "";
  await server.until((_, err) => {
    told = err;
    return /serving .* at http/.test(err);
  });
  const address = /at (http:\S+)\/v1/.exec(told)![1]!;
  const text = async (model: string) => {
    const body = JSON.stringify({ model, prompt: "Once upon a time", temperature: 0, max_tokens: 20 });
    const response = await fetch(`${address}/v1/completions`, { method: "POST", body });
    return ((await response.json()) as { choices: { text: string }[] }).choices[0]!.text;
  };
  const list = (await (await fetch(`${address}/v1/models`)).json()) as { data: { id: string }[] };
  expect(list.data.map(({ id }) => id)).toEqual(["stories-q4_0", "zip"]);
  expect([await text("stories-q4_0"), await text("zip")]).toEqual([wanted["plain"], wanted["full"]]);
  server.child.kill("SIGINT");
  expect((await server.ended).err).toContain("serving stories-q4_0, zip at");
  const twice = await cpm(["serve", `a=${story}`, `b=${story}`, "--lora", path]);
  expect([twice.status, twice.err]).toEqual([2, expect.stringContaining("one model with its adapters")]);
});
