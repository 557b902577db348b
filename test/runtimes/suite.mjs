// The suite that every runtime runs: same assertions, same tokens, same bits. Imports nothing, so that it runs anywhere.

/**
 * @typedef {object} Surroundings
 * @property {string} runtimeName
 * @property {Uint8Array} bytes the embedded default model
 * @property {Record<string, any>} expected test/runtimes/expected.json
 * @property {boolean} threadsExpected more than one lane must be possible
 * @property {boolean} workerExpected the engine lives in a worker, so that the caller's event loop is free
 * @property {boolean} relaxedExpected relaxed SIMD must compute right here
 * @property {boolean} [memory64Expected] 64-bit memory must be there
 * @property {Record<string, any>} inputs further ways to name the same model, by a word for the test's title
 * @property {string | string[]} [only] run only tests whose titles contain this, or one of these
 */

/** Runs everything; calls `report({ title, ok, error?, note?, ms })` for each test and gives the list. */
export async function runSuite({ load, inspect, loadTokenizer, CpmError }, surroundings, report = () => {}) {
  const results = [];
  const only = [surroundings.only ?? []].flat();
  for (const [title, test] of tests({ load, inspect, loadTokenizer, CpmError }, surroundings)) {
    if (only.length > 0 && !only.some((part) => title.includes(part))) continue;
    const started = performance.now();
    let result;
    try {
      const note = await within(240_000, test());
      result = { title, ok: true, ...(note ? { note } : {}) };
    } catch (error) {
      result = { title, ok: false, error: `${error?.name ?? "Error"}: ${error?.message ?? error}\n${error?.stack ?? ""}` };
    }
    result.ms = Math.round(performance.now() - started);
    results.push(result);
    report(result);
  }
  return results;
}

