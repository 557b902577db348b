// Measures our engine in workerd, single lane. Requests are timed by the caller: a worker's own clock stands still while it computes.
//   node bench/edge.mjs MODEL [--variant auto|base|relaxed] [--prompt 512] [--decode 64] [--repetitions 3]
import { rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../test/run.mjs";
import { bundled, started } from "../test/runtimes/workerd.mjs";
import { engineArguments, report } from "./lib/arguments.mjs";
import { measure } from "./lib/measure.mjs";
import { serve } from "./lib/server.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const options = engineArguments(process.argv.slice(2));
for (const folder of ["test", "test/runtimes"]) install(join(dirname(here), folder));

const server = await serve({ "/model.gguf": resolve(options.model) }, () => {});
const out = join(here, `out/edge-${process.pid}`);
const worker = await started(await bundled(join(here, "page/edge.mjs"), out, "bench"));
async function ask(phase, given) {
  const response = await fetch(worker.url, { method: "POST", body: JSON.stringify({ phase, ...given }) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${phase}: HTTP ${response.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}
try {
  const { variant, contextSize } = options;
  const begun = performance.now();
  const { about, vocab } = await ask("load", { url: `http://127.0.0.1:${server.port}/model.gguf`, variant, contextSize });
  const loadMs = performance.now() - begun;
  const engine = {
    async run(ids, n) {
      const start = performance.now();
      const { first } = await ask("prefill", { ids });
      const prefilled = performance.now();
      const { tokens } = await ask("decode", { ids: [...ids, first], n });
      return {
        prefillMs: prefilled - start,
        decodeMs: performance.now() - prefilled,
        steps: tokens.length,
        tokens: [first, ...tokens],
      };
    },
  };
  const measured = await measure(engine, { ...options, vocab });
  const peakRss = worker.memory()?.peak;
  await report({ engine: "cpm-wasm", about: { ...about, runtime: "workerd" }, loadMs, ...measured, peakRss }, false);
} catch (error) {
  await report({ engine: "cpm-wasm", about: { runtime: "workerd" }, error: error.message ?? String(error) }, false);
} finally {
  await worker.end();
  server.close();
  rmSync(out, { recursive: true, force: true });
}
