// The two ends of a worker's port, with a pair of queues between them instead of threads.
import { readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { samplingDefaults } from "../../src/decode/options.ts";
import type { GeneratedPart } from "../../src/engine/types.ts";
import { CpmError } from "../../src/errors.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import { EngineClient } from "../../src/port/client.ts";
import { Lanes } from "../../src/port/lanes.ts";
import {
  type Port,
  packError,
  packValue,
  type ToClient,
  type ToWorker,
  unpackError,
  unpackValue,
} from "../../src/port/messages.ts";
import { serveEngine } from "../../src/port/server.ts";
import type { EngineHost } from "../../src/wasm/host.ts";
import { type Link, link } from "../support/link.ts";

const wasm = (name: string) => WebAssembly.compile(readFileSync(new URL(`../../wasm/${name}.wasm`, import.meta.url)));
const model = readFileSync(new URL("../../models/stories-q4_0.gguf", import.meta.url));
const files = () => memoryFiles("stories.gguf", { "stories.gguf": new Uint8Array(model) });

const host: EngineHost = {
  name: "node",
  module: wasm,
  cores: 1,
  threadsNote: "one thread is enough for this",
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};

const options = {
  threads: 1,
  contextSize: 64,
  kvType: "f16",
  variant: "base",
  turbo: false,
  batchSize: 32,
  maxMemoryBytes: undefined,
} as const;
const open: EngineClient[] = [];

async function connected(between = link()): Promise<{ client: EngineClient; between: Link }> {
  serveEngine(between.inside, host, () => Promise.reject(new Error("everything is served by the client")));
  const client = await EngineClient.load(between.worker, { kind: "served", entry: "stories.gguf" }, files(), options, {});
  open.push(client);
  return { client, between };
}

afterEach(async () => {
  for (const client of open.splice(0)) await client.close();
});

test("an engine behind a port is loaded from files that the client reads, and computes", async () => {
  const { client } = await connected();
  const session = await client.open();
  const logits = await client.forward(session, [1, 430, 442], "last");
  expect(logits).toBeInstanceOf(Float32Array);
  expect(logits.length).toBe(client.info.config.vocab);
  expect([...(await client.tokens(session))]).toEqual([1, 430, 442]);
  const saved = await client.save(session);
  const before = saved.slice();
  const restored = await client.restore(saved);
  expect(saved, "what the caller gave stays the caller's").toEqual(before);
  expect(await client.forward(restored, [261], "last")).toEqual(await client.forward(session, [261], "last"));
});

test("errors cross the port with their class, code and detail", async () => {
  const { client } = await connected();
  const error = await client.forward(99, [1], "last").catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CpmError);
  expect((error as CpmError).code).toBe("closed");
  const packed = structuredClone(packError(new CpmError("bad-model", "broken", { file: "a.gguf", offset: 7 })));
  expect(unpackError(packed)).toMatchObject({ code: "bad-model", message: "broken", detail: { file: "a.gguf", offset: 7 } });
  expect(unpackError(packError(new RangeError("too far")))).toBeInstanceOf(RangeError);
  expect(unpackError(packError("a text")).message).toBe("a text");
});

test("a failing read of the client's files fails the load with that error, and ends the worker", async () => {
  const between = link();
  serveEngine(between.inside, host, () => Promise.reject(new Error("never")));
  const broken = { ...files(), open: () => Promise.reject(new CpmError("io", "the disk is gone")) };
  const load = EngineClient.load(between.worker, { kind: "served", entry: "stories.gguf" }, broken, options, {});
  await expect(load).rejects.toMatchObject({ code: "io", message: "the disk is gone" });
  expect(between.terminated).toBe(1);
});

test("a worker that dies fails what is pending and what comes later, once and for all", async () => {
  const { client, between } = await connected();
  const session = await client.open();
  const pending = client.forward(session, [1], "last");
  between.die(new Error("out of luck"));
  await expect(pending).rejects.toMatchObject({ code: "engine-failed", message: expect.stringContaining("out of luck") });
  await expect(client.forward(session, [1], "last")).rejects.toMatchObject({ code: "engine-failed" });
  expect(between.terminated).toBe(1);
});

test("closing ends a worker that does not answer", async () => {
  const { client, between } = await connected();
  between.inside.listen(() => {});
  await client.close();
  expect(between.terminated).toBe(1);
  await expect(client.open()).rejects.toMatchObject({ code: "closed" });
});

test("an abort is sent once, and not after the call is over", async () => {
  const { client, between } = await connected();
  const session = await client.open();
  const control = new AbortController();
  await client.forward(session, [1], "last", control.signal);
  control.abort();
  expect(between.sent.filter((message) => message.type === "abort")).toEqual([]);
  await expect(client.forward(session, [1], "last", control.signal)).rejects.toBe(control.signal.reason);
});

/** A port whose worker hears what the test says, too. */
function overheard(): { between: Link; tell(message: ToWorker): void } {
  const between = link();
  let hear: (message: unknown) => void = () => {};
  const { post, listen } = between.inside;
  const inside: Port = {
    post,
    listen(handler) {
      hear = handler;
      listen(handler);
    },
  };
  return { between: { ...between, inside }, tell: (message) => hear(message) };
}

