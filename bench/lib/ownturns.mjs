// The engine as a process that takes turns: fills a context, says so, then decodes as many tokens as it is told.
//   fork(ownturns.mjs, [MODEL, DIST, LENGTH, THREADS, base|relaxed|turbo])
import { pathToFileURL } from "node:url";
import { processorTime } from "./measure.mjs";

const [path, dist, length, threads, build] = process.argv.slice(2);
const { load } = await import(new URL("host/node.js", pathToFileURL(`${dist}/`)));
const model = await load(path, {
  threads: Number(threads),
  contextSize: Number(length) + 1024,
  variant: build === "base" ? "base" : "relaxed",
  turbo: build === "turbo",
  draft: false,
});
const session = await model.session();
const ids = Array.from({ length: Number(length) }, (_, i) => 300 + ((i * 7919) % 3500));
for (let i = 0; i < ids.length; i += 256) await session.forward(ids.slice(i, i + 256), { logits: "none" });
for (let i = 0; i < 4; i++) await session.forward([5 + i]);
process.send({ ready: true });
process.on("message", async ({ steps }) => {
  const [begun, before] = [performance.now(), processorTime()];
  for (let i = 0; i < steps; i++) await session.forward([5 + i]);
  process.send({ ms: (performance.now() - begun) / steps, processorMs: (processorTime() - before) / steps });
});
