// What every engine is asked to do, and how it is timed; runs in Node, Deno, Bun and on pages.

/** `count` fixed token ids that look random: the same for every engine and every run. */
export function promptIds(count, vocab) {
  const ids = new Array(count);
  const low = 300;
  const range = vocab - low - 40;
  for (let i = 0, x = 12345; i < count; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    ids[i] = low + Math.floor((x / 4294967296) * range);
  }
  return ids;
}

/**
 * engine.run(ids, n): computes the prompt from an empty context and then n more tokens, greedily, one at a time, end tokens
 * ignored; gives { prefillMs, decodeMs, steps, tokens } where prefillMs ends with the first token's logits and `steps` tokens were
 * computed in decodeMs; and promptTokens, where it could not take exactly those ids.
 * A short run comes first, untimed, so that compilers and caches are warm. Gives tokens per second of each repetition.
 */
export async function measure(engine, { prompt, decode, repetitions, vocab }) {
  const ids = promptIds(prompt, vocab);
  await engine.run(ids.slice(0, Math.min(prompt, engine.slow ? 8 : 32)), engine.slow ? 2 : 8);
  const prefill = [];
  const decoded = [];
  let tokens = [];
  for (let i = 0; i < repetitions; i++) {
    const run = await engine.run(ids, decode);
    prefill.push((1000 * (run.promptTokens ?? prompt)) / run.prefillMs);
    decoded.push((1000 * run.steps) / run.decodeMs);
    tokens = run.tokens;
  }
  return {
    prompt,
    decode,
    prefillTokensPerSecond: prefill,
    decodeTokensPerSecond: decoded,
    distinct: new Set(tokens).size,
    first: tokens.slice(0, 8),
  };
}

export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** An engine over the package's public door. Timed by the caller's clock: what crosses to the engine's worker and back counts. */
export async function ourEngine(load, model, { threads, variant, contextSize, turbo = false }) {
  const started = performance.now();
  const loaded = await load(model, { threads, variant, contextSize, ...(turbo ? { turbo } : {}) });
  const loadMs = performance.now() - started;
  const { config, memory, threads: lanes, variant: build } = loaded.info;
  const session = await loaded.session();
  const noEnd = loaded.info.tokenizer.stop.map((id) => [id, -1e9]);
  return {
    loadMs,
    about: { threads: lanes, variant: build, plannedBytes: memory.total },
    vocab: config.vocab,
    async run(ids, n) {
      await session.truncate(0);
      const start = performance.now();
      const first = argmax(await session.forward(ids, { logits: "last" }));
      const prefilled = performance.now();
      const { tokens } = await session.generate([...ids, first], { maxTokens: n, temperature: 0, logitBias: noEnd });
      return {
        prefillMs: prefilled - start,
        decodeMs: performance.now() - prefilled,
        steps: tokens.length,
        tokens: [first, ...tokens],
      };
    },
    session,
    model: loaded,
    close: () => loaded.dispose(),
  };
}

/** Milliseconds of processor time that this process has taken, all its threads together. */
export function processorTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
