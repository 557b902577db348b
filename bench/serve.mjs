// Requests at the same time: tokens per second in all, time to the first token, and what a shared prefix saves; beside llama.cpp.
//   node bench/serve.mjs [--model q4_0,tq2_0] [--concurrent 1,2,4,8] [--prompt 128] [--decode 128] [--rounds 3] [--threads 2]
//                        [--minutes 60] [--engines llama,relaxed,turbo] [--node PATH]
// Each engine is a process of its own that stays loaded; a round asks every engine for every number of requests, so that what is
// compared was measured seconds apart. Prompts differ, nothing is shared or drafted, end tokens are ignored. `npm run build` first.
import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { promptIds } from "./lib/measure.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const MOST = 8;

/** A prompt of its own for every request. */
const promptOf = (index, count, vocab) => promptIds(count + 31 * index, vocab).slice(-count);

/** Runs requests together: { tokensPerSecond, decodeTokensPerSecond, cpuMs (of the process, a token), firstMs, texts }. `start(i, onToken)` resolves when request i has ended. */
async function together(count, decode, start) {
  const begun = performance.now();
  const used = process.cpuUsage();
  const times = Array.from({ length: count }, () => []);
  const texts = await Promise.all(times.map((list, i) => start(i, () => list.push(performance.now() - begun))));
  const ended = performance.now() - begun;
  const { user, system } = process.cpuUsage(used);
  // While all decode: from the last first token to the first end.
  const from = Math.max(...times.map((list) => list[0]));
  const to = Math.min(...times.map((list) => list.at(-1)));
  const during = times.flat().filter((t) => t > from && t <= to).length;
  return {
    tokensPerSecond: (1000 * count * decode) / ended,
    decodeTokensPerSecond: to > from ? (1000 * during) / (to - from) : Number.NaN,
    cpuMs: (user + system) / 1000 / (count * decode),
    firstMs: times.reduce((sum, list) => sum + list[0], 0) / count,
    texts,
  };
}

async function ours({ model, threads, turbo, prompt, decode }) {
  const { load } = await import("../dist/host/node.js");
  const common = { threads, turbo, parallel: MOST, contextSize: Math.max(prompt + decode + 8, 700), draft: false };
  const loaded = await load(model, common);
  const { vocab } = loaded.info.config;
  const logitBias = loaded.info.tokenizer.stop.map((id) => [id, -1e9]);
  const ask = async (ids, maxTokens, onToken) => {
    const tokens = [];
    for await (const part of loaded.generate(ids, { temperature: 0, maxTokens, logitBias, special: true })) {
      for (const token of part.tokens) {
        tokens.push(token);
        onToken();
      }
    }
    return tokens;
  };
  let round = 0;
  return {
    about: { threads: loaded.info.threads, variant: loaded.info.variant, node: process.versions.node },
    // Prompts that no earlier round had: prefixes are reused otherwise.
    run: (count) => {
      round++;
      return together(count, decode, (i, onToken) => ask([300 + round, ...promptOf(i, prompt - 1, vocab)], decode, onToken));
    },
    async prefix(length) {
      const first = async (ids) => {
        const begun = performance.now();
        let ms;
        await ask(ids, 1, () => (ms ??= performance.now() - begun));
        return ms;
      };
      const ids = [4000 + round++, ...promptOf(20, length - 1, vocab)];
      const fresh = await first([...ids, 301, 302, 303, 304]);
      const again = await first([...ids, 401, 402, 403, 404]);
      return { fresh, again };
    },
  };
}

async function llama({ model, threads, prompt, decode }) {
  const { getLlama, LlamaLogLevel } = await import("node-llama-cpp");
  const engine = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
  });
  const loaded = await engine.loadModel({ modelPath: model, gpuLayers: 0 });
  const size = Math.ceil((prompt + decode + 8) / 32) * 32;
  const context = await loaded.createContext({ contextSize: size, batchSize: 512, threads, sequences: MOST });
  const sequences = Array.from({ length: MOST }, () => context.getSequence());
  return {
    about: { threads: context.currentThreads, release: engine.llamaCppRelease.release },
    async run(count) {
      for (const sequence of sequences) await sequence.clearHistory();
      return together(count, decode, async (i, onToken) => {
        const stream = sequences[i].evaluate(promptOf(i, prompt, 73448), { temperature: 0, yieldEogToken: true });
        const tokens = [];
        while (tokens.length < decode) {
          tokens.push((await stream.next()).value);
          onToken();
        }
        await stream.return();
        return tokens;
      });
    },
  };
}

