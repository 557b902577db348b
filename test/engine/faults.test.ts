// Faults while running: the nth memory that is refused, the nth read that fails, a lane that dies. Always a typed error, everything given
// back, and what is left usable.
import { afterEach, describe, expect, test, vi } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelFiles, Source } from "../../src/file/source.ts";
import { greedy, lanesStarted, load } from "../support/engine.ts";
import { tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";

const model = tinyGguf(tinyModel({ layers: 2 }));
const heads = { "in the engine's thread": false, "with a lane that leads": true } as const;

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Makes the nth growth of any memory fail as an engine's does; tells how many were asked for. */
function refuseGrowth(nth: number): () => number {
  let count = 0;
  const grow = WebAssembly.Memory.prototype.grow;
  vi.spyOn(WebAssembly.Memory.prototype, "grow").mockImplementation(function (this: WebAssembly.Memory, pages: number) {
    if (++count >= nth) throw new RangeError("WebAssembly.Memory.grow(): Unable to grow instance memory");
    return grow.call(this, pages);
  });
  return () => count;
}

/** Makes the nth memory from now on fail. */
function refuseMemory(nth: number): () => number {
  let count = 0;
  const { Memory } = WebAssembly;
  class Refusing extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      if (++count >= nth) throw new RangeError("WebAssembly.Memory(): could not allocate memory");
      super(descriptor);
    }
  }
  vi.stubGlobal(
    "WebAssembly",
    new Proxy(WebAssembly, { get: (all, name) => (name === "Memory" ? Refusing : Reflect.get(all, name)) }),
  );
  return () => count;
}

/** How many lanes run now. */
const running = () => lanesStarted.filter((lane) => lane.threadId > 0).length;

describe.each(Object.entries(heads))("%s", (_, leads) => {
  test("every memory of a load that is refused is a typed error, and no lane stays", async () => {
    const total = refuseMemory(Number.POSITIVE_INFINITY);
    await load(model, { threads: 2 }, {}, undefined, leads);
    const needed = total();
    expect(needed).toBeGreaterThan(1);
    vi.unstubAllGlobals();
    for (let nth = 1; nth <= needed; nth++) {
      refuseMemory(nth);
      const before = running();
      await expect(load(model, { threads: 2 }, {}, undefined, leads), `memory ${nth} of ${needed}`).rejects.toMatchObject({
        name: "CpmError",
        code: "out-of-memory",
      });
      expect(running()).toBe(before);
      vi.unstubAllGlobals();
    }
  });

  test("every growth that is refused to sessions is a typed error; what is open goes on, and closing makes room", async () => {
    const engine = await load(model, { threads: 2, contextSize: 4096 }, {}, undefined, leads);
    const first = await engine.open();
    await engine.generate(first, greedy([1, 2, 3], 3), { onPart: () => {} });
    const saved = await engine.save(first);
    const second = await engine.open();
    for (const [what, call] of Object.entries({
      open: () => engine.open(),
      copy: () => engine.copy(first),
      restore: () => engine.restore(saved),
    })) {
      const count = refuseGrowth(1);
      const used = engine.memoryBytes;
      await expect(call(), what).rejects.toMatchObject({ name: "CpmError", code: "out-of-memory" });
      expect(count(), `${what} asked for memory`).toBeGreaterThan(0);
      expect(engine.memoryBytes).toBe(used);
      // The same session is as it was, and a closed one leaves room without growth.
      expect(await engine.tokens(first)).toHaveLength(5);
      vi.restoreAllMocks();
    }
    await engine.closeSession(second);
    refuseGrowth(1);
    const again = await engine.restore(saved);
    expect(await engine.tokens(again)).toEqual(await engine.tokens(first));
    expect((await engine.generate(again, greedy([1, 2, 3], 3), { onPart: () => {} })).tokens).toHaveLength(3);
  });

  test("growths refused while a model loads are typed errors", async () => {
    const count = refuseGrowth(Number.POSITIVE_INFINITY);
    await load(model, { threads: 2 }, { below: 0 }, undefined, leads);
    const needed = count();
    vi.restoreAllMocks();
    for (let nth = 1; nth <= needed; nth++) {
      refuseGrowth(nth);
      await expect(load(model, { threads: 2 }, {}, undefined, leads)).rejects.toMatchObject({ code: "out-of-memory" });
      vi.restoreAllMocks();
    }
  });
});

