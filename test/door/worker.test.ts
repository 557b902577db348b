// The package as built, with its worker threads: what a real program passes in, and what is left when it stops.
import { openAsBlob, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { CpmError, defaultModel, load } from "../../dist/host/node.js";

const path = new URL(defaultModel);
const bytes = readFileSync(path);
const greedy = { temperature: 0, maxTokens: 8 } as const;
const story = async (input: Parameters<typeof load>[0], options: Parameters<typeof load>[1] = {}) => {
  await using model = await load(input, { threads: 1, ...options });
  return (await model.generate("Once upon a time", greedy)).text;
};

afterEach(() => {
  vi.useRealTimers();
});

describe.each([true, false])("worker: %s", (worker) => {
  test("a Buffer, bytes, shared memory, Blobs of every kind give the same text, and stay the caller's", async () => {
    const expected = await story(path, { worker });
    expect(expected.length).toBeGreaterThan(10);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    const inputs = {
      "a Buffer": bytes,
      "a DataView": new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      "shared memory": shared,
      "a Blob": new Blob([bytes]),
      "a Blob over a file, which no worker gets": await openAsBlob(path),
      "files of the caller's own": {
        entry: "m.gguf",
        open: async () => ({
          name: "m.gguf",
          size: bytes.length,
          read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
          close: async () => {},
        }),
        close: async () => {},
      },
    };
    for (const [kind, input] of Object.entries(inputs)) expect(await story(input, { worker }), kind).toBe(expected);
    expect(bytes.length).toBe(2_310_272);
    expect(bytes.subarray(0, 4).toString()).toBe("GGUF");
  });

  test("fake timers do not stop an engine, and it goes on looking at its signal", async () => {
    vi.useFakeTimers();
    await using model = await load(path, { threads: 1, worker });
    expect((await model.generate("Once upon a time", greedy)).tokens).toHaveLength(8);
    const abort = new AbortController();
    const running = model.generate("Once", {
      temperature: 0,
      whenFull: "slide",
      maxTokens: 1e9,
      logitBias: { 2: -1e9 },
      signal: abort.signal,
    });
    let parts = 0;
    const loop = (async () => {
      for await (const _ of running) if (++parts === 5) abort.abort(new Error("enough"));
    })();
    await expect(loop).rejects.toThrow("enough");
    expect(parts).toBe(5);
    await model.dispose();
  });

  test("a failing onProgress ends the load with its error, and nothing stays open", async () => {
    for (const fail of [
      () => {
        throw new Error("no more");
      },
      async () => Promise.reject(new Error("no more")),
    ])
      await expect(load(path, { threads: 1, worker, onProgress: fail })).rejects.toThrow("no more");
    expect(await story(path, { worker })).toContain(" ");
  });

  test("loads that are aborted leave no file open", async () => {
    if (process.platform !== "linux") return void console.log("open files are counted on Linux only");
    const openModels = () =>
      readdirSync("/proc/self/fd").filter((fd) => {
        try {
          return linkOf(fd).endsWith("stories-q4_0.gguf");
        } catch {
          return false;
        }
      }).length;
    // A Blob over a file keeps its own.
    const before = openModels();
    for (let at = 0; at < 12; at++) {
      const abort = new AbortController();
      const onProgress = ({ bytes: read }: { bytes: number }) => {
        if (read > at * 150_000) abort.abort(new Error(`at ${at}`));
      };
      await expect(load(path, { threads: 1, worker, signal: abort.signal, onProgress })).rejects.toThrow(`at ${at}`);
    }
    const early = new AbortController();
    const loading = load(path, { threads: 1, worker, signal: early.signal });
    early.abort(new Error("early"));
    await expect(loading).rejects.toThrow("early");
    // A worker that was ended while it started has nothing open; one that was asked has closed what it had.
    for (let i = 0; i < 3000 && openModels() > before; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    // Fewer where a Blob was collected meanwhile.
    expect(openModels()).toBeLessThanOrEqual(before);
  });

  test("what is no input, or no option, is a CpmError in either mode", async () => {
    for (const wrong of [null, undefined, 7, new Map(), [], {}] as never[])
      await expect(load(wrong, { worker })).rejects.toBeInstanceOf(CpmError);
    await expect(load(path, { worker, thread: 2 } as never)).rejects.toThrow(/did you mean threads\?/);
    await expect(load(new URL("file:///nowhere/none.gguf"), { worker })).rejects.toThrow(/\/nowhere\/none\.gguf: no such file/);
  });
});

const linkOf = (fd: string): string => readlinkSync(`/proc/self/fd/${fd}`);
