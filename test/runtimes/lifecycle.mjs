// What happens to memory, threads and callers over a model's life, on Node. Run with --expose-gc.

import { syncBuiltinESMExports } from "node:module";
import { setTimeout as pause } from "node:timers/promises";
import workerThreads from "node:worker_threads";

const started = [];
/** Changes a lane before it is sent, to make it fail. */
let spoil = (message) => message;
class Watched extends workerThreads.Worker {
  constructor(script, options) {
    super(script, options);
    started.push(this);
  }
  postMessage(message, transfer) {
    super.postMessage(spoil(message), transfer);
  }
}
workerThreads.Worker = Watched;
syncBuiltinESMExports();
// After the watch is in place: the package takes Worker by name.
const { CpmError, defaultModel, load } = await import("cpm-wasm");

const results = [];
async function test(title, work) {
  const begin = performance.now();
  let result = { title, ok: true };
  try {
    const note = await Promise.race([
      work(),
      pause(240_000, undefined, { ref: false }).then(() => Promise.reject(new Error("nothing came within 240 s"))),
    ]);
    if (note) result.note = note;
  } catch (error) {
    result = { title, ok: false, error: `${error?.stack ?? error}` };
  }
  spoil = (message) => message;
  results.push(result);
  console.log(`@@ ${JSON.stringify({ ...result, ms: Math.round(performance.now() - begin) })}`);
}

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const forever = { temperature: 0, maxTokens: 200, logitBias: { 2: -1000 } };

/** Resident memory once garbage is collected and the system has taken back what ended threads had: the least of some looks. */
async function settled(looks) {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < looks; i++) {
    globalThis.gc();
    await pause(20);
    least = Math.min(least, process.memoryUsage.rss());
  }
  return least;
}

await test("20 rounds of load and dispose bring the memory back to within 10 % of the second round", async () => {
  // A process's resident size wanders by some MiB whatever it does; what leaks grows in every one of three goes.
  for (let go = 1; ; go++) {
    const rss = [];
    for (let round = 1; round <= 20; round++) {
      const model = await load(defaultModel, { threads: 2 });
      await model.generate("Once upon a time", { temperature: 0, maxTokens: 20 });
      await model.dispose();
      rss[round] = await settled(round === 2 || round === 20 ? 10 : 1);
    }
    const shown = `round 2: ${mebibytes(rss[2])}, round 20: ${mebibytes(rss[20])}`;
    if (rss[20] <= 1.1 * rss[2]) return shown;
    if (go === 3) throw new Error(shown);
  }
});

await test("dispose ends the engine's worker and every lane", async () => {
  started.length = 0;
  const model = await load(defaultModel, { threads: 3 });
  if (started.length !== 3) throw new Error(`expected an engine and two lanes, found ${started.length} workers`);
  const ended = Promise.all(started.map((worker) => new Promise((resolve) => worker.once("exit", resolve))));
  await model.dispose();
  await ended;
});

async function refused(work, code) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof CpmError) || error.code !== code) throw error;
    return error.message;
  }
  throw new Error(`expected a CpmError "${code}", found none`);
}

/** A generation during which `harm` is done must fail, and so must everything after it; a new load must work. */
async function failsAfter(options, harm) {
  started.length = 0;
  const model = await load(defaultModel, options);
  const message = await refused(async () => {
    let parts = 0;
    for await (const _ of model.generate("Once upon a time", forever)) if (++parts === 5) harm();
  }, "engine-failed");
  await refused(() => model.generate("Once upon a time", forever), "engine-failed");
  await model.dispose();
  const next = await load(defaultModel, { threads: 2 });
  await next.generate("Once upon a time", { maxTokens: 3 });
  await next.dispose();
  return message;
}

await test("an engine whose worker dies while it generates fails with a code, and a new load works", () =>
  failsAfter({ threads: 2 }, () => started[0].terminate()));

await test("a lane that dies while its engine waits for it fails the engine with a code, and a new load works", () =>
  failsAfter({ threads: 2 }, () => started[1].terminate()));

await test("a lane that dies while the engine is idle fails the next call with a code", async () => {
  started.length = 0;
  const model = await load(defaultModel, { threads: 2 });
  await started[1].terminate();
  await pause(50);
  const message = await refused(() => model.generate("Once upon a time", forever), "engine-failed");
  await model.dispose();
  return message;
});

await test("a lane that traps fails the engine with a code instead of letting it wait", async () => {
  // A stack beyond the memory: the lane's first use of it traps.
  spoil = (message) => (message?.stackTop ? { ...message, stackTop: 0xfffffff0 } : message);
  return refused(async () => {
    const model = await load(defaultModel, { threads: 2 });
    await model.generate("Once upon a time", forever);
  }, "engine-failed");
});

await test("a lane that cannot start fails the load with a code", async () => {
  spoil = (message) => (message?.stackTop ? { ...message, module: {} } : message);
  return refused(() => load(defaultModel, { threads: 2 }), "engine-failed");
});

await test("an engine in the caller's own thread fails as well when its lane dies", async () => {
  started.length = 0;
  const model = await load(defaultModel, { threads: 2, worker: false });
  await started[0].terminate();
  await pause(50);
  const message = await refused(() => model.generate("Once upon a time", forever), "engine-failed");
  await model.dispose();
  return message;
});

await test("a lane that dies while it computes for an engine in the caller's own thread fails it, and the event loop goes on", async () => {
  for (const dead of [0, 1]) {
    started.length = 0;
    const model = await load(defaultModel, { threads: 2, worker: false });
    let ended = false;
    let parts = 0;
    const message = await refused(async () => {
      for await (const _ of model.generate("Once", { ...forever, whenFull: "slide", maxTokens: 1e9 }))
        if (++parts === 5) started[dead].terminate().then(() => (ended = true));
    }, "engine-failed");
    // Nothing but a turn of this thread's event loop can have told it.
    if (!ended) throw new Error(`it failed before the lane's end was heard: ${message}`);
    await model.dispose();
  }
});

await test("a signal that times out and that only a call holds is not collected before it fires", async () => {
  const model = await load(defaultModel, { threads: 1 });
  try {
    const running = model.generate("Once", { ...forever, whenFull: "slide", maxTokens: 1e9, signal: AbortSignal.timeout(300) });
    const failed = running.then(
      () => undefined,
      (error) => error,
    );
    const collecting = setInterval(() => globalThis.gc(), 10);
    const error = await failed;
    clearInterval(collecting);
    if (error?.name !== "TimeoutError") throw new Error(`expected a TimeoutError, found ${error}`);
  } finally {
    await model.dispose();
  }
});
