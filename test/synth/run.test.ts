// The generator over a scripted model: the same result whatever runs at once and whenever it is cut off, budgets, overlap, refusals.
import process from "node:process";
import { describe, expect, test } from "vitest";
import { EndpointError } from "../../src/chat/endpoint.ts";
import type { ChatModel } from "../../src/chat/model.ts";
import { verifyToolCalls } from "../../src/data/verify/calls.ts";
import { sampleOf } from "../../src/data/verify/samples.ts";
import { runVerifiers, type VerifierName } from "../../src/data/verify/suite.ts";
import { memoryJournal } from "../../src/synth/journal.ts";
import { emptyReport, settled, synthPage, synthPicture } from "../../src/synth/report.ts";
import { type SynthOptions, synthesise } from "../../src/synth/run.ts";
import { familyNames, type SynthConfig, type SynthRecord } from "../../src/synth/types.ts";
import type { ToolDefinition } from "../../src/text/calls/tools.ts";
import { door } from "../data/rig.ts";
import { config, entriesOf, scripted, sums, toolSeeds } from "./rig.ts";

const run = async (more: Partial<SynthOptions> = {}) => synthesise({ config, model: scripted(), modelName: "script", ...more });
const textOf = async (more: Partial<SynthOptions> = {}) => {
  const made = await run(more);
  return Promise.all(made.families.map((family) => entriesOf(made, family))).then((all) => JSON.stringify(all));
};

/** Latency without a clock: an answer comes in the round after it was asked for; a round is when nothing else can go on. */
function rounds() {
  let [waiting, count, asked]: [(() => void)[], number, boolean] = [[], 0, false];
  const next = () => {
    const now = waiting;
    [waiting, asked] = [[], false];
    count++;
    for (const go of now) go();
  };
  return {
    count: () => count,
    gate: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (!asked) setImmediate(() => setImmediate(next));
        asked = true;
      }),
  };
}

const records = async (more: Partial<SynthOptions> = {}): Promise<SynthRecord[]> => {
  const made = await run(more);
  const entries = (await Promise.all(made.families.map((family) => entriesOf(made, family)))).flat();
  return entries.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => (outcome.kept ? [outcome.record] : [])));
};

test("the same entries for 1, 3 and 40 items at once; another seed gives others", async () => {
  const one = await textOf({ config: { ...config, concurrency: 1 } });
  for (const concurrency of [3, 40]) expect(await textOf({ config: { ...config, concurrency } })).toBe(one);
  expect(await textOf({ config: { ...config, seed: 8 } })).not.toBe(one);
});

test("shards are the whole, each item once", async () => {
  const whole = JSON.parse(await textOf()) as { item: number }[][];
  const parts = await Promise.all(
    [0, 1, 2].map(async (index) => JSON.parse(await textOf({ shard: { index, count: 3 } })) as { item: number }[][]),
  );
  for (const [i] of familyNames.entries()) {
    const together = parts.flatMap((part) => part[i]!).sort((a, b) => a.item - b.item);
    expect(together).toEqual(whole[i]);
  }
});

test("many at once do not listen to one signal: Node would take it for a leak", async () => {
  const warned: string[] = [];
  const hear = (warning: Error) => void warned.push(warning.name);
  process.on("warning", hear);
  const listening: ChatModel = {
    chat(messages, options) {
      const heard = () => {};
      options?.signal?.addEventListener("abort", heard, { once: true });
      const made = inner.chat(messages, options);
      void Promise.resolve(made).finally(() => options?.signal?.removeEventListener("abort", heard));
      return made;
    },
  };
  const inner = scripted(() => new Promise((resolve) => setTimeout(resolve)));
  await run({ config: { ...config, concurrency: 32 }, model: listening });
  await new Promise((resolve) => setTimeout(resolve));
  process.off("warning", hear);
  expect(inner.facts.most).toBeGreaterThan(20);
  expect(warned).toEqual([]);
});

