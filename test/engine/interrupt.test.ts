// Long work that looks at the signal, at its limits and at the event loop, counted in steps and turns, never in seconds.
import { expect, test } from "vitest";
import { joinSignals } from "../../src/signals.ts";
import { Merger } from "../../src/text/merge.ts";
import { NEVER } from "../../src/text/pairs.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { firstDifference, greedy, host, load } from "../support/engine.ts";
import { tinyGguf } from "../support/tiny.ts";

/** Texts whose words can be cut, and whose cannot. */
const texts = { words: "the cat sat on a mat. ", letters: "abcdefghijklmnop" } as const;

for (const [name, part] of Object.entries(texts)) {
  test(`encoding a long text of ${name} rests often, and gives what encoding it at once gives`, async () => {
    const engine = await load(tinyGguf());
    const tokenizer = new Tokenizer(engine.info.tokenizer);
    const rests = (text: string) => {
      const steps = tokenizer.encodeSteps(text);
      let count = 0;
      let length = 0;
      let step = steps.next();
      for (; !step.done; step = steps.next(), count++) {
        expect(step.value.length).toBeGreaterThanOrEqual(length);
        length = step.value.length;
      }
      expect(step.value).toEqual(tokenizer.encode(text));
      return count;
    };
    const [one, two, four] = [1, 2, 4].map((times) => rests(part.repeat(Math.ceil((times * 100_000) / part.length)))) as [
      number,
      number,
      number,
    ];
    expect(one).toBeGreaterThan(20);
    // Work between rests does not grow with the text: their number does, as the text.
    expect(two / one).toBeGreaterThan(1.8);
    expect(four / two).toBeGreaterThan(1.8);
    expect(four / one).toBeLessThan(4.5);
  });

  test(`a prompt of ${name} that cannot fit is refused before it is encoded to its end`, async () => {
    const engine = await load(tinyGguf(), { contextSize: 64 });
    const session = await engine.open();
    const most = mostIds();
    await expect(engine.generate(session, greedy(part.repeat(300_000), 3), { onPart: () => {} })).rejects.toMatchObject({
      code: "context-overflow",
    });
    // A rest comes after some thousand characters; letters are one word, whose ids come all at once.
    expect(most()).toBeLessThan(name === "words" ? 8000 : Number.POSITIVE_INFINITY);
  });
}

/** The most ids that any tokenizer had given at a rest, until called. */
function mostIds(): () => number {
  const original = Tokenizer.prototype.encodeSteps;
  let most = 0;
  Tokenizer.prototype.encodeSteps = function* (...args) {
    const steps = original.apply(this, args);
    for (let step = steps.next(); ; step = steps.next()) {
      most = Math.max(most, step.value.length);
      if (step.done) return step.value;
      yield step.value;
    }
  };
  return () => {
    Tokenizer.prototype.encodeSteps = original;
    return most;
  };
}

for (const [name, part] of Object.entries(texts))
  test(`encoding a long prompt of ${name} ends with the signal's reason, and leaves the session usable`, async () => {
    const engine = await load(tinyGguf(), { contextSize: 4096 });
    const session = await engine.open();
    const abort = new AbortController();
    const reason = new Error("enough");
    let rests = 0;
    const original = Tokenizer.prototype.encodeSteps;
    Tokenizer.prototype.encodeSteps = function* (...args) {
      const steps = original.apply(this, args);
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done) return step.value;
        if (++rests === 3) abort.abort(reason);
        yield [];
      }
    };
    try {
      await expect(
        engine.generate(session, greedy(part.repeat(100_000), 3), { signal: abort.signal, onPart: () => {} }),
      ).rejects.toBe(reason);
      await engine.tokens(session);
      expect(rests, "rests after the abort").toBe(3);
    } finally {
      Tokenizer.prototype.encodeSteps = original;
    }
    expect((await engine.generate(session, greedy("abc", 2), { onPart: () => {} })).tokens).toHaveLength(2);
  });

test("several texts may be encoded in turns", async () => {
  const engine = await load(tinyGguf());
  const tokenizer = new Tokenizer(engine.info.tokenizer);
  const long = [texts.letters.repeat(2000), texts.words.repeat(2000), `${texts.letters}x`.repeat(2000)];
  const runs = long.map((text) => tokenizer.encodeSteps(text));
  const results: (readonly number[] | undefined)[] = long.map(() => undefined);
  while (results.includes(undefined))
    for (const [i, run] of runs.entries()) {
      const step = run.next();
      if (step.done && step.value) results[i] = step.value;
    }
  expect(results).toEqual(long.map((text) => tokenizer.encode(text)));
});

test("a merger that advances a little at a time merges as at once", () => {
  // A symbol is its length: two join up to four, the shortest first.
  const pairs = { rank: 0, join: (left: number, right: number) => ((pairs.rank = left + right) <= 4 ? left + right : NEVER) };
  const merger = new Merger(pairs);
  const symbols = new Int32Array(1000).fill(1);
  const whole = merger.merge(symbols, 1000);
  merger.begin(symbols, 1000);
  let steps = 1;
  while (!merger.advance(7)) steps++;
  expect(merger.finish()).toEqual(whole);
  expect(steps).toBeGreaterThan(100);
});

test("a result tells which stop string ended it", async () => {
  const engine = await load(tinyGguf());
  const session = await engine.open();
  const free = await engine.generate(session, greedy("abc", 20), { onPart: () => {} });
  const mark = free.text.trim().slice(0, 1);
  expect(mark).not.toBe("");
  const ended = await engine.generate(session, { ...greedy("abc", 20), stop: ["\u0000none", mark] }, { onPart: () => {} });
  expect(ended).toMatchObject({ finishReason: "stop-string", stopString: mark });
  expect(free).not.toHaveProperty("stopString");
});

test("a signal that only the engine holds is not collected: sources are held until they are let go", () => {
  const added: string[] = [];
  const source = new AbortController();
  const { signal } = source;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    added.push("add");
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    added.push("remove");
    remove(...args);
  };
  const joined = joinSignals(signal, undefined);
  joined.release();
  source.abort("late");
  expect(joined.signal.aborted).toBe(false);
  expect(added).toEqual(["add", "remove"]);
  const other = joinSignals(AbortSignal.abort("first"), signal);
  expect(other.signal.reason).toBe("first");
  const third = new AbortController();
  const two = joinSignals(third.signal, new AbortController().signal);
  third.abort("third");
  expect(two.signal.reason).toBe("third");
});

test("lanes that lead give the same bits as an engine's own thread, and the thread's loop turns meanwhile", async () => {
  const tokens = Array.from({ length: 200 }, (_, i) => (i * 37 + 5) % 300);
  const [own, led] = [await load(tinyGguf(), { threads: 2 }), await load(tinyGguf(), { threads: 2 }, {}, undefined, true)];
  expect(host.leads).toBeFalsy();
  const results = await Promise.all([own, led].map(async (engine) => engine.forward(await engine.open(), tokens, "all")));
  expect(firstDifference(results[1]!, results[0]!)).toBe(-1);
  expect((await led.generate(await led.open(), greedy(tokens, 20), { onPart: () => {} })).tokens).toEqual(
    (await own.generate(await own.open(), greedy(tokens, 20), { onPart: () => {} })).tokens,
  );
});
