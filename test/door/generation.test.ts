// A generation in real programs: readers that leave, signals, callbacks that fail, several readers, what had come.
import { describe, expect, test, vi } from "vitest";
import type { GeneratedPart } from "../../src/engine/types.ts";
import { doors, endless, open, promptOf } from "../support/door.ts";

/** Turns of the event loop: whatever is ready has happened. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe.each(Object.entries(doors))("%s", (_, door) => {
  test("it is awaited, iterated over, and both", async () => {
    const model = await open(door);
    const options = { ...endless, maxTokens: 12 };
    const whole = await model.generate(promptOf(20), options);
    const generation = model.generate(promptOf(20), options);
    const read = async () => {
      const parts: GeneratedPart[] = [];
      for await (const part of generation) parts.push(part);
      return parts;
    };
    const [first, second, result] = await Promise.all([read(), read(), generation]);
    expect(result.tokens).toEqual(whole.tokens);
    expect(first.flatMap((part) => part.tokens)).toEqual(whole.tokens);
    expect(second).toEqual(first);
    expect(await read(), "a reader that comes late").toEqual(first);
    expect(generation.partial).toBeUndefined();
    const streamed: GeneratedPart[] = [];
    for await (const part of model.generate(promptOf(20), options).toReadableStream()) streamed.push(part);
    expect(streamed).toEqual(first);
  });

  const leaving: Record<string, (generation: ReturnType<Awaited<ReturnType<typeof open>>["generate"]>) => Promise<unknown>> = {
    "an iterator's return": async (generation) => {
      const parts = generation[Symbol.asyncIterator]();
      const waiting = parts.next();
      expect(await parts.return(undefined)).toEqual({ done: true, value: undefined });
      return waiting;
    },
    "a stream's cancel": async (generation) => {
      const reader = generation.toReadableStream().getReader();
      const waiting = reader.read();
      await reader.cancel();
      return waiting;
    },
    "leaving by await using": async (generation) => {
      const parts = generation[Symbol.asyncIterator]();
      const waiting = parts.next();
      await parts[Symbol.asyncDispose]();
      return waiting;
    },
  };
  for (const [how, leave] of Object.entries(leaving))
    test(`${how} while the prompt is computed stops the engine, and what waits for a part ends`, async () => {
      const model = await open(door, undefined, { batchSize: 16 });
      const seen: number[] = [];
      let left = -1;
      let leaves: Promise<unknown> = Promise.resolve();
      const generation = model.generate(promptOf(1600), {
        ...endless,
        onPrefill(done) {
          seen.push(done);
          if (seen.length === 1) {
            left = done;
            leaves = leave(generation);
          }
        },
      });
      // Whoever only asks for failures does not ask for the result.
      const failure = generation.catch((error: unknown) => error);
      expect(await failure).toMatchObject({ name: "AbortError" });
      expect(await leaves).toMatchObject({ done: true, value: undefined });
      expect(left).toBeGreaterThan(0);
      expect(seen.at(-1), "prompt tokens computed after all readers had left").toBeLessThan(800);
      expect(generation.partial).toMatchObject({ finishReason: "aborted", tokens: [], usage: { promptTokens: 1600 } });
      expect((await model.generate("abc", { ...endless, maxTokens: 2 })).tokens).toHaveLength(2);
    });

  test("breaking out of a loop stops the engine; one reader that leaves does not fail another", async () => {
    const model = await open(door);
    const alone = model.generate(promptOf(20), endless);
    for await (const _ of alone) break;
    await expect(alone).rejects.toMatchObject({ name: "AbortError" });

    const shared = model.generate(promptOf(20), { ...endless, maxTokens: 30 });
    const staying = (async () => {
      const tokens: number[] = [];
      for await (const part of shared) tokens.push(...part.tokens);
      return tokens;
    })();
    for await (const _ of shared) break;
    expect(await staying).toHaveLength(30);

    const awaited = model.generate(promptOf(20), { ...endless, maxTokens: 30 });
    const result = awaited.then((whole) => whole.tokens.length);
    for await (const _ of awaited) break;
    expect(await result).toBe(30);
  });

  test("an abort is thrown before the next part, however many have come, and the partial result has them all", async () => {
    const model = await open(door);
    const abort = new AbortController();
    const reason = new Error("enough");
    const generation = model.generate(promptOf(40), {
      ...endless,
      whenFull: "slide",
      maxTokens: 1_000_000,
      signal: abort.signal,
    });
    const parts = generation[Symbol.asyncIterator]();
    await parts.next();
    await turns(20);
    abort.abort(reason);
    await expect(parts.next()).rejects.toBe(reason);
    expect(await parts.next()).toEqual({ done: true, value: undefined });
    await expect(generation).rejects.toBe(reason);
    const { partial } = generation;
    expect(partial).toMatchObject({
      finishReason: "aborted",
      reason,
      usage: { promptTokens: 40, cachedTokens: 0, completionTokens: partial!.tokens.length },
    });
    expect(partial!.tokens.length).toBeGreaterThan(0);
    expect(partial!.text.length).toBeGreaterThan(0);
    expect(Object.values(partial!.timings).every((ms) => Number.isFinite(ms) && ms >= 0)).toBe(true);
  });

  test("an abort after the engine has ended still ends the loop of a slow reader", async () => {
    const model = await open(door);
    const abort = new AbortController();
    const generation = model.generate(promptOf(20), { ...endless, maxTokens: 30, signal: abort.signal });
    const parts = generation[Symbol.asyncIterator]();
    await parts.next();
    const whole = await generation;
    abort.abort("late");
    await expect(parts.next()).rejects.toBe("late");
    expect(whole.tokens).toHaveLength(30);
  });

  test("a failing onPrefill, thrown or rejected, ends its generation with that error and nothing else", async () => {
    const model = await open(door, undefined, { batchSize: 16 });
    const unhandled = vi.fn();
    process.on("unhandledRejection", unhandled);
    try {
      const failures: [Error, () => unknown][] = ["thrown", "rejected"].map((how) => {
        const error = new Error(how);
        return [error, how === "thrown" ? () => Promise.reject(error) : async () => Promise.reject(error)];
      });
      failures.push([
        new Error("sync"),
        () => {
          throw failures[2]![0];
        },
      ]);
      for (const [error, onPrefill] of failures) {
        let calls = 0;
        const options = { ...endless, maxTokens: 3, onPrefill: () => (++calls === 2 ? onPrefill() : undefined) };
        const generation = model.generate(promptOf(400 + calls), options);
        await expect(generation).rejects.toBe(error);
        for await (const _ of [0]) await expect(generation[Symbol.asyncIterator]().next()).rejects.toBe(error);
        expect((await model.generate("abc", { ...endless, maxTokens: 2 })).tokens).toHaveLength(2);
      }
      await turns(5);
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off("unhandledRejection", unhandled);
    }
  });

  test("a failure of the engine is the loop's and the result's, with what had come", async () => {
    const model = await open(door, undefined, { contextSize: 64 });
    const generation = model.generate(promptOf(65), endless);
    await expect(generation[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "context-overflow" });
    expect(generation.partial).toMatchObject({ finishReason: "error", tokens: [], reason: { code: "context-overflow" } });
  });

  test("a signal that times out is held by whoever waits for it, without others holding it", async () => {
    const model = await open(door);
    const generation = model.generate(promptOf(20), {
      ...endless,
      maxTokens: 1_000_000,
      whenFull: "slide",
      signal: AbortSignal.timeout(20),
    });
    // Collecting what nobody holds is what lost such signals in Node 20.
    (globalThis as { gc?: () => void }).gc?.();
    await expect(generation).rejects.toMatchObject({ name: "TimeoutError" });
  });
});