test("two at once take half the rounds that one takes, four a quarter", async () => {
  const taken = async (concurrency: number) => {
    const { gate, count } = rounds();
    const model = scripted(gate);
    await run({ config: { ...config, concurrency }, model });
    return { rounds: count(), requests: model.facts.requests, most: model.facts.most };
  };
  const [one, two, four] = [await taken(1), await taken(2), await taken(4)];
  expect(one).toMatchObject({ rounds: one.requests, most: 1 });
  expect(two).toMatchObject({ requests: one.requests, most: 2 });
  expect(one.rounds / two.rounds).toBeGreaterThan(1.8);
  expect(one.rounds / four.rounds).toBeGreaterThan(3.2);
});

test("a run that is cut off anywhere goes on where it was, asks nothing twice that was done, and gives the same", async () => {
  const whole = await textOf();
  const total = (
    await (async () => {
      const model = scripted();
      await run({ model });
      return model;
    })()
  ).facts.requests;
  for (const after of [1, 7, 40, 120]) {
    const journals = Object.fromEntries(familyNames.map((name) => [name, memoryJournal()]));
    let left = after;
    const stop = new AbortController();
    const first = scripted(async () => {
      if (left-- === 0) stop.abort(new Error("cut off"));
    });
    await expect(run({ model: first, journals, signal: stop.signal })).rejects.toThrow("cut off");
    const before = familyNames.reduce(
      (n, name) => n + [...journals[name]!.done.values()].reduce((m, { requests }) => m + requests, 0),
      0,
    );
    const second = scripted();
    expect(await textOf({ model: second, journals })).toBe(whole);
    expect(second.facts.requests).toBe(total - before);
  }
});

test("every sample that is kept passes its verifiers again, and says where it comes from", async () => {
  const all = await records();
  for (const family of familyNames) expect(all.filter((record) => record.family === family).length, family).toBeGreaterThan(1);
  for (const record of all) {
    const { family, provenance, messages } = record;
    const names: VerifierName[] =
      family === "instructions"
        ? ["instructions"]
        : family === "reasoning"
          ? ["answer", "text"]
          : family === "tools"
            ? []
            : ["text"];
    if (messages.some(({ tool_calls: made }) => made?.length)) names.push("tools", "reasoning");
    // As cpm verify reads a line: calls are found before their results and the answer behind them.
    const sample = sampleOf(record);
    const verdicts = await runVerifiers(names, sample);
    for (const [name, verdict] of Object.entries(verdicts))
      expect(verdict, `${record.id} ${name}`).toEqual({ ok: true, reasons: [] });
    expect(provenance).toMatchObject({ model: "script", family, seed: 7, sampling: { temperature: 0.7, maxTokens: 256 } });
    expect(provenance.stages.length).toBeGreaterThan(0);
    for (const { template, stage } of provenance.stages) expect(template, stage).toMatch(/^(?:[0-9a-f]{12})?$/);
    expect(Object.values(provenance.verdicts).every(({ ok }) => ok)).toBe(true);
    expect(JSON.stringify(messages)).not.toContain("undefined");
  }
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
});

test("tools: ids of calls are counted, not the endpoint's; irrelevant tools are not called; answers follow results", async () => {
  const tools = { count: 40, seeds: toolSeeds, samples: 3, answers: true, irrelevant: 0.4 };
  const all = await records({ config: { seed: 1, families: { tools } } });
  const called = all.filter(({ messages }) => messages[1]!.tool_calls?.length);
  expect(called.length).toBeGreaterThan(3);
  expect(all.length - called.length).toBeGreaterThan(3);
  for (const { messages } of called) {
    const ids = messages[1]!.tool_calls!.map(({ id }) => id);
    expect(ids).toEqual(ids.map((_, i) => `call_${i}`));
    expect(messages.slice(2).map(({ role }) => role)).toEqual([...ids.map(() => "tool"), "assistant"]);
  }
  for (const { messages, provenance } of all.filter((record) => !called.includes(record))) {
    expect(provenance.facts).toMatchObject({ irrelevant: true });
    expect(messages).toHaveLength(2);
  }
});

