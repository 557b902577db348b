// Generations under a constraint: what comes is in the grammar, whoever drafts, and options mean what they say.
import { describe, expect, test } from "vitest";
import { type Constraint, newConstraint } from "../../src/door/constraint.ts";
import { type DraftInput, draftOptions } from "../../src/door/draft.ts";
import { forms } from "../../src/door/forms.ts";
import { Model } from "../../src/door/model.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions, GenerateRequest } from "../../src/engine/types.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { greedy, own, say, stories } from "../draft/rig.ts";
import { filesOf, load } from "../support/engine.ts";

const person = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 2, maxLength: 20 },
    kind: { enum: ["a very big red dog", "a small cat", "a friend"] },
    toys: {
      type: "array",
      items: { type: "object", properties: { colour: { enum: ["red", "blue"] } }, required: ["colour"] },
      maxItems: 4,
    },
    age: { type: "integer", minimum: 1, maximum: 99 },
  },
  required: ["name", "kind", "age"],
  additionalProperties: false,
};
const hot = { ...greedy, temperature: 1.2, seed: 5 };

const requestOf = (engine: Engine, input: Parameters<typeof newConstraint>[0], thinking: GenerateRequest["thinking"] = "none") =>
  newConstraint(input, {}, engine.info.tokenizer).request(thinking);

const drafts: Readonly<Record<string, DraftInput>> = {
  lookup: "lookup",
  "an EAGLE-2 head and lookup": { eagle: own("models/stories-eagle"), tree: { depth: 4, width: 4, size: 24 }, lookup: true },
  "a head with FR-Spec": {
    eagle: own("models/stories-eagle"),
    tree: { depth: 3, width: 4, size: 12 },
    vocabulary: own("models/stories-eagle/freq-512.json"),
    lookup: false,
  },
  "a small model": { model: stories, tree: { depth: 3, width: 3, size: 12 }, lookup: false },
};

async function drafting(draft: DraftInput, options: Partial<EngineOptions>): Promise<Engine> {
  const given = typeof draft === "object" ? { adaptive: false, ...draft } : draft;
  const { options: full, files } = await draftOptions(given, filesOf);
  return load(stories, { ...options, draft: { ...full, adaptive: false } }, {}, files);
}

describe("drafted text under a constraint is plain text under it", () => {
  for (const [name, draft] of Object.entries(drafts))
    for (const threads of [1, 2])
      test(`${name}, ${threads} threads`, async () => {
        const engine = await drafting(draft, { threads });
        let [drafted, accepted] = [0, 0];
        for (const input of [
          { schema: person },
          { grammar: 'root ::= "Once upon a time there was " ("a girl" | "a boy") ". " [A-Za-z ,.]{20,200}' },
        ])
          for (const sampling of [greedy, hot, { ...hot, seed: 9, repetitionPenalty: 1.2, logprobs: 2 }]) {
            const constraint = requestOf(engine, input);
            const request = { sampling, constraint, maxTokens: 120 };
            const plain = await say(engine, "Once upon a time", { ...request, draft: "off" });
            const quick = await say(engine, "Once upon a time", request);
            expect(quick.tokens).toEqual(plain.tokens);
            expect(quick.text).toBe(plain.text);
            expect(quick.finishReason).toBe(plain.finishReason);
            drafted += quick.draft!.drafted;
            accepted += quick.draft!.accepted;
          }
        expect(drafted).toBeGreaterThan(30);
        // What must come is drafted, and a draft that cannot come is not.
        expect(accepted).toBeGreaterThan(30);
      });
});

