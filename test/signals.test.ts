// Signals joined and listened to: in order, let go of, and without a listener for each who waits.
import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { joinSignals, onAbort, untilAborted, withSignals } from "../src/signals.ts";

const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

test("a signal has one listener however many wait for it, and none once they have let go", async () => {
  const { signal } = new AbortController();
  const joined = Array.from({ length: 30 }, () => joinSignals(signal, undefined));
  const ends: (() => void)[] = [];
  const waits = Array.from({ length: 30 }, () => untilAborted(new Promise<void>((resolve) => ends.push(resolve)), signal));
  expect(listeners(signal)).toBe(1);
  for (const { release } of joined) {
    release();
    release();
  }
  expect(listeners(signal)).toBe(1);
  for (const end of ends) end();
  await Promise.all(waits);
  // The last of them lets go behind its result.
  await new Promise((resolve) => setImmediate(resolve));
  expect(listeners(signal)).toBe(0);
  const again = joinSignals(signal);
  expect(listeners(signal)).toBe(1);
  again.release();
  expect(listeners(signal)).toBe(0);
});

test("an abort reaches all in order with its reason, once, and not those who let go, even meanwhile", async () => {
  const control = new AbortController();
  const heard: string[] = [];
  let late: () => void = () => {};
  const call = () => heard.push("same");
  onAbort(control.signal, () => {
    heard.push("first");
    late();
  });
  const gone = onAbort(control.signal, () => heard.push("gone"));
  late = onAbort(control.signal, () => heard.push("let go by the first"));
  onAbort(control.signal, call);
  onAbort(control.signal, call);
  const { signal } = joinSignals(undefined, control.signal);
  const work = untilAborted(new Promise<void>(() => {}), signal);
  gone();
  control.abort(new Error("enough"));
  await expect(work).rejects.toThrow("enough");
  expect(signal.reason).toBe(control.signal.reason);
  expect(heard).toEqual(["first", "same", "same"]);
  expect(listeners(control.signal)).toBe(0);
  expect(joinSignals(control.signal).signal.reason).toBe(control.signal.reason);
  gone();
  late();
});

test("work over joined signals lets go of them however it ends", async () => {
  const [a, b] = [new AbortController(), new AbortController()];
  expect(await withSignals([a.signal, undefined, b.signal], () => 3)).toBe(3);
  await expect(withSignals([a.signal, b.signal], () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  await expect(
    withSignals([a.signal, b.signal], (signal) => {
      b.abort(new Error("stopped"));
      expect(listeners(a.signal)).toBe(0);
      signal.throwIfAborted();
    }),
  ).rejects.toThrow("stopped");
  expect([listeners(a.signal), listeners(b.signal)]).toEqual([0, 0]);
});