test("tools: several calls of one tool with other values; conversations of several requests, each judged", async () => {
  const tools = { count: 60, seeds: toolSeeds, samples: 4, turns: 3, parallel: 0.5 };
  const made = await run({ config: { seed: 4, families: { tools } } });
  const entries = await entriesOf(made, "tools");
  const all = entries.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => (outcome.kept ? [outcome.record] : [])));
  const seen = { alike: 0, turns: [0, 0, 0, 0] };
  for (const { messages, provenance, tools: list } of all) {
    const requests = messages.flatMap(({ role }, i) => (role === "user" ? [i] : []));
    const targets = provenance.facts["targets"] as readonly (string | readonly string[])[];
    const each = (requests.length === 1 ? [targets] : targets) as readonly (readonly string[])[];
    expect(each).toHaveLength(requests.length);
    seen.turns[requests.length]!++;
    const ids = messages.flatMap(({ tool_calls: calls }) => (calls ?? []).map(({ id }) => id));
    expect(ids).toEqual(ids.map((_, i) => `call_${i}`));
    for (const [turn, at] of requests.entries()) {
      const { role, tool_calls: calls = [], reasoning_content: thought, content } = messages[at + 1]!;
      expect(role).toBe("assistant");
      expect(calls!.map((call) => call.function.name).sort()).toEqual([...each[turn]!].sort());
      expect(`${thought ?? ""}${content ?? ""}`.length).toBeGreaterThan(9);
      const texts = calls!.map((call) => JSON.stringify(call.function));
      expect(new Set(texts).size).toBe(texts.length);
      if (texts.length > 1 && new Set(each[turn]).size === 1) seen.alike++;
      const behind = messages.slice(at + 2, requests[turn + 1] ?? messages.length).map((message) => message.role);
      // The last request ends with its calls: answers are not asked for.
      expect(behind).toEqual(turn === requests.length - 1 ? [] : [...calls!.map(() => "tool"), "assistant"]);
    }
    expect(verifyToolCalls({ messages, tools: list! as readonly ToolDefinition[] })).toEqual({ ok: true, reasons: [] });
  }
  expect(seen.alike).toBeGreaterThan(2);
  expect(Math.min(...seen.turns.slice(1))).toBeGreaterThan(0);
  const reasons = entries.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => (outcome.kept ? [] : [outcome.reason])));
  expect(reasons.some((reason) => reason.includes("other tools than the request was written for"))).toBe(true);
});

test("long: the document stands once, where it is said to stand, at evenly drawn places; lengths are within the limits", async () => {
  const long = { ...config.families.long!, count: 60 };
  const all = await records({ config: { seed: 3, families: { long } } });
  expect(all.length).toBeGreaterThan(20);
  const places: number[] = [];
  for (const { messages, provenance } of all) {
    const { position, documents, tokens, question } = provenance.facts as Record<string, number>;
    const [content] = messages.map((message) => message.content!);
    const found = [...content!.matchAll(/<document id="(\d+)">\n([\s\S]*?)\n<\/document>/g)].map((match) => match[2]!);
    expect(found).toHaveLength(documents!);
    const source = long.seeds!.find(({ id }) => id === provenance.source)! as { title: string; text: string };
    expect(found.flatMap((text, i) => (text === `${source.title}\n\n${source.text}` ? [i + 1] : []))).toEqual([position]);
    expect(content).toContain(String(question));
    expect(tokens).toBeGreaterThanOrEqual(400);
    expect(tokens).toBeLessThanOrEqual(900);
    expect(Math.ceil(new TextEncoder().encode(content).length / 3)).toBe(tokens);
    places.push((position! - 0.5) / documents!);
  }
  const mean = places.reduce((a, b) => a + b, 0) / places.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / places.length));
});

