// When a worker's events go: a clock that the tests drive.
import { expect, test } from "vitest";
import type { ToClient, WireEvent } from "../../src/port/messages.ts";
import { Events } from "../../src/port/server.ts";

function driven() {
  const told: { at: number; values: unknown[] }[] = [];
  const looks: (() => void)[] = [];
  let at = 1000;
  const port = {
    post(message: unknown) {
      const { events } = message as Extract<ToClient, { type: "events" }>;
      told.push({ at: at - 1000, values: events.map(({ value }) => value) });
    },
  };
  const events = new Events(port, { now: () => at, after: (_, work) => looks.push(work) });
  const part = (value: unknown): WireEvent => ({ id: 1, event: "part", value });
  return {
    told,
    /** Parts at these milliseconds, each with its time as its value. */
    parts(...times: number[]) {
      for (const ms of times) {
        at = 1000 + ms;
        events.soon(part(ms));
      }
    },
    begin(ms: number) {
      at = 1000 + ms;
      events.now({ id: 2, event: "begin", value: ms });
    },
    /** The thread looks at its own messages. */
    look(ms: number) {
      at = 1000 + ms;
      for (const work of looks.splice(0)) work();
    },
    flush(ms: number) {
      at = 1000 + ms;
      events.flush();
    },
    get looks() {
      return looks.length;
    },
  };
}

test("the parts of one slow step go at once, step after step", () => {
  const line = driven();
  line.parts(0, 1, 2, 20, 20.5, 21, 23.9);
  expect(line.told.map(({ values }) => values)).toEqual([[0], [1], [2], [20], [20.5], [21], [23.9]]);
  expect(line.looks, "nobody waits").toBe(0);
});

test("parts that go on coming are bunched: those of 4 ms go together", () => {
  const line = driven();
  line.parts(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
  expect(line.told).toEqual([
    ...[0, 1, 2, 3].map((ms) => ({ at: ms, values: [ms] })),
    { at: 7, values: [4, 5, 6, 7] },
    { at: 11, values: [8, 9, 10, 11] },
  ]);
});

test("what waits goes at the thread's next look, which is asked for once", () => {
  const line = driven();
  line.parts(0, 3, 4, 5);
  expect(line.looks).toBe(1);
  line.look(5.5);
  expect(line.told.at(-1)).toEqual({ at: 5.5, values: [4, 5] });
  // That was a message, too.
  line.parts(6, 7);
  expect(line.told).toHaveLength(3);
  line.look(8);
  expect(line.told.at(-1)).toEqual({ at: 8, values: [6, 7] });
  line.look(9);
  expect(line.told, "nothing waits, nothing goes").toHaveLength(4);
});

test("other events take what waits along, in order", () => {
  const line = driven();
  line.parts(0, 3, 4, 5);
  line.begin(6);
  expect(line.told.at(-1)).toEqual({ at: 6, values: [4, 5, 6] });
  // Their message counts as one.
  line.parts(8);
  expect(line.told.at(-1)!.at).toBe(6);
  line.flush(8.5);
  expect(line.told.at(-1)).toEqual({ at: 8.5, values: [8] });
  line.flush(9);
  expect(line.told).toHaveLength(4);
});