describe("forced text that is written", () => {
  const call = {
    type: "object",
    properties: { name: { const: "create_calendar_event" }, arguments: person },
    required: ["name", "arguments"],
    additionalProperties: false,
  };
  const form = (engine: Engine) => newConstraint({ schema: call }, { whitespace: "none" }, engine.info.tokenizer).request("none");
  const texts = async (options: Partial<EngineOptions>, draft?: "off") => {
    const { options: usual } = await draftOptions(undefined, filesOf);
    const engine = await load(stories, { ...options, draft: usual });
    const constraint = form(engine);
    const results = [];
    for (const sampling of [greedy, hot, { ...hot, logprobs: 1 }])
      results.push(
        await say(engine, "Once upon a time", {
          sampling,
          constraint,
          maxTokens: 200,
          forcedText: "write",
          ...(draft && { draft }),
        }),
      );
    return { engine, results };
  };

  test("is in the form, as the tokenizer writes it, the same alone, beside others, with and without steps of many tokens", async () => {
    const { engine, results } = await texts({ threads: 1 });
    const begun = '{"name":"create_calendar_event","arguments":{"name":"';
    const tokenizer = new Tokenizer(engine.info.tokenizer);
    const most = tokenizer.encode(begun, { bos: false, eos: false }).length + 1;
    for (const { text, finishReason, tokens, draft } of results) {
      expect(finishReason).toBe("stop");
      expect(JSON.parse(text).name).toBe("create_calendar_event");
      // No more tokens than the tokenizer needs, up to those that might be cut otherwise with what follows.
      const decoded = tokenizer.decode(tokens.slice(0, most));
      expect(decoded.trimStart().slice(0, begun.length - 8)).toBe(begun.slice(0, -8));
      expect(draft!.accepted).toBeGreaterThan(most / 2);
    }
    const slow = await texts({ threads: 2 }, "off");
    expect(slow.results.map(({ tokens }) => tokens)).toEqual(results.map(({ tokens }) => tokens));
    const constraint = form(engine);
    const together = await Promise.all(
      [greedy, hot].map((sampling) =>
        say(engine, "Once upon a time", { sampling, constraint, maxTokens: 200, forcedText: "write" }),
      ),
    );
    expect(together.map(({ tokens }) => tokens)).toEqual(results.slice(0, 2).map(({ tokens }) => tokens));
  });

  for (const [name, draft] of Object.entries(drafts))
    test(`is the same beside ${name}`, async () => {
      const engine = await drafting(draft, { threads: 1 });
      const constraint = form(engine);
      for (const sampling of [greedy, hot]) {
        const request = { sampling, constraint, maxTokens: 200, forcedText: "write" } as const;
        const plain = await say(engine, "Once upon a time", { ...request, draft: "off" });
        const quick = await say(engine, "Once upon a time", request);
        expect(quick.tokens).toEqual(plain.tokens);
        expect(quick.text).toBe(plain.text);
        expect(quick.draft!.accepted).toBeGreaterThan(20);
      }
    });

  test("ends where a limit of tokens ends it", async () => {
    const { engine, results } = await texts({ threads: 1 });
    const constraint = form(engine);
    const cut = await say(engine, "Once upon a time", { sampling: greedy, constraint, maxTokens: 5, forcedText: "write" });
    expect(cut.finishReason).toBe("length");
    expect(cut.tokens).toEqual(results[0]!.tokens.slice(0, 5));
  });
});