test("reasoning: an answer that the model gave to its own question needs others that agree; easy questions can be left out", async () => {
  const own = await run({ config: { seed: 2, families: { reasoning: { count: 12, samples: 4, forms: ["open"], keep: 4 } } } });
  const entries = await entriesOf(own, "reasoning");
  for (const { outcomes } of entries) {
    const kept = outcomes.filter((outcome) => outcome.kept).length;
    expect(kept === 0 || kept >= 2, JSON.stringify(outcomes)).toBe(true);
  }
  expect(entries.some(({ outcomes }) => outcomes.some((outcome) => outcome.kept))).toBe(true);
  const easy = await entriesOf(
    await run({ config: { seed: 2, families: { reasoning: { count: 8, samples: 2, seeds: sums, dropEasy: true } } } }),
    "reasoning",
  );
  const reasons = easy.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => (outcome.kept ? [] : [outcome.reason])));
  expect(reasons.some((reason) => reason.startsWith("easy question"))).toBe(true);
});

describe("budgets", () => {
  test("of tokens: the same items whatever runs at once, none behind the one that spent it", async () => {
    const whole = await run();
    const all = (await Promise.all(whole.families.map((family) => entriesOf(whole, family)))).flat();
    const budget = { tokens: Math.round(all.reduce((n, { promptTokens: p, completionTokens: c }) => n + p + c, 0) / 3) };
    const cut = await run({ config: { ...config, budget, concurrency: 1 } });
    expect(cut.ended).toBe("tokens");
    const text = await textOf({ config: { ...config, budget, concurrency: 1 } });
    for (const concurrency of [2, 16]) expect(await textOf({ config: { ...config, budget, concurrency } })).toBe(text);
    const some = (await Promise.all(cut.families.map((family) => entriesOf(cut, family)))).flat();
    const spent = some.map(({ promptTokens: p, completionTokens: c }) => p + c);
    expect(spent.reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(budget.tokens);
    expect(some.length).toBeLessThan(all.length);
  });

  test("of time: what is done is given, and the same journals go on", async () => {
    const journals = Object.fromEntries(familyNames.map((name) => [name, memoryJournal()]));
    const cut = await run({ config: { ...config, budget: { minutes: 1e-9 } }, journals });
    expect(cut.ended).toBe("time");
    const text = await textOf({ journals });
    expect(text).toBe(await textOf());
  });
});

test("an endpoint that refuses requests for what is in them drops those samples; one that refuses all of them ends the run", async () => {
  const inner = scripted();
  let n = 0;
  const refusing = (every: number) => ({
    chat: (...args: Parameters<typeof inner.chat>) => {
      if (n++ % every !== every - 1) return inner.chat(...args);
      return Promise.reject(
        new EndpointError("http://x", "status 400: no", undefined, new Response("", { status: 400 })),
      ) as never;
    },
  });
  const made = await run({ model: refusing(9), config: { ...config, concurrency: 1 } });
  const entries = (await Promise.all(made.families.map((family) => entriesOf(made, family)))).flat();
  const reasons = entries.flatMap(({ outcomes }) => outcomes.flatMap((outcome) => (outcome.kept ? [] : [outcome.reason])));
  expect(reasons.filter((reason) => reason.startsWith("refused by the endpoint")).length).toBeGreaterThan(5);
  await expect(run({ model: refusing(1) })).rejects.toThrow("status 400");
});

test("what a model throws that is no refusal ends the run with it, and leaves nothing running", async () => {
  const failing = { chat: () => Promise.reject(new Error("broken")) as never };
  await expect(run({ model: failing })).rejects.toThrow("broken");
});

test("repetitions are left out in the items' order; the report counts what there is; pictures and pages hold no markup of texts", async () => {
  const seeds = [{ id: "a", prompt: "Write <b>something</b> & more \u0001" }];
  const families = { instructions: { count: 30, seeds, samples: 2, levels: 1, constraints: ["punctuation:no_comma"] } };
  const same = {
    chat: () =>
      Promise.resolve({
        text: "The same <i>words</i> every time and a few more of them.",
        reasoning: "",
        tokens: [],
        usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 1 },
        finishReason: "stop",
      }) as never,
  };
  const made = await run({ config: { seed: 1, families }, model: same });
  const report = emptyReport();
  const kept: number[] = [];
  for await (const outcome of settled(made.entries("instructions"), report, await door.createDeduplicator(["exact", "near"])))
    if (outcome.kept) kept.push(outcome.item);
  // Two ways to say the constraint: near duplicates of one another, or exact ones.
  expect(kept[0]).toBe(0);
  expect(kept.length).toBeLessThan(3);
  expect(report).toMatchObject({ items: 30, samples: 30, kept: kept.length, dropped: 30 - kept.length });
  expect(Object.values(report.reasons).reduce((a, b) => a + b, 0)).toBe(report.dropped);
  const both = [synthPicture({ instructions: report }), synthPage({ instructions: report })];
  for (const text of both) {
    expect(text).not.toMatch(/<b>something|<i>words|\u0001/);
    expect(text).toContain("30 samples");
  }
  expect(both[1]).toContain("&#60;i&#62;words");
});