test("with worker: false a dead lane fails what is computed, and everything after it, and never blocks the caller's thread", async () => {
  for (const dead of [0, 1, 2]) {
    const before = lanesStarted.length;
    const engine = await load(model, { threads: 3, contextSize: 512 }, {}, undefined, true);
    const lanes = lanesStarted.slice(before);
    expect(lanes).toHaveLength(3);
    const session = await engine.open();
    let parts = 0;
    let ended = 0;
    const sampling = { ...greedy([], 0).sampling, logitBias: [[2, -1e9]] as const };
    const generating = engine.generate(
      session,
      { ...greedy([1, 2, 3], 1e9), whenFull: "slide", sampling },
      { onPart: () => ++parts === 5 && void lanes[dead]!.terminate().then(() => ended++) },
    );
    // The event that tells of the death is heard because nobody in this thread waits for the lane: 30 s would pass otherwise.
    await expect(generating).rejects.toMatchObject({ name: "CpmError", code: "engine-failed" });
    await expect(engine.forward(session, [1, 2, 3, 4, 5, 6, 7, 8], "last")).rejects.toMatchObject({ code: "engine-failed" });
    await engine.close();
    expect(ended, "the end of the lane was heard").toBe(1);
    expect(lanes.filter((lane) => lane.threadId > 0)).toHaveLength(0);
  }
});

test("a lane that died while nothing was computed fails the next call", async () => {
  for (const dead of [0, 1]) {
    const before = lanesStarted.length;
    const engine = await load(model, { threads: 2, contextSize: 512 }, {}, undefined, true);
    const session = await engine.open();
    await lanesStarted[before + dead]!.terminate();
    const prompt = Array.from({ length: 40 }, (_, i) => i);
    await expect(engine.forward(session, prompt, "last")).rejects.toMatchObject({ code: "engine-failed" });
    await expect(engine.generate(session, greedy(prompt, 3), { onPart: () => {} })).rejects.toMatchObject({
      code: "engine-failed",
    });
  }
});

/** Files whose nth read, or open, fails; counts what is open. */
function failing(
  inner: ModelFiles,
  nth: number,
  what: "read" | "open",
): { files: ModelFiles; count: () => number; closed: () => boolean } {
  let count = 0;
  let closed = false;
  const turn = () => {
    if (++count === nth) throw new Error("the disk is gone");
  };
  const files: ModelFiles = {
    entry: inner.entry,
    async open(name, signal) {
      if (what === "open") turn();
      const source = await inner.open(name, signal);
      if (!source) return undefined;
      const read: Source["read"] = async (...args) => {
        if (what === "read") turn();
        return source.read(...args);
      };
      return { name: source.name, size: source.size, read, close: () => source.close() };
    },
    async close() {
      closed = true;
      await inner.close();
    },
  };
  return { files, count: () => count, closed: () => closed };
}

for (const [container, files] of [
  ["a GGUF", () => memoryFiles("model.gguf", { "model.gguf": model })],
  ["a folder", () => memoryFiles("", tinyFolder())],
] as const)
  for (const what of ["read", "open"] as const)
    test(`whichever ${what} of ${container} fails, the load rejects with "io" and the cause, and closes the files`, async () => {
      const all = failing(files(), 0, what);
      await load(all.files);
      const total = all.count();
      expect(total).toBeGreaterThan(0);
      for (let nth = 1; nth <= total; nth++) {
        const { files: some, closed } = failing(files(), nth, what);
        await expect(load(some, { threads: nth % 2 ? 1 : 2 }), `${what} ${nth} of ${total}`).rejects.toMatchObject({
          name: "CpmError",
          code: "io",
          message: expect.stringContaining("the disk is gone"),
        });
        expect(closed()).toBe(true);
      }
    });
