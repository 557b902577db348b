// The engine as a process that takes turns: fills a context, says so, then decodes as many tokens as it is told, or, of LENGTH 0, computes a
// prompt of as many.
//   fork(ownturns.mjs, [MODEL, DIST, LENGTH, THREADS, base|relaxed|turbo])
import { pathToFileURL } from "node:url";
import { processorTime } from "./measure.mjs";

const [path, dist, length, threads, build] = process.argv.slice(2);
const { load } = await import(new URL("host/node.js", pathToFileURL(`${dist}/`)));
const model = await load(path, {
  threads: Number(threads),
  contextSize: Number(length) + 2048,
  variant: build === "base" ? "base" : "relaxed",
  turbo: build === "turbo",
  draft: false,
});
const session = await model.session();
const prompt = (count) => Array.from({ length: count }, (_, i) => 300 + ((i * 7919) % 1700));
const ids = prompt(Number(length));
for (let i = 0; i < ids.length; i += 256) await session.forward(ids.slice(i, i + 256), { logits: "none" });
if (ids.length > 0) for (let i = 0; i < 4; i++) await session.forward([5 + i]);
else
  for (let i = 0; i < 3; i++) {
    await session.truncate(0);
    await session.forward(prompt(64));
  }
process.send({ ready: true });
process.on("message", async ({ steps }) => {
  if (ids.length === 0) await session.truncate(0);
  const [begun, before] = [performance.now(), processorTime()];
  if (ids.length === 0) await session.forward(prompt(steps));
  else for (let i = 0; i < steps; i++) await session.forward([5 + i]);
  process.send({ ms: (performance.now() - begun) / steps, processorMs: (processorTime() - before) / steps });
});
