// A reader that falls behind holds its generation back, and nothing else: other texts go on, and it goes on when it is read.
import { describe, expect, test } from "vitest";
import { doors, endless, open, promptOf } from "../support/door.ts";

/** More than any reader may leave unread with what is under way between engine and caller; far less than the other text's 200. */
const MOST = 120;

describe.each(Object.entries(doors))("%s", (_, door) => {
  test("nothing piles up for a slow reader, others are served meanwhile, and its text is the same", async () => {
    const model = await open(door);
    const options = { ...endless, maxTokens: 200 };
    const whole = await model.generate(promptOf(10), options);
    const slow = model.generate(promptOf(10), options);
    const parts = slow[Symbol.asyncIterator]();
    const first = await parts.next();
    // Another text to its end: many more steps than the held one may take.
    const other = await model.generate(promptOf(30), options);
    expect(other.tokens).toHaveLength(200);
    const tokens = [...first.value!.tokens];
    for await (const part of parts) tokens.push(...part.tokens);
    expect(tokens).toEqual(whole.tokens);
    expect((await slow).tokens).toEqual(whole.tokens);
  });

  test("a held generation has computed no more than a few tokens, and ends at once when its reader leaves", async () => {
    const model = await open(door);
    const generation = model.generate(promptOf(10), { ...endless, maxTokens: 1000 });
    const parts = generation[Symbol.asyncIterator]();
    await parts.next();
    await model.generate(promptOf(30), { ...endless, maxTokens: 200 });
    await parts.return();
    await expect(generation.catch((error: unknown) => Promise.reject(error))).rejects.toMatchObject({ name: "AbortError" });
    expect(generation.partial!.tokens.length).toBeLessThan(MOST);
    expect((await model.generate(promptOf(10), { ...endless, maxTokens: 5 })).tokens).toHaveLength(5);
  });

  test("a signal ends a held generation, and so does closing the model", async () => {
    const model = await open(door);
    const held = async (signal?: AbortSignal) => {
      const generation = model.generate(promptOf(10), { ...endless, maxTokens: 1000, signal });
      await generation[Symbol.asyncIterator]().next();
      await model.generate(promptOf(30), { ...endless, maxTokens: 100 });
      // Not the generation itself: a promise of one would await its result.
      return { generation };
    };
    const control = new AbortController();
    const first = await held(control.signal);
    control.abort(new Error("enough"));
    await expect(first.generation.catch((error: unknown) => Promise.reject(error))).rejects.toThrow("enough");
    const second = await held();
    const ended = second.generation.catch((error: unknown) => (error as { code?: string }).code);
    await model.dispose();
    expect(await ended).toBe("closed");
  });

  test("whoever awaits the result has it whole, however slow a reader is", async () => {
    const model = await open(door);
    const generation = model.generate(promptOf(10), { ...endless, maxTokens: 200 });
    const parts = generation[Symbol.asyncIterator]();
    await parts.next();
    expect((await generation).tokens).toHaveLength(200);
    await parts.return();
  });
});
