// Options as callers write them: kinds that were ignored, names of other libraries, null as absent.
import { expect, test } from "vitest";
import { samplingOptions } from "../../src/decode/options.ts";
import { checkDraft } from "../../src/door/draft.ts";
import { given, guarded, headersOf, tokensOf } from "../../src/door/given.ts";
import { engineOptions, generateRequest } from "../../src/door/options.ts";
import { didYouMean, nearest } from "../../src/errors.ts";

const refused = (field: string) =>
  expect.objectContaining({ name: "CpmError", code: "bad-option", detail: expect.objectContaining({ field }) });
const bias = (logitBias: unknown) => samplingOptions({ logitBias } as never, 100).logitBias;

test("a bias is taken from records, pairs, Maps and other iterables, and from nothing that would be ignored", () => {
  const expected = [
    [3, 1],
    [5, -2],
  ];
  const pairs = expected as [number, number][];
  expect(bias({ 3: 1, 5: -2 })).toEqual(expected);
  expect(bias(pairs)).toEqual(expected);
  expect(bias(new Map(pairs))).toEqual(expected);
  expect(bias(new Set(pairs))).toEqual(expected);
  expect(bias(pairs.values())).toEqual(expected);
  expect(bias(new Map())).toEqual([]);
  for (const wrong of [
    new Float32Array(4),
    new Date(),
    new WeakMap(),
    Promise.resolve(),
    "3",
    7,
    () => 1,
    new ArrayBuffer(8),
    new Error("x"),
  ])
    expect(() => bias(wrong), String(wrong)).toThrow(refused("logitBias"));
  for (const wrong of [[3], [[3, 1, 2]], new Set([3]), new Map([["x", 1]]), { x: 1 }])
    expect(() => bias(wrong)).toThrow(refused("logitBias[0]"));
});

test("headers are taken from records, Headers, Maps and pairs; others are refused, and values are not shown", () => {
  const expected = { authorization: "Bearer x" };
  for (const input of [
    expected,
    new Headers(expected),
    new Map(Object.entries(expected)),
    Object.entries(expected) as [string, string][],
  ])
    expect(headersOf(input)).toEqual(expected);
  expect(headersOf(null)).toBeUndefined();
  for (const wrong of [7, "a: b", new Date(), { a: 1 }, [["a"]], new Uint8Array(3), { "a b": "c" }, { a: "x\ny" }] as never[])
    expect(() => headersOf(wrong)).toThrow(expect.objectContaining({ code: "bad-option" }));
  expect(() => headersOf({ authorization: "secret\n" })).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining("secret") }),
  );
  expect(() => engineOptions({ headers: { a: 1 } as never })).toThrow(refused("headers"));
});

test("null is absent, and options that are no record are refused", () => {
  const nulls = Object.fromEntries(
    ["threads", "contextSize", "kvType", "headers", "network", "onProgress", "signal", "sparse"].map((n) => [n, null]),
  );
  expect(engineOptions(nulls as never)).toEqual(engineOptions({}));
  const wanted = { temperature: null, stop: null, stopTokens: null, maxTokens: null, seed: 1, onPrefill: null };
  expect(generateRequest(wanted as never, 10, "text")).toEqual(generateRequest({ seed: 1 }, 10, "text"));
  expect(given(null, [])).toEqual({});
  expect(generateRequest(Object.create({ seed: 7, maxTokens: 3 }), 10, "text"), "what is inherited").toMatchObject({
    maxTokens: 3,
    sampling: { seed: 7 },
  });
  for (const wrong of [new Map([["threads", 1]]), [], "x", 7])
    expect(() => engineOptions(wrong as never)).toThrow(refused("options"));
});

test("network limits are checked", () => {
  for (const network of [
    { idleMs: 0 },
    { idleMs: Number.NaN },
    { attempts: 0 },
    { attempts: 1.5 },
    { leastBytesPerSecond: -1 },
    { idle: 3 },
  ] as never[])
    expect(() => engineOptions({ network })).toThrow(expect.objectContaining({ code: "bad-option" }));
  engineOptions({ network: { idleMs: Number.POSITIVE_INFINITY, leastBytesPerSecond: 0, attempts: 1 } });
});

test("a misspelt or foreign name is told what it was probably meant as", () => {
  const names = {
    max_tokens: "maxTokens",
    max_completion_tokens: "maxTokens",
    max_new_tokens: "maxTokens",
    n_predict: "maxTokens",
  };
  const others = {
    top_p: "topP",
    topk: "topK",
    temprature: "temperature",
    stop_sequences: "stop",
    logit_bias: "logitBias",
    Seed: "seed",
  };
  for (const [wrong, meant] of Object.entries({ ...names, ...others }))
    expect(() => generateRequest({ [wrong]: 1 } as never, 10, "text"), wrong).toThrow(
      expect.objectContaining({ code: "bad-option", message: expect.stringContaining(`did you mean ${meant}?`) }),
    );
  for (const [wrong, meant] of Object.entries({
    n_ctx: "contextSize",
    contextsize: "contextSize",
    thread: "threads",
    n_threads: "threads",
  }))
    expect(() => engineOptions({ [wrong]: 1 } as never)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(`did you mean ${meant}?`) }),
    );
  expect(() => checkDraft({ eagle: "x", widow: 1 } as never)).toThrow(/did you mean window\?/);
  expect(nearest("zebra", ["maxTokens", "seed"])).toBeUndefined();
  expect(didYouMean("__proto__", ["threads"])).toBe("");
  expect(didYouMean("x".repeat(100_000), ["threads"])).toBe("");
});

test("token ids are taken from lists, typed arrays and other iterables", () => {
  expect(tokensOf("t", Uint16Array.of(1, 2))).toEqual([1, 2]);
  expect(tokensOf("t", new Set([1, 2]))).toEqual([1, 2]);
  for (const wrong of [null, undefined, "12", 7, {}, new Map([[1, 2]])])
    expect(() => tokensOf("t", wrong)).toThrow(expect.objectContaining({ code: "bad-input" }));
  expect(generateRequest({ seed: 1, stopTokens: Int32Array.of(3) }, 10, "text").stopTokens).toEqual([3]);
});

test("a callback's failure goes where it is sent, whichever way it fails", async () => {
  const failures: unknown[] = [];
  const fail = (error: unknown) => failures.push(error);
  guarded(() => {
    throw new Error("thrown");
  }, fail)!();
  guarded(async () => Promise.reject(new Error("rejected")), fail)!();
  guarded(() => 7, fail)!();
  await new Promise((resolve) => setImmediate(resolve));
  expect(failures.map(String)).toEqual(["Error: thrown", "Error: rejected"]);
  expect(guarded(undefined, fail)).toBeUndefined();
});
