import { expect, test } from "vitest";
import { memoryFiles } from "../../../src/file/bytes.ts";
import { Tokenizer } from "../../../src/text/tokenizer.ts";
import { readRolloutConfig } from "../../../src/train/rollout/config.ts";
import { modelEngine } from "../../../src/train/rollout/engine.ts";
import { rolloutPage } from "../../../src/train/rollout/page.ts";
import { type RolloutEntry, runRollout } from "../../../src/train/rollout/run.ts";
import { scratchModel, tokenizerParts } from "../../../src/train/scratch.ts";
import { memoryStore } from "../../../src/train/store.ts";
import { doors } from "../../support/door.ts";
import { machineOf } from "../rig.ts";
import { characterTokenizer } from "./characters.mjs";
import { CHARACTERS, digitPrompts, holdsDigit } from "./rig.ts";

const MODEL = {
  eos_token_id: 0,
  hidden_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 48,
  max_position_embeddings: 64,
  dim_model_base: 32,
  tie_word_embeddings: true,
};
const given = {
  model: { config: MODEL, tokenizer: "tokenizer.json" },
  out: "run",
  prompts: "prompts.jsonl",
  reward: "exact",
  updates: 3,
  answers: 4,
  groups: 2,
  chunk: 4,
  maxTokens: 12,
  schedule: { kind: "constant", peak: 1e-3, warmup: 0 },
};

test("what is not said has its default; what is wrong is named with its place", () => {
  const config = readRolloutConfig(given, "rl.json");
  expect(config).toMatchObject({
    updates: 3,
    slots: 16,
    rows: 4,
    learner: { inFlight: 8, epochs: 1, chunk: 4, importance: "chunk" },
  });
  expect(readRolloutConfig({ ...given, chunk: "whole" }).learner.chunk).toBe(Number.POSITIVE_INFINITY);
  expect(readRolloutConfig({ ...given, objective: { lora: { rank: 4 } } }).lora).toEqual({
    rank: 4,
    alpha: 8,
    targets: undefined,
  });
  for (const [change, message] of [
    [{ chunks: 4 }, /rl\.json: chunks: expected one of/],
    [{ chunk: 0 }, /rl\.json: chunk: expected a whole number from 1/],
    [{ reward: ["anser"] }, /reward: expected "exact", or some of/],
    [{ reward: ["code"] }, /reward/],
    [{ answers: 1 }, /answers/],
    [{ inFlight: 3 }, /inFlight: expected a whole number from 4/],
    [{ miniBatch: 3 }, /miniBatch/],
    [{ objective: { dual: "x" } }, /objective\.dual/],
    [{ objective: { dual: 1 } }, /objective\.dual: expected a number above 1/],
    [{ objective: { low: 2 } }, /objective\.low: expected a number from 0 to 1/],
    [{ chunk: "all" }, /chunk: expected "whole", or tokens/],
    [{ objective: { lora: { targets: ["x"] } } }, /objective\.lora\.targets/],
    [{ maxTokens: undefined }, /maxTokens/],
    [{ prompts: [] }, /prompts/],
  ] as const)
    expect(() => readRolloutConfig({ ...given, ...change }, "rl.json"), JSON.stringify(change)).toThrow(message);
});

async function inputOf(change: object = {}) {
  const parts = await tokenizerParts(memoryFiles("", characterTokenizer(CHARACTERS)));
  const made = await scratchModel(MODEL, parts, CHARACTERS.length + 1);
  const tokenizer = new Tokenizer(parts.tokenizer);
  const engine = modelEngine(doors["in the caller's thread"].load, { slots: 8, contextSize: 48, load: { threads: 1 } });
  return {
    config: readRolloutConfig({ ...given, seed: 5, filters: { overlong: false }, checkpoint: { every: 1 }, ...change }),
    model: made.model,
    parts: made.parts,
    prompts: digitPrompts(tokenizer),
    heldOut: digitPrompts(tokenizer).slice(0, 3),
    engine,
    decode: (tokens: Int32Array) => tokenizer.decode([...tokens]),
    machine: () => machineOf(),
    reward: holdsDigit,
  };
}

test("a run that is aborted goes on from its store; its log has every step once; another configuration is refused", async () => {
  const store = memoryStore();
  const whole = memoryStore();
  const change = { evaluate: { every: 1 } };
  await (await runRollout({ ...(await inputOf(change)), store: whole })).trainer.close();
  let stopped = 0;
  for (let tries = 0; tries < 200; tries++) {
    const stop = new AbortController();
    let steps = 0;
    try {
      const { trainer } = await runRollout(
        { ...(await inputOf(change)), store },
        { signal: stop.signal, onEntry: (entry) => entry.kind === "step" && ++steps === 3 && stop.abort(new Error("enough")) },
      );
      await trainer.close();
      break;
    } catch (error) {
      expect((error as Error).message).toBe("enough");
      stopped++;
    }
  }
  expect(stopped).toBeGreaterThan(0);
  const entries = (of: typeof store) =>
    new TextDecoder()
      .decode(of.files.get("log.jsonl"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as RolloutEntry)
      .map((entry) =>
        entry.kind === "step" ? { step: entry.step, policy: entry.policy, reward: entry.reward, update: entry.update } : entry,
      );
  expect(entries(store)).toEqual(entries(whole));
  expect(entries(store).some((entry) => "kind" in entry && entry.kind === "heldOut")).toBe(true);
  const last = (of: typeof store) =>
    [...of.files.keys()]
      .filter((name) => name.endsWith(".ckpt"))
      .sort()
      .at(-1)!;
  expect(last(store)).toBe(last(whole));
  expect(store.files.get(last(store))).toEqual(whole.files.get(last(whole)));
  await expect(runRollout({ ...(await inputOf({ ...change, chunk: 5 })), store })).rejects.toMatchObject({ code: "bad-model" });
});

test("a run in which nothing can be learnt ends and says why", async () => {
  const input = await inputOf({ patience: 4 });
  await expect(runRollout({ ...input, reward: () => 0, store: memoryStore() })).rejects.toMatchObject({
    code: "bad-input",
    message: /4 steps went by/,
  });
});

test("a run's page: figures of what there is, titles as text, no script", () => {
  const step = {
    kind: "step",
    policy: 1,
    finished: 4,
    reward: 0.25,
    length: 9,
    overlong: 0,
    garbled: 0,
    dropped: 0,
    buffered: 0,
    open: 2,
    work: { tokens: 9, prefilled: 3, rebuilt: 2, idle: 0.5 },
    update: undefined,
    ms: { load: 1, rollout: 2, update: 3 },
  } as const;
  const log: RolloutEntry[] = [1, 2, 3].map((i) => ({ ...step, step: i, reward: i === 2 ? undefined : 0.25 * i }));
  const page = rolloutPage(log, { title: "<b>", facts: { updates: "1 & more" }, reload: 5 });
  expect(page).toContain("<h1>&#60;b&#62;</h1>");
  expect(page).toContain("1 &#38; more");
  expect(page).toContain('content="5"');
  expect(page).not.toContain("<script");
  // No update, so no figure of what updates have; nothing is drawn that is no number.
  expect(page.match(/<figure>/g)).toHaveLength(4);
  expect(page).not.toContain("NaN");
});
