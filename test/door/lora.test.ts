// Adapters through the public functions: names, scales, choices; the engine in this thread and behind a port.
import { expect, test } from "vitest";
import type { LoraInput } from "../../src/door/lora.ts";
import { doors, open } from "../support/door.ts";
import { loraFolder, loraGguf, tinyLora } from "../support/lora.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const model = tinyModel({ tied: false });
const base = tinyGguf(model);
const one = tinyLora(model, 8);
const two = tinyLora(model, 4, { seed: 11 });
const prompt = Array.from({ length: 12 }, (_, i) => (i * 37 + 5) % 320);
const greedy = { temperature: 0, maxTokens: 16, draft: false } as const;
const lora: LoraInput[] = [
  { path: loraGguf(model, one), name: "one" },
  { path: loraFolder(two), name: "two", scale: 0 },
];

for (const [where, door] of Object.entries(doors))
  test(`sessions and calls choose among the adapters that were loaded (${where})`, async () => {
    const loaded = await open(door, base, { lora });
    expect(loaded.info.lora.map(({ name, scale, rank, format }) => [name, scale, rank, format])).toEqual([
      ["one", 1, 8, "GGUF"],
      ["two", 0, 4, "PEFT"],
    ]);
    const plain = (await (await open(door, base)).generate(prompt, greedy)).tokens;
    const text = async (choice?: Parameters<typeof loaded.generate>[1]) =>
      (await loaded.generate(prompt, { ...greedy, ...choice })).tokens;
    const own = await text();
    expect(own).not.toEqual(plain);
    expect(await text({ lora: false })).toEqual(plain);
    expect(await text({ lora: [] })).toEqual(plain);
    expect(await text({ lora: ["one"] })).toEqual(own);
    const other = await text({ lora: [{ name: "two", scale: 2 }] });
    expect([plain, own]).not.toContainEqual(other);
    const sessions = await Promise.all([
      loaded.session(),
      loaded.session({ lora: false }),
      loaded.session({ lora: [{ name: "two", scale: 2 }] }),
    ]);
    const results = await Promise.all(sessions.map((session) => session.generate(prompt, greedy)));
    expect(results.map((result) => result.tokens)).toEqual([own, plain, other]);
    const { embeddings } = await loaded.embed([prompt], { lora: false });
    expect(embeddings[0]).not.toEqual((await loaded.embed([prompt])).embeddings[0]);
  });

test("names come from files, and are told apart", async () => {
  const door = doors["in the caller's thread"];
  const bytes = loraGguf(model, one);
  const blob = new File([bytes.slice()], "tone-f16.gguf");
  const loaded = await open(door, base, { lora: [{ path: blob }, { path: bytes }] });
  expect(loaded.info.lora.map(({ name }) => name)).toEqual(["tone-f16", "adapter-2"]);
  await expect(open(door, base, { lora: [{ path: blob }, { path: blob }] })).rejects.toMatchObject({
    code: "bad-option",
    message: expect.stringContaining("name the adapters"),
  });
});

test.each([
  [{ lora: { path: "x" } }, "lora"],
  [{ lora: [{}] }, "lora[0].path"],
  [{ lora: [{ path: "x", scale: Number.NaN }] }, "lora[0].scale"],
  [{ lora: [{ path: "x", scale: 1e300 }] }, "lora[0].scale"],
  [{ lora: [{ path: "x", weight: 1 }] }, "weight"],
  [{ lora: [{ path: "x", name: "" }] }, "lora[0].name"],
])("load options %j are refused", async (options, field) => {
  const given = options as unknown as { lora: LoraInput[] };
  await expect(doors["in the caller's thread"].load(base, given)).rejects.toMatchObject({
    code: "bad-option",
    detail: { field },
  });
});

test("choices that name nothing loaded are refused at once", async () => {
  const loaded = await open(doors["in the caller's thread"], base, { lora });
  for (const [choice, field] of [
    [["tow"], "lora[0]"],
    [[{ name: "one", scale: Number.POSITIVE_INFINITY }], "lora[0].scale"],
    [["one", { name: "one", scale: 2 }], "lora"],
    ["one", "lora"],
    [[7], "lora[0]"],
  ] as const)
    expect(() => loaded.generate(prompt, { lora: choice as never })).toThrow(
      expect.objectContaining({ code: "bad-option", detail: expect.objectContaining({ field }) }),
    );
  await expect((await open(doors["in the caller's thread"], base)).session({ lora: ["one"] })).rejects.toThrow("none was loaded");
});
