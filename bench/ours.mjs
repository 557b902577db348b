// Our engine through its public door, in whatever runtime this script runs in (Node, Deno, Bun).
//   node|bun|deno run --allow-read bench/ours.mjs MODEL [--threads 1] [--variant auto|base|relaxed] [--prompt 512] [--decode 64]
//   … --greedy '{"prompts":[[1,403]],"tokens":200}' [--probabilities]
// `npm run build` makes the dist/ that it imports.
import { engineArguments, report } from "./lib/arguments.mjs";
import { argmax, measure, ourEngine } from "./lib/measure.mjs";

const runtime = globalThis.Deno ? "deno" : globalThis.Bun ? "bun" : "node";
const release = {
  node: () => `Node ${process.versions.node}`,
  deno: () => `Deno ${Deno.version.deno}`,
  bun: () => `Bun ${Bun.version}`,
}[runtime]();
const options = engineArguments(globalThis.Deno ? Deno.args : process.argv.slice(2));

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const weights = Array.from(logits, (x) => Math.exp(x - most));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

/** `count` tokens by argmax over the door's logits, end tokens included as any other; and the softmax after the prompt. */
async function greedy(session, prompt, count, probabilities) {
  await session.truncate(0);
  let logits = await session.forward(prompt, { logits: "last" });
  const result = { tokens: [], ...(probabilities ? { probabilities: softmax(logits) } : {}) };
  for (;;) {
    const token = argmax(logits);
    result.tokens.push(token);
    if (result.tokens.length === count) return result;
    logits = await session.forward([token], { logits: "last" });
  }
}

try {
  const { load } = await import(`../dist/host/${runtime}.js`);
  const engine = await ourEngine(load, options.model, options);
  if (options.greedy) {
    const results = [];
    for (const prompt of options.greedy.prompts)
      results.push(await greedy(engine.session, prompt, options.greedy.tokens, options.probabilities));
    await report({ results, about: engine.about }, false);
  } else {
    const measured = await measure(engine, { ...options, vocab: engine.vocab });
    const rss = globalThis.Deno ? Deno.memoryUsage().rss : process.memoryUsage().rss;
    await report(
      { engine: "cpm-wasm", about: { ...engine.about, runtime: release }, loadMs: engine.loadMs, ...measured, rss },
      options.hold,
    );
  }
  if (!options.hold) await engine.close();
} catch (error) {
  await report({ engine: "cpm-wasm", about: { runtime: release }, error: error.message ?? String(error) }, options.hold);
}