function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function equal(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${shorten(b)}, found ${shorten(a)}`);
}

const shorten = (text) => (text === undefined ? "undefined" : text.length > 400 ? `${text.slice(0, 400)}…` : text);

function ok(condition, what) {
  if (!condition) throw new Error(what);
}

/** Counts the turns that this thread's event loop makes until `end()`: no clock is in it. */
function turns() {
  const { port1, port2 } = new MessageChannel();
  let [count, ended] = [0, false];
  // Node hands on up to a thousand messages in a turn.
  const ask = globalThis.setImmediate ?? (() => port2.postMessage(0));
  const turn = () => {
    if (ended) return;
    count++;
    ask(turn);
  };
  port1.onmessage = turn;
  ask(turn);
  const end = () => {
    ended = true;
    port1.close();
    port2.close();
    return count;
  };
  return { end };
}

/** The error that `work` throws or rejects with. */
async function failure(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}

/** FNV-1a over the bits of float32 values, as 8 hex digits. */
export function bits(values) {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** A loaded model for the time of `use`. */
async function having(load, input, options, use) {
  const model = await load(input, options);
  try {
    return await use(model);
  } finally {
    await model.dispose();
  }
}

const greedy = { temperature: 0 };
const arrayOf = (values) => Array.from(values);

function* tests({ load, inspect, loadTokenizer, CpmError }, s) {
  const { bytes, expected } = s;
  const within1 = (use, options = {}) => having(load, bytes, { threads: 1, ...options }, use);

  function isCpmError(error, code, what) {
    ok(error instanceof CpmError, `${what}: expected a CpmError, found ${error?.name}: ${error?.message}`);
    equal(error.code, code, `${what}: code of "${error.message}"`);
    ok(error.message.length > 10, `${what}: the message says something`);
  }

  async function sameGreedy(model) {
    for (const { prompt, tokens, text } of expected.greedy) {
      const result = await model.generate(prompt, { ...greedy, maxTokens: tokens.length });
      equal(arrayOf(result.tokens), tokens, `tokens after "${prompt}"`);
      equal(result.text, text, `text after "${prompt}"`);
    }
  }

  for (const variant of ["base", "relaxed"]) {
    for (const threads of [1, 2]) {
      if (threads === 2 && !s.threadsExpected) continue;
      if (variant === "relaxed" && !s.relaxedExpected) continue;
      yield [
        `greedy tokens are the expected ones in the ${variant} build with ${threads} ${threads === 1 ? "thread" : "threads"}`,
        () =>
          having(load, bytes, { threads, variant }, async (model) => {
            equal([model.info.variant, model.info.threads], [variant, threads], "variant and threads");
            await sameGreedy(model);
          }),
      ];
    }
  }

  yield [
    "text under a schema, an expression, a grammar and a choice is the expected one, and is what it must be",
    () =>
      within1(async (model) => {
        for (const { constraint, options, tokens, text, finishReason } of expected.constrained) {
          const what = Object.keys(constraint)[0];
          const result = await model.generate("Lily", { ...options, ...constraint });
          equal(arrayOf(result.tokens), tokens, `tokens under a ${what}`);
          equal([result.text, result.finishReason], [text, finishReason], `text under a ${what}`);
          if (constraint.schema && finishReason === "stop") equal(result.parsed, JSON.parse(text), "the parsed value");
          const again = model.constraint(constraint);
          const both = await Promise.all([1, 2].map(() => model.generate("Lily", { ...options, constraint: again })));
          for (const one of both) equal(one.text, text, `text under a ${what} that was compiled before`);
        }
        const refused = await failure(() => model.generate("Lily", { schema: { items: { uniqueItems: true } } }));
        isCpmError(refused, "unsupported", "a keyword that is not enforced");
        equal([refused.path, refused.keyword], ["/items", "uniqueItems"], "where it stands");
      }),
  ];

  yield s.memory64Expected
    ? [
        "64-bit memory gives the expected tokens",
        () =>
          having(load, bytes, { memory64: true, threads: s.threadsExpected ? 2 : 1 }, async (model) => {
            equal(model.info.memory64, true, "64-bit memory");
            await sameGreedy(model);
          }),
      ]
    : [
        "64-bit memory, which is not there, is refused",
        async () => isCpmError(await failure(() => load(bytes, { memory64: true })), "unsupported", "memory64"),
      ];

  if (!s.relaxedExpected)
    yield [
      "a relaxed build that would compute wrong here is refused, and not chosen",
      async () => {
        isCpmError(await failure(() => load(bytes, { threads: 1, variant: "relaxed" })), "unsupported", "relaxed");
        await within1((model) => equal(model.info.variant, "base", "the build that is chosen"));
      },
    ];

  if (!s.threadsExpected)
    yield [
      "asked for two threads, it runs with one and says why",
      () =>
        having(load, bytes, { threads: 2 }, (model) => {
          equal(model.info.threads, 1, "threads");
          ok(/\w+ \w+/.test(model.info.threadsNote ?? ""), "threadsNote gives the reason");
          return model.info.threadsNote;
        }),
    ];

  yield [
    "the fastest build that computes right is chosen by itself, and speed is reported",
    () =>
      having(load, bytes, {}, async (model) => {
        equal(model.info.variant, s.relaxedExpected ? "relaxed" : "base", "variant");
        // Without its end token (2) the model fills the context.
        const options = { ...greedy, maxTokens: 240, logitBias: { 2: -1000 } };
        await model.generate("Once upon a time", options);
        const { timings } = await model.generate("Once upon a time there", options);
        const { threads, variant, loadMs, memory } = model.info;
        return `${Math.round(timings.decodeTokensPerSecond)} tokens/s, ${threads} ${threads === 1 ? "thread" : "threads"}, ${variant}, loaded in ${Math.round(loadMs)} ms, ${(memory.total / 2 ** 20).toFixed(1)} MiB of wasm memory`;
      }),
  ];

  yield [
    "the same seed gives the same text at temperature 0.8, another seed another",
    () =>
      within1(async (model) => {
        const { prompt, seed, tokens, text } = expected.sampled;
        const options = { temperature: 0.8, topK: 40, topP: 0.95, repetitionPenalty: 1.1, maxTokens: tokens.length };
        const result = await model.generate(prompt, { ...options, seed });
        equal(arrayOf(result.tokens), tokens, "tokens");
        equal(result.text, text, "text");
        const other = await model.generate(prompt, { ...options, seed: seed + 1 });
        ok(other.text !== text, "another seed gave the same text");
      }),
  ];

  yield [
    "log-probabilities come with the tokens and are the expected numbers",
    () =>
      within1(async (model) => {
        const [best] = expected.logprobs;
        const parts = [];
        for await (const part of model.generate("Once upon a time", { ...greedy, maxTokens: 3, logprobs: 2 })) parts.push(part);
        const found = parts.flatMap((part) => part.logprobs ?? []);
        equal(
          found.map(({ token, logprob, top }) => [token, logprob.toFixed(6), top.length]),
          expected.logprobs,
          "log-probabilities",
        );
        ok(best !== undefined && found[0].top[0].token === found[0].token, "a greedy token is the most likely one");
      }),
  ];

  yield [
    "a session's logits have the expected bits, in one piece or token by token, truncated, saved, restored and copied",
    () =>
      within1(async (model) => {
        const { tokens, bits: hash, argmax } = expected.forward;
        const whole = await model.session();
        const logits = await whole.forward(tokens);
        equal(logits.length, model.info.config.vocab, "logits");
        equal(logits.indexOf(Math.max(...logits)), argmax, "the most likely token");
        equal(bits(logits), hash, "bits of the logits");
        equal(arrayOf(await whole.tokens()), tokens, "tokens of the session");

        const stepwise = await model.session({ contextSize: 64 });
        let last;
        for (const token of tokens) last = await stepwise.forward([token]);
        equal(bits(last), hash, "bits, token by token");

        const all = await model.session();
        const every = await all.forward(tokens, { logits: "all" });
        equal(every.length, tokens.length * logits.length, "all logits");
        equal(bits(every.slice(-logits.length)), hash, "bits of the last of all logits");
        equal((await all.forward([5], { logits: "none" })).length, 0, "no logits");
        await all.truncate(tokens.length - 1);
        equal(bits(await all.forward(tokens.slice(-1))), hash, "bits after truncating");

        const saved = await whole.save();
        const restored = await model.restore(saved);
        const copy = await whole.copy();
        const next = bits(await whole.forward([argmax]));
        equal(bits(await restored.forward([argmax])), next, "bits after restoring");
        equal(bits(await copy.forward([argmax])), next, "bits of the copy");
        isCpmError(await failure(() => model.restore(saved.slice(0, saved.length - 7))), "bad-input", "a damaged session");
        for (const session of [whole, stepwise, all, restored, copy]) await session.dispose();
        isCpmError(await failure(() => whole.forward([1])), "closed", "a closed session");
      }),
  ];

  yield [
    "a saved session goes on in another load of the model",
    async () => {
      const { tokens, argmax } = expected.forward;
      const { saved, next } = await within1(async (model) => {
        const session = await model.session();
        await session.forward(tokens, { logits: "none" });
        const bytesOfSession = await session.save();
        return { saved: bytesOfSession, next: bits(await session.forward([argmax])) };
      });
      await having(load, bytes, {}, async (model) =>
        equal(bits(await (await model.restore(saved)).forward([argmax])), next, "bits in the other load"),
      );
    },
  ];

  yield [
    "chat goes through ChatML when the model has no template, and gives the expected text",
    () =>
      within1(async (model) => {
        const { messages, prompt, tokens, text } = expected.chat;
        equal(model.formatChat(messages), prompt, "the prompt");
        const result = await model.chat(messages, { ...greedy, maxTokens: tokens.length });
        equal(arrayOf(result.tokens), tokens, "tokens");
        equal(result.text, text, "text");
        const again = await model.chat(messages, { ...greedy, maxTokens: 2 });
        ok(
          again.usage.cachedTokens > 10,
          `the same prompt again is taken from the cache (${again.usage.cachedTokens} tokens were)`,
        );
      }),
  ];

  yield [
    "texts at once say what each says alone, one more than fits is busy, and embeddings do not depend on neighbours",
    () =>
      having(load, bytes, { parallel: 4, queue: 1 }, async (model) => {
        const asked = expected.greedy.slice(0, 3).map(({ prompt, tokens }) => ({ prompt, tokens }));
        const generate = ({ prompt, tokens }) => model.generate(prompt, { ...greedy, maxTokens: tokens.length });
        const sampled = () => model.generate(asked[0].prompt, { seed: 5, maxTokens: 20 });
        const [alone, vectors] = [await sampled(), await model.embed(asked.map(({ prompt }) => prompt))];
        const together = await Promise.all([...asked.map(generate), sampled(), model.embed(asked[1].prompt)]);
        for (const [i, { tokens }] of asked.entries()) equal(arrayOf(together[i].tokens), tokens, `tokens of text ${i}`);
        equal(arrayOf(together[3].tokens), arrayOf(alone.tokens), "sampled tokens");
        equal(bits(together[4].embeddings[0]), bits(vectors.embeddings[1]), "bits of an embedding beside texts");
        // Four run and one waits: read no further, they stay so however fast this machine is.
        const endless = {
          ...greedy,
          logitBias: model.tokenizer.stop.map((id) => [id, Number.NEGATIVE_INFINITY]),
          maxTokens: 400,
        };
        const held = Array.from({ length: 5 }, () => model.generate(asked[0].prompt, endless)[Symbol.asyncIterator]());
        const begun = held.map((parts) => parts.next());
        for (const one of begun) one.catch(() => {});
        await begun[0];
        const [refused] = await Promise.allSettled([sampled()]);
        equal(refused.status, "rejected", "one more than run and wait");
        isCpmError(refused.reason, "busy", "one more than run and wait");
        await Promise.all(held.map((parts) => parts.return()));
      }),
  ];

  yield [
    "streamed parts make up the text, as an iteration and as a web stream",
    () =>
      within1(async (model) => {
        const { prompt, tokens, text } = expected.greedy[0];
        const options = { ...greedy, maxTokens: tokens.length };
        const generation = model.generate(prompt, options);
        let iterated = "";
        let parts = 0;
        const seen = [];
        for await (const part of generation) {
          iterated += part.text;
          seen.push(...part.tokens);
          parts++;
        }
        equal(iterated, text, "text of the parts");
        equal(seen, tokens, "tokens of the parts");
        equal((await generation).text, text, "text of the result");
        ok(parts > tokens.length / 2, `${tokens.length} tokens came in only ${parts} parts`);
        let streamed = "";
        const reader = model.generate(prompt, options).toReadableStream().getReader();
        for (let step = await reader.read(); !step.done; step = await reader.read()) streamed += step.value.text;
        equal(streamed, text, "text of the stream");
      }),
  ];

  yield [
    "stop strings, stop tokens, the token limit and the context's end each end a generation and say so",
    () =>
      within1(async (model) => {
        const { prompt, tokens, text } = expected.greedy[0];
        const word = text.slice(10, 22);
        const at = text.indexOf(word);
        const stopped = await model.generate(prompt, { ...greedy, stop: [word] });
        equal([stopped.finishReason, stopped.text], ["stop-string", text.slice(0, at)], "stop string");
        const first = tokens.indexOf(tokens[9]);
        const byToken = await model.generate(prompt, { ...greedy, stopTokens: [tokens[9]] });
        equal([byToken.finishReason, arrayOf(byToken.tokens)], ["stop", tokens.slice(0, first)], "stop token");
        equal((await model.generate(prompt, { ...greedy, maxTokens: 3 })).finishReason, "length", "limit");
        const session = await model.session({ contextSize: 12 });
        const full = await session.generate(prompt, { ...greedy });
        // The last token needs no room: it is never fed back.
        equal([full.finishReason, full.usage.promptTokens + full.usage.completionTokens], ["context", 13], "context");
      }),
  ];

  yield [
    "leaving the loop, or an AbortSignal, ends a generation, and the model goes on working",
    () =>
      within1(async (model) => {
        const options = { ...greedy, maxTokens: 200, logitBias: { 2: -1000 } };
        let parts = 0;
        for await (const _ of model.generate("Once upon a time", options)) if (++parts === 3) break;
        equal(parts, 3, "parts until the loop was left");
        const reason = new Error("enough");
        const control = new AbortController();
        const stopped = model.generate("Once upon a time", { ...options, signal: control.signal });
        const error = await failure(async () => {
          for await (const _ of stopped) if (++parts === 8) control.abort(reason);
        });
        ok(error === reason, `expected the signal's own reason, found ${error}`);
        ok((await failure(() => stopped)) === reason, "the result rejects with the reason as well");
        const early = await failure(() => model.generate("Tom", { ...options, signal: AbortSignal.abort(reason) }));
        ok(early === reason, `aborted before it began: expected the reason, found ${early}`);
        await sameGreedy(model);
      }),
  ];

  yield [
    "an AbortSignal ends a load, whenever it comes, and the next load works",
    async () => {
      const reason = new Error("changed my mind");
      for (const phase of ["before", "open", "plan", "weights"]) {
        const control = new AbortController();
        if (phase === "before") control.abort(reason);
        const onProgress = (progress) => {
          if (progress.phase === phase) control.abort(reason);
        };
        const error = await failure(() => load(bytes, { signal: control.signal, onProgress }));
        ok(error === reason, `${phase}: expected the signal's own reason, found ${error}`);
      }
      await within1(sameGreedy);
    },
  ];

  yield [
    "loading reports its phases in order, and all bytes",
    async () => {
      const seen = [];
      await within1(() => {}, { onProgress: (progress) => seen.push(progress) });
      const phases = [...new Set(seen.map((p) => p.phase))];
      equal(phases, ["open", "plan", "weights", "ready"], "phases");
      const last = seen.filter((p) => p.phase === "weights").at(-1);
      ok(last.totalBytes > 2_000_000 && last.bytes === last.totalBytes, `${last.bytes} of ${last.totalBytes} bytes`);
    },
  ];

  const ways = {
    "an ArrayBuffer": bytes.slice().buffer,
    "a Blob": new Blob([bytes]),
    "named bytes": { "some.gguf": bytes },
    "named Blobs": { "some.gguf": new Blob([bytes]) },
    "files of the caller's own": ownFiles(bytes),
    ...s.inputs,
  };
  yield [
    `the model may be ${Object.keys(ways).join(", ")}`,
    async () => {
      const { prompt, tokens } = expected.greedy[0];
      for (const [name, input] of Object.entries(ways)) {
        try {
          await having(load, input, { threads: 1 }, async (model) => {
            const result = await model.generate(prompt, { ...greedy, maxTokens: 8 });
            equal(arrayOf(result.tokens), tokens.slice(0, 8), "tokens");
          });
        } catch (error) {
          throw new Error(`${name}: ${error?.message ?? error}`, { cause: error });
        }
      }
    },
  ];

  yield [
    "inspect() and loadTokenizer() read without loading",
    async () => {
      const found = await inspect(bytes, { contextSize: 128 });
      equal(
        [found.config.layers, found.config.vocab, found.contextSize, found.tensors.length],
        [4, 2048, 128, expected.tensors],
        "inspection",
      );
      ok(found.memory.total > 2_000_000 && found.memory.total < 64 << 20, `memory plan of ${found.memory.total} bytes`);
      const tokenizer = await loadTokenizer(bytes);
      for (const { text, ids } of expected.encodings) {
        equal(tokenizer.encode(text), ids, `ids of "${text}"`);
        equal(tokenizer.decode(tokenizer.encode(text, { bos: false })), text, "decoded again");
      }
    },
  ];

  yield [
    "damaged bytes are refused with a code and an offset",
    async () => {
      for (const length of [3, 20, 1000, 40_000, bytes.length - 1000]) {
        const error = await failure(() => load(bytes.slice(0, length)));
        isCpmError(error, "bad-model", `${length} bytes`);
        ok(
          Number.isSafeInteger(error.detail.offset) && error.detail.offset <= bytes.length,
          `${length} bytes: offset of "${error.message}" (${error.detail.offset})`,
        );
      }
      isCpmError(await failure(() => load(new Uint8Array(0))), "bad-model", "no bytes");
      isCpmError(await failure(() => load({})), "bad-input", "no files");
      isCpmError(await failure(() => load(42)), "bad-input", "a number");
    },
  ];

  yield [
    "options that do not exist or are out of range are refused by name",
    () =>
      within1(async (model) => {
        for (const options of [
          { threads: 0 },
          { contextSize: -1 },
          { kvType: "f8" },
          { variant: "fast" },
          { batchSize: 0.5 },
          { worker: 1 },
          { thread: 2 },
          { signal: {} },
        ]) {
          const error = await failure(() => load(bytes, options));
          isCpmError(error, "bad-option", JSON.stringify(options));
          equal(error.detail.field, Object.keys(options)[0], "field");
        }
        for (const options of [
          { temperature: Number.NaN },
          { temperature: -1 },
          { maxTokens: -1 },
          { maxTokens: 0 },
          { topP: 2 },
          { topK: 1.5 },
          { seed: -1 },
          { stop: [1] },
          { stopTokens: [9999] },
          { temprature: 1 },
        ]) {
          const error = await failure(() => model.generate("Once", options));
          isCpmError(error, "bad-option", JSON.stringify(options));
        }
        isCpmError(await failure(() => model.generate("word ".repeat(400), greedy)), "context-overflow", "a long prompt");
        isCpmError(await failure(() => model.generate([1, 2048], greedy)), "bad-input", "a token outside the vocabulary");
        isCpmError(await failure(() => load(bytes, { maxMemoryBytes: 1_000_000 })), "out-of-memory", "maxMemoryBytes");
        await sameGreedy(model);
      }),
  ];

  yield [
    "a closed model refuses everything, and ends what it was doing",
    async () => {
      const model = await load(bytes);
      const session = await model.session();
      const running = failure(() => model.generate("Once upon a time", { ...greedy, maxTokens: 240, logitBias: { 2: -1000 } }));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await model.dispose();
      await model.dispose();
      isCpmError(await running, "closed", "the generation that was running");
      isCpmError(await failure(() => model.generate("Once")), "closed", "generate");
      isCpmError(await failure(() => model.session()), "closed", "session");
      isCpmError(await failure(() => session.forward([1])), "closed", "forward");
      await session.dispose();
    },
  ];

  yield [
    "several generations at once take turns and do not mix",
    () =>
      having(load, bytes, {}, async (model) => {
        const sessions = await Promise.all(expected.greedy.map(() => model.session()));
        const results = await Promise.all(
          expected.greedy.map(({ prompt, tokens }, i) => sessions[i].generate(prompt, { ...greedy, maxTokens: tokens.length })),
        );
        for (const [i, { tokens }] of expected.greedy.entries())
          equal(arrayOf(results[i].tokens), tokens, `tokens of session ${i}`);
      }),
  ];

  yield [
    "with worker: false the engine computes the same in the caller's own thread",
    () =>
      having(load, bytes, { worker: false }, async (model) => {
        await sameGreedy(model);
        return `${model.info.threads} ${model.info.threads === 1 ? "thread" : "threads"}`;
      }),
  ];

  if (s.workerExpected)
    yield [
      "generating leaves the caller's event loop free",
      () =>
        having(load, bytes, {}, async (model) => {
          const count = turns();
          const { tokens } = await model.generate("Once upon a time", { ...greedy, maxTokens: 240, logitBias: { 2: -1000 } });
          const generating = count.end();
          // An engine in this thread gives at most a turn a step.
          ok(generating > 4 * tokens.length, `${generating} turns of the event loop during ${tokens.length} tokens`);
          const session = await model.session();
          const again = turns();
          await session.forward(Array.from({ length: 250 }, (_, i) => 300 + i));
          const reading = again.end();
          await session.dispose();
          ok(reading > 250, `${reading} turns of the event loop while 250 tokens were read`);
          return `${generating} turns during ${tokens.length} tokens`;
        }),
    ];
  else
    yield [
      "the event loop has its turns while an engine in its thread generates",
      () =>
        within1(async (model) => {
          const count = turns();
          for (let time = 1; time <= 3; time++)
            await model.generate("Once upon a time", { ...greedy, maxTokens: 240, logitBias: { 2: -1000 } });
          const given = count.end();
          // One that gives none leaves it those that begin and end the calls.
          ok(given > 8, `${given} turns of the event loop during 720 tokens`);
          return `${given} turns during 720 tokens`;
        }),
    ];

  yield [
    "disposed and loaded again, five times, it gives the same tokens",
    async () => {
      for (let round = 0; round < 5; round++) await having(load, bytes, {}, sameGreedy);
    },
  ];
}

/** ModelFiles as a caller might write them. */
function ownFiles(bytes) {
  return {
    entry: "mine.gguf",
    async open(name) {
      if (name !== "mine.gguf") return undefined;
      return { name, size: bytes.length, read: async (offset, length) => bytes.slice(offset, offset + length), async close() {} };
    },
    async close() {},
  };
}