async function child(options) {
  const engine = await (options.engine === "llama" ? llama(options) : ours(options));
  process.on("message", async ({ count, prefix }) => {
    try {
      process.send({ result: await (prefix ? engine.prefix(prefix) : engine.run(count)) });
    } catch (error) {
      process.send({ error: String(error) });
    }
  });
  process.send({ about: engine.about });
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const shown = (list) =>
  `${median(list).toPrecision(3)} (${Math.min(...list).toPrecision(3)}–${Math.max(...list).toPrecision(3)})`;

async function main() {
  const { values: o } = parseArgs({
    options: {
      model: { type: "string", default: "q4_0,tq2_0" },
      concurrent: { type: "string", default: "1,2,4,8" },
      prompt: { type: "string", default: "128" },
      decode: { type: "string", default: "128" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      minutes: { type: "string", default: "60" },
      engines: { type: "string", default: "llama,relaxed,turbo" },
      node: { type: "string", default: join(here, "../test/runtimes/node_modules/node/bin/node") },
    },
  });
  const counts = o.concurrent.split(",").map(Number);
  for (const name of o.model.split(",")) {
    const model = existsSync(name) ? name : join(here, `models/synthetic-0.5b-${name}.gguf`);
    const engines = new Map();
    for (const engine of o.engines.split(",")) {
      const options = {
        engine,
        model,
        threads: Number(o.threads),
        turbo: engine === "turbo",
        prompt: Number(o.prompt),
        decode: Number(o.decode),
      };
      const worker = fork(fileURLToPath(import.meta.url), ["--child", JSON.stringify(options)], {
        execPath: engine === "llama" ? process.execPath : o.node,
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      worker.setMaxListeners(100);
      const next = () =>
        new Promise((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("exit", (code) => reject(new Error(`${engine} ended with ${code}`)));
        });
      const ask = async (message) => {
        worker.send(message);
        const { result, error } = await next();
        if (error) throw new Error(`${engine}: ${error}`);
        return result;
      };
      const { about } = await next();
      engines.set(engine, { worker, ask, about, results: counts.map(() => []), prefix: [] });
    }
    const texts = new Map();
    // A first round warms compilers up and is not counted. No round begins when the minutes are over.
    const begun = performance.now();
    const late = (round) => round > 0 && performance.now() - begun > 60_000 * Number(o.minutes);
    for (let round = -1; round < Number(o.rounds) && !late(round); round++)
      for (const [c, count] of counts.entries())
        for (const [engine, { ask, results }] of engines) {
          const result = await ask({ count });
          if (round < 0) continue;
          results[c].push(result);
          if (engine !== "llama")
            texts.set(`${round} ${count}`, [...(texts.get(`${round} ${count}`) ?? []), JSON.stringify(result.texts)]);
        }
    for (const [engine, { ask, prefix }] of engines)
      for (let i = 0; engine !== "llama" && i < Number(o.rounds); i++) prefix.push(await ask({ prefix: 512 }));
    console.log(`\n### ${model.split("/").at(-1)}: ${o.prompt} + ${o.decode} tokens a request, ${o.threads} threads\n`);
    console.log(
      "| engine | requests | tokens/s in all | decoding, tokens/s | × one request | × llama.cpp | CPU ms a token | first token, ms |",
    );
    console.log("|---|---|---|---|---|---|---|---|");
    for (const [engine, { results }] of engines)
      for (const [c, count] of counts.entries()) {
        const all = results[c];
        const ratio = (other) =>
          median(all.map((one, i) => one.decodeTokensPerSecond / other[i].decodeTokensPerSecond)).toFixed(2);
        const native = engines.get("llama");
        const of = (key) => shown(all.map((one) => one[key]));
        console.log(
          `| ${engine} | ${count} | ${of("tokensPerSecond")} | ${of("decodeTokensPerSecond")} | ${ratio(results[0])} | ${native ? ratio(native.results[c]) : ""} | ${of("cpuMs")} | ${of("firstMs")} |`,
        );
      }
    for (const [engine, { prefix, about }] of engines)
      if (prefix.length)
        console.log(
          `\n${engine} (${JSON.stringify(about)}): first token after 516 tokens ${shown(prefix.map((p) => p.fresh))} ms; after another prompt with the same 512: ${shown(prefix.map((p) => p.again))} ms, ${shown(prefix.map((p) => p.fresh / p.again))} × sooner`,
        );
    console.log(
      `\nOur builds gave ${[...texts.values()].every((list) => new Set(list).size === 1) ? "the same tokens" : "DIFFERENT tokens"}.`,
    );
    for (const { worker } of engines.values()) worker.kill();
  }
}

if (process.argv[2] === "--child") await child(JSON.parse(process.argv[3]));
else await main();