describe("a constraint", () => {
  const open = async () => new Model(await load(stories, { contextSize: 512 }), forms);

  test("of a schema gives text that parses, and the value", async () => {
    const model = await open();
    for (const seed of [1, 2, 3, 4]) {
      const result = await model.generate("Lily", { schema: person, temperature: 1.2, seed });
      expect(result.finishReason).toBe("stop");
      expect(result.parsed).toEqual(JSON.parse(result.text));
      const { kind, age } = result.parsed as { kind: string; age: number };
      expect(person.properties.kind.enum).toContain(kind);
      expect(age).toBeGreaterThanOrEqual(1);
    }
  });

  test("holds expressions, choices and grammars, and ends where nothing may follow", async () => {
    const model = await open();
    const once = model.constraint({ regex: "(cat|dog)s? [0-9]{2,4}" });
    for (const seed of [1, 2, 3]) {
      const { text, finishReason } = await model.generate("Once", { constraint: once, seed, temperature: 2, topK: 0, topP: 1 });
      expect(text).toMatch(/^(cat|dog)s? [0-9]{2,4}$/);
      expect(finishReason).toBe("stop");
    }
    const { text } = await model.generate("She was", { choices: ["happy", "sad"], temperature: 0 });
    expect(["happy", "sad"]).toContain(text);
    const grammar = 'root ::= "yes" | "no" " " [a-z]{3}';
    expect((await model.generate("She said", { grammar, seed: 4 })).text).toMatch(/^(yes|no [a-z]{3})$/);
  });

  test("cut off by length gives the valid prefix, and says so", async () => {
    const model = await open();
    const full = await model.generate("Lily", { schema: person, temperature: 0 });
    const cut = await model.generate("Lily", { schema: person, temperature: 0, maxTokens: 8 });
    expect(cut.finishReason).toBe("length");
    expect(full.text.startsWith(cut.text)).toBe(true);
    expect(cut.parsed).toBeUndefined();
  });

  test("leaves log-probabilities the model's own", async () => {
    const engine = await load(stories);
    const logits = await engine.forward(await engine.open(), [1, 430], "last");
    const most = Math.max(...logits);
    const sum = logits.reduce((all, x) => all + Math.exp(x - most), 0);
    const parts: number[] = [];
    await engine.generate(
      await engine.open(),
      {
        prompt: [1, 430],
        maxTokens: 1,
        sampling: { ...greedy, logprobs: 3 },
        stopTokens: [],
        stop: [],
        thinking: "none",
        special: false,
        constraint: requestOf(engine, { choices: ["zebra"] }),
      },
      {
        onPart(part) {
          for (const l of part.logprobs ?? []) {
            parts.push(l.logprob - (logits[l.token]! - most - Math.log(sum)));
            expect(l.top.map((t) => t.token)).not.toContain(l.token);
          }
        },
      },
    );
    expect(parts.length).toBe(1);
    expect(Math.abs(parts[0]!)).toBeLessThan(1e-4);
  });

  test("is shared by generations side by side, each with its own state", async () => {
    const model = await open();
    const shared = model.constraint({ schema: person });
    const ask = (seed: number) => model.generate("Tom", { constraint: shared, seed, temperature: 1.1 });
    const alone = [];
    for (const seed of [1, 2, 3, 4]) alone.push((await ask(seed)).text);
    const together = await Promise.all([1, 2, 3, 4].map(ask));
    expect(together.map((r) => r.text)).toEqual(alone);
    const mixed = await Promise.all([
      ask(1),
      model.generate("Tom", { regex: "[0-9]+\\.", seed: 1 }),
      model.generate("Tom", { choices: ["a", "b"], seed: 1 }),
      model.generate("Tom", { schema: { type: "boolean" }, seed: 1 }),
    ]);
    expect(mixed[0].text).toBe(alone[0]);
    expect(mixed[1].text).toMatch(/^[0-9]+\.$/);
    expect(typeof mixed[3].parsed).toBe("boolean");
  });

  test("begins where decoding drops a dummy space", async () => {
    const engine = await load(stories);
    const request = { constraint: requestOf(engine, { choices: ["Once upon", "The end"] }), maxTokens: 20 };
    // Behind BOS alone the first token's space is the dummy one.
    expect(["Once upon", "The end"]).toContain((await say(engine, [1], request)).text);
    expect(["Once upon", "The end"]).toContain((await say(engine, [1, 430], request)).text);
  });

  test("is refused before anything is computed", async () => {
    const model = await open();
    expect(() => model.generate("a", { schema: { uniqueItems: true } })).toThrow(/uniqueItems/);
    expect(() => model.generate("a", { schema: {}, regex: "b" })).toThrow(/regex.*nothing beside schema/);
    expect(() => model.generate("a", { whitespace: "none" })).toThrow(/whitespace/);
    expect(() => model.generate("a", { constraint: {} as Constraint })).toThrow(/model.constraint/);
    expect(() => model.constraint({ scheme: {} } as never)).toThrow(/scheme/);
    expect(model.constraint({ schema: { "x-note": 1 } }).ignored.map((n) => n.keyword)).toEqual(["x-note"]);
  });
});