test.each([
  [{ families: {} }, /at least one of/],
  [{ families: { tools: { count: 1 } } }, /families\.tools\.seeds/],
  [{ families: { tool: {} } }, /did you mean tools/],
  [{ families: { reasoning: { count: -1 } } }, /families\.reasoning\.count/],
  [{ families: { reasoning: { count: 1, sampels: 2 } } }, /did you mean samples/],
  [{ families: { instructions: { count: 1, constraints: ["no:such"] } } }, /constraints/],
  [{ families: { instructions: { count: 1, templates: { task: "{{nothing}}" } } } }, /\{\{nothing\}\} is not known/],
  [{ families: { instructions: { count: 1, templates: { tasks: "x" } } } }, /no such stage; did you mean task/],
  [
    { families: { reasoning: { count: 1, variants: ["translate"] } } },
    /variants: only with kind "code", and it is "mathematics"/,
  ],
  [{ families: { reasoning: { count: 1, kind: "code", forms: ["open"] } } }, /forms: only with kind "mathematics"/],
  [{ seed: 1.5, families: { instructions: { count: 1 } } }, /seed/],
  [{ budget: { tokens: 0 }, families: { instructions: { count: 1 } } }, /budget\.tokens/],
  [{ families: { long: { count: 1, seeds: [{ text: "a" }], tokens: [5, 2] } } }, /the smaller one first/],
])("a wrong configuration is told before anything is asked: %j", async (wrong, message) => {
  const model = scripted();
  await expect(run({ config: wrong as unknown as SynthConfig, model })).rejects.toThrow(message);
  expect(model.facts.requests).toBe(0);
});

test("seeds that a family cannot use are told", async () => {
  for (const families of [
    { tools: { count: 1, seeds: [{ tools: "none" }] } },
    { long: { count: 1, seeds: [{ title: "x" }] } },
    { knowledge: { count: 1, seeds: [{ title: "x" }] } },
    { reasoning: { count: 1, seeds: [{ question: "x" }] } },
    { instructions: { count: 1, seeds: [{ title: "x" }] } },
  ])
    await expect(run({ config: { families } as never })).rejects.toMatchObject({ code: "bad-input" });
});

test("templates of one's own are used, and change the hash; placeholders in seeds are only text", async () => {
  const seeds = [{ id: "k", point: "{{path}} is no placeholder", path: "a > b" }];
  const asked: string[] = [];
  const inner = scripted();
  const model = {
    chat: (...[messages, options]: Parameters<typeof inner.chat>) => {
      asked.push(String(messages.at(-1)!.content));
      return inner.chat(messages, options);
    },
  };
  const families = { knowledge: { count: 1, seeds, evolve: 0, templates: { question: "Ask about {{point}} of {{path}}." } } };
  await run({ config: { families }, model });
  expect(asked[0]).toBe("Ask about {{path}} is no placeholder of a > b.");
});
