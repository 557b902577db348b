// The deadlines of a request on a clock that only the test moves: what counts as stalled, and what does not.
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import type { NetworkOptions } from "../../src/file/http.ts";

const clock = vi.hoisted(() => {
  const timers = new Set<{ at: number; work: () => void }>();
  const state = {
    time: 0,
    timers,
    /** Moves the clock on; what is due runs in order. */
    async pass(ms: number): Promise<void> {
      const end = state.time + ms;
      for (;;) {
        for (let i = 0; i < 30; i++) await Promise.resolve();
        const due = [...timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!due) break;
        state.time = due.at;
        timers.delete(due);
        due.work();
      }
      state.time = end;
    },
  };
  return state;
});

vi.mock("../../src/clock.ts", () => ({
  now: () => clock.time,
  after: (ms: number, work: () => void) => {
    const timer = { at: clock.time + ms, work };
    clock.timers.add(timer);
    return timer;
  },
  cancelTimer: (timer: { at: number; work: () => void }) => void clock.timers.delete(timer),
}));

const { urlSource } = await import("../../src/file/url.ts");

afterEach(() => {
  clock.timers.clear();
});

const SIZE = 100_000;

/** A server that answers when told to, and gives bytes when told to. */
function server() {
  let answers: (response: Response) => void = () => {};
  let body: ReadableStreamDefaultController<Uint8Array> | undefined;
  let requests = 0;
  const fetch = ((_url: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise<Response>((resolve, reject) => {
      requests++;
      answers = resolve;
      signal.addEventListener("abort", () => reject(signal.reason));
    })) as typeof globalThis.fetch;
  const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (body = controller) });
  return {
    fetch,
    requests: () => requests,
    answer: () => answers(new Response(stream, { status: 206, headers: { "content-range": `bytes 0-${SIZE - 1}/${SIZE}` } })),
    end: () => body!.close(),
    give: (bytes: number) => body!.enqueue(new Uint8Array(bytes)),
  };
}

/** Opens a URL; `state.error` and `state.size` tell what has come of it. */
function opening(fetch: typeof globalThis.fetch, network: NetworkOptions) {
  const state: { error?: Error; size?: number } = {};
  urlSource("http://h/a", { fetch, network }).then(
    (source) => {
      state.size = source!.size;
    },
    (error: Error) => {
      state.error = error;
    },
  );
  return state;
}

test("no answer for idleMs is a stall, a moment sooner is not", async () => {
  const { fetch } = server();
  const state = opening(fetch, { idleMs: 1000, attempts: 1 });
  await clock.pass(999);
  expect(state).toEqual({});
  await clock.pass(2);
  expect(state.error?.message).toMatch(/no answer within 1 s \(tried 1 time\)/);
});

test("30 seconds is the default, and four tries", async () => {
  const { fetch, requests } = server();
  // What chance adds to pauses is nothing.
  vi.spyOn(Math, "random").mockReturnValue(0);
  onTestFinished(() => void vi.restoreAllMocks());
  const state = opening(fetch, {});
  for (let attempt = 1; attempt <= 4; attempt++) {
    expect(requests()).toBe(attempt);
    await clock.pass(29_999);
    expect(requests()).toBe(attempt);
    await clock.pass(1);
    // The pause before the next try.
    await clock.pass(150 * 2 ** attempt);
  }
  expect(state.error?.message).toMatch(/no answer within 30 s \(tried 4 times\)/);
});

test("an answer that is slow but above the least speed is read to its end, however long it takes", async () => {
  const { fetch, answer, give, end } = server();
  const state = opening(fetch, { idleMs: 1000, leastBytesPerSecond: 100, attempts: 1 });
  await clock.pass(900);
  answer();
  for (let i = 0; i < SIZE / 125; i++) {
    give(125);
    await clock.pass(1000);
    expect(state.error).toBeUndefined();
  }
  end();
  await clock.pass(1);
  expect(state).toEqual({ size: SIZE });
});

test("an answer below the least speed is a stall, and so is one that stops", async () => {
  for (const bytes of [50, 0]) {
    const { fetch, answer, give } = server();
    const state = opening(fetch, { idleMs: 1000, leastBytesPerSecond: 100, attempts: 1 });
    answer();
    await clock.pass(10);
    give(300);
    await clock.pass(1000);
    expect(state, "the first span").toEqual({});
    for (let i = 0; i < 5 && bytes; i++) {
      await clock.pass(100);
      give(bytes / 5);
    }
    await clock.pass(1000);
    expect(state.error?.message).toMatch(bytes ? /only \d+ bytes came within 1 s/ : /nothing came within 1 s/);
  }
});

test("without limits nothing is timed", async () => {
  const { fetch } = server();
  const state = opening(fetch, { idleMs: Number.POSITIVE_INFINITY });
  await clock.pass(1e9);
  expect([state, clock.timers.size]).toEqual([{}, 0]);
});
