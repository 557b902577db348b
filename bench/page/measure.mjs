// On the page: measures the engine that the address asks for and posts the result back.
import { measure, ourEngine } from "../lib/measure.mjs";

const options = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const model = new URL(options.modelAddress, location.href).href;

const engines = {
  async ours() {
    const { load } = await import("../../dist/host/browser.js");
    return ourEngine(load, model, options);
  },

  /** wllama 2: llama_decode() and its greedy sampler, one call each per token, in wllama's worker. */
  async wllama2() {
    const base = "/bench/node_modules/wllama-2/esm/";
    const { Wllama } = await import(`${base}index.js`);
    const wllama = new Wllama(
      {
        "single-thread/wllama.wasm": `${base}single-thread/wllama.wasm`,
        "multi-thread/wllama.wasm": `${base}multi-thread/wllama.wasm`,
      },
      { suppressNativeLog: true },
    );
    const started = performance.now();
    await wllama.loadModelFromUrl(model, {
      n_ctx: options.contextSize,
      n_batch: 512,
      n_threads: options.threads,
      useCache: false,
    });
    const loadMs = performance.now() - started;
    return {
      loadMs,
      slow: true,
      about: { threads: wllama.isMultithread() ? wllama.getNumThreads() : 1 },
      vocab: wllama.getLoadedContextInfo().n_vocab,
      async run(ids, n) {
        await wllama.kvClear();
        await wllama.samplingInit({ temp: 0 });
        const start = performance.now();
        await wllama.decode(ids, {});
        const tokens = [(await wllama.samplingSample()).token];
        const prefilled = performance.now();
        while (tokens.length <= n) {
          const last = [tokens.at(-1)];
          await wllama.samplingAccept(last);
          await wllama.decode(last, {});
          tokens.push((await wllama.samplingSample()).token);
        }
        return { prefillMs: prefilled - start, decodeMs: performance.now() - prefilled, steps: n, tokens };
      },
    };
  },

  /** wllama 3 has no call per token: one completion, timed by its own clock (llama.cpp's server). */
  async wllama3() {
    const base = "/bench/node_modules/@wllama/wllama/esm/";
    const { Wllama } = await import(`${base}index.js`);
    const wllama = new Wllama({ default: `${base}wasm/wllama.wasm` }, { suppressNativeLog: true });
    wllama.setCompat(null);
    const started = performance.now();
    await wllama.loadModelFromUrl(model, {
      n_ctx: options.contextSize,
      n_batch: 512,
      n_threads: options.threads,
      n_gpu_layers: 0,
      n_parallel: 1,
      warmup: false,
      useCache: false,
    });
    const loadMs = performance.now() - started;
    return {
      loadMs,
      slow: true,
      about: { threads: wllama.isMultithread() ? wllama.getNumThreads() : 1 },
      vocab: wllama.getLoadedContextInfo().n_vocab,
      async run(ids, n) {
        // It takes text only: BOS and letters, each a token of its own.
        const text = ids
          .slice(1)
          .map((id) => String.fromCharCode(97 + (id % 26)))
          .join(" ");
        const { timings } = await wllama.createCompletion({
          prompt: text,
          max_tokens: n + 1,
          temperature: 0,
          ignore_eos: true,
          cache_prompt: false,
        });
        const steps = timings.predicted_n - 1;
        return {
          prefillMs: timings.prompt_ms,
          decodeMs: timings.predicted_ms,
          steps,
          promptTokens: timings.prompt_n,
          tokens: [],
        };
      },
    };
  },
};

const runtime = /(?:Headless)?Chrome\/(\d+)/.exec(navigator.userAgent)?.[1];

async function result() {
  try {
    const engine = await engines[options.engine]();
    const measured = await measure(engine, { ...options, vocab: engine.vocab });
    return {
      engine: options.engine,
      about: { ...engine.about, isolated: crossOriginIsolated, runtime: `Chromium ${runtime}` },
      loadMs: engine.loadMs,
      ...measured,
    };
  } catch (error) {
    return { engine: options.engine, error: String(error?.stack ?? error) };
  }
}

await fetch(`/result/${options.id}`, { method: "POST", body: JSON.stringify(await result()) });