test("an abort that arrives after its call has ended does not reach the next call", async () => {
  const { between, tell } = overheard();
  const { client } = await connected(between);
  const session = await client.open();
  const next = client.forward(session, [1], "last");
  const { id } = between.sent.at(-1) as ToWorker & { id: number };
  const first = await next;
  const second = client.forward(session, [1], "last");
  // In front of the call, and while it waits for its turn.
  tell({ type: "abort", id });
  const third = client.forward(session, [1], "last");
  setImmediate(() => tell({ type: "abort", id }));
  for (const logits of [await second, await third]) expect(logits).toHaveLength(first.length);
});

test("a call that was aborted leaves nothing behind that would abort the next ones", async () => {
  const { client } = await connected();
  const session = await client.open();
  const control = new AbortController();
  const aborted = client.forward(session, Array(60).fill(1), "all", control.signal);
  control.abort();
  await expect(aborted).rejects.toBe(control.signal.reason);
  for (let i = 0; i < 3; i++) expect(await client.forward(session, [1], "last")).toHaveLength(client.info.config.vocab);
  expect([...(await client.tokens(session))]).toEqual([1, 1, 1]);
});

test("a throw over one event leaves the others of its message to be handled", async () => {
  const between = link();
  let hear: (message: unknown) => void = () => {};
  const listen: typeof between.worker.listen = (handler) => between.worker.listen((hear = handler));
  const { client } = await connected({ ...between, worker: { ...between.worker, listen } });
  const request = {
    prompt: "Once",
    maxTokens: 1,
    stop: [],
    stopTokens: [],
    thinking: "none",
    special: false,
    sampling: { ...samplingDefaults, temperature: 0, seed: 1 },
  } as const;
  const texts: string[] = [];
  const session = await client.open();
  const ids: number[] = [];
  const generate = (onPart: (part: GeneratedPart) => void) => {
    const result = client.generate(session, request, { onPart });
    ids.push((between.sent.at(-1) as ToWorker & { id: number }).id);
    return result;
  };
  const broken = new Error("of the caller's making");
  const calls = [
    generate(({ text }) => {
      if (text === "told") throw broken;
    }),
    generate(({ text }) => void texts.push(text)),
  ];
  const events = ids.map((id) => ({ id, event: "part", value: { text: "told" } }));
  expect(() => hear({ type: "events", events })).toThrow(broken);
  expect(texts).toEqual(["told"]);
  await Promise.all(calls);
});

test("parts of a text: the first goes alone, and all go in order and before the result", async () => {
  const between = link();
  const told: ToClient[] = [];
  const { post, listen } = between.inside;
  const inside: Port = {
    listen,
    post(message, transfer) {
      told.push(message as ToClient);
      post(message, transfer);
    },
  };
  const { client } = await connected({ ...between, inside });
  const request = { prompt: "Once upon", maxTokens: 30, stop: [], stopTokens: [], thinking: "none", special: false } as const;
  const parts: GeneratedPart[] = [];
  const seen: string[] = [];
  told.length = 0;
  const session = await client.open();
  const result = await client.generate(
    session,
    { ...request, sampling: { ...samplingDefaults, temperature: 0, seed: 1 } },
    {
      onPart: (part) => void parts.push(part),
      onBegin: () => void seen.push("begin"),
      onPrefill: () => void seen.push("prefill"),
    },
  );
  expect(parts.map(({ text }) => text).join("")).toBe(result.text);
  expect(parts.flatMap(({ tokens }) => tokens)).toEqual(result.tokens);
  expect(seen).toEqual(["begin", "prefill"]);
  const bunches = told.flatMap((message) => (message.type === "events" ? [message.events] : []));
  const first = bunches.find((events) => events.some(({ event }) => event === "part"))!;
  expect(first.map(({ event }) => event)).toEqual(["part"]);
  expect(bunches.flat().flatMap(({ event, value }) => (event === "part" ? [value] : []))).toEqual(parts);
  expect(told.at(-1)).toMatchObject({ type: "result" });
});

test("typed arrays travel as bare buffers, and views of larger buffers as copies", () => {
  const large = Uint8Array.from({ length: 16 }, (_, i) => i);
  const part = packValue(large.subarray(4, 8));
  expect(unpackValue(structuredClone(part.value))).toEqual(Uint8Array.of(4, 5, 6, 7));
  expect(part.transfer).toHaveLength(1);
  expect(large.length, "the larger buffer stays").toBe(16);
  const floats = packValue(Float32Array.of(1.5, -2));
  expect(unpackValue(structuredClone(floats.value, { transfer: floats.transfer }))).toEqual(Float32Array.of(1.5, -2));
  for (const plain of [undefined, null, 7, "text", { size: 3 }, [1, 2]])
    expect(unpackValue(packValue(plain).value)).toEqual(plain);
});

test("when one lane cannot start, the others are ended and the load fails with a code", async () => {
  const module = await wasm("kernels.mt");
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
  let ended = 0;
  const lanes = new Lanes(() => ({
    start: () => {},
    listen(onReady, onDeath) {
      if (ended++ === 0) onReady();
      else onDeath(new Error("no thread left"));
    },
    end: () => void ended--,
  }));
  const list = [1, 2].map((index) => ({ module, memory, index, stackTop: 900_000 }));
  await expect(lanes.start(list, () => {})).rejects.toMatchObject({
    code: "engine-failed",
    message: expect.stringContaining("no thread left"),
  });
  expect(ended).toBe(0);
});