describe("reasoning", () => {
  const open = () => load(stories, { contextSize: 512 });

  test("is bounded: its end is written at the bound, and usage tells both", async () => {
    const engine = await open();
    const session = await engine.open();
    const request = { thinking: "open" as const, maxReasoningTokens: 12, maxTokens: 60, sampling: hot };
    const result = await say(engine, "Once upon a time <think>\n", request, session);
    const free = await say(engine, "Once upon a time <think>\n", { ...request, maxReasoningTokens: undefined }, session);
    expect(free.reasoning.length).toBeGreaterThan(result.reasoning.length);
    expect(free.reasoning.startsWith(result.reasoning.trimEnd())).toBe(true);
    expect(free.text).toBe("");
    expect(result.text.length).toBeGreaterThan(0);
    expect(result.usage.reasoningTokens).toBeGreaterThanOrEqual(12);
    expect(result.usage.completionTokens).toBe(60);
    const none = await say(engine, "Once upon a time <think>\n", { ...request, maxReasoningTokens: 0 }, session);
    expect(none.reasoning).toBe("");
  });

  test("is covered by the constraint: free until its end, then the schema", async () => {
    const engine = await open();
    const session = await engine.open();
    const constraint = requestOf(engine, { schema: person }, "open");
    const result = await say(
      engine,
      "Once upon a time <think>\n",
      { thinking: "open", maxReasoningTokens: 10, maxTokens: 200, sampling: hot, constraint },
      session,
    );
    expect(result.finishReason).toBe("stop");
    expect(result.reasoning.length).toBeGreaterThan(5);
    expect(person.properties.kind.enum).toContain((JSON.parse(result.text) as { kind: string }).kind);
  });
});

test("any schema: 100 random generations at temperature 1.5 end valid and parse", async () => {
  const model = new Model(await load(stories, { contextSize: 1024 }), forms);
  const schemas: unknown[] = [
    person,
    { type: "array", items: { type: "number", minimum: -1, maximum: 2.5 }, minItems: 2, maxItems: 5 },
    {
      oneOf: [
        {
          type: "object",
          properties: { t: { const: "a" }, n: { type: "integer", minimum: 0, maximum: 9 } },
          required: ["t", "n"],
          additionalProperties: false,
        },
        { type: "null" },
      ],
    },
    { type: "string", format: "date-time" },
    { type: "string", pattern: "^[A-Z][a-z]{2,6} \\d+!$", maxLength: 20 },
    {
      type: "object",
      properties: { id: { type: "string", format: "uuid" }, ok: { type: "boolean" } },
      required: ["id", "ok"],
      additionalProperties: false,
    },
    { enum: ["one", 2, null, { three: [4] }] },
    { type: "object", propertyNames: { enum: ["x", "y"] }, additionalProperties: { type: "boolean" }, maxProperties: 2 },
    {
      $defs: {
        n: {
          type: "object",
          properties: { v: { enum: [1, 2] }, next: { anyOf: [{ $ref: "#/$defs/n" }, { type: "null" }] } },
          required: ["v", "next"],
          additionalProperties: false,
        },
      },
      $ref: "#/$defs/n",
    },
    { type: "integer", multipleOf: 25, minimum: 0, maximum: 1000 },
  ];
  let cut = 0;
  for (const schema of schemas) {
    const constraint = model.constraint({ schema });
    const runs = Array.from({ length: 10 }, (_, seed) =>
      model.generate("Once", { constraint, seed, temperature: 1.5, topK: 0, topP: 1, maxTokens: 300 }),
    );
    for (const result of await Promise.all(runs)) {
      if (result.finishReason !== "stop") cut++;
      else expect(result.parsed).toEqual(JSON.parse(result.text));
    }
  }
  // Only what may be long for ever, numbers' digits, is ever cut off.
  expect(cut).toBeLessThan(20);
});
