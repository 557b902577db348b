// Perplexity and divergence: against the definition's numbers, against sums written out here, and over bad input.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { openKlBase, perplexity } from "../../src/evaluate/index.ts";
import { klFileSize } from "../../src/evaluate/klfile.ts";
import { bytesSource } from "../../src/file/bytes.ts";
import { CpmError, type Model } from "../../src/index.ts";
import { doors, open, promptOf } from "../support/door.ts";
import { shared } from "../support/golden.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { none } from "../support/where.ts";
import { widened } from "../support/widened.ts";

const door = doors["in the caller's thread"];

interface Row {
  readonly count: number;
  readonly ppl: number;
  readonly ppl_error: number;
  readonly ppl_base: number;
  readonly ppl_per_chunk: readonly number[];
  readonly log_ratio: number;
  readonly log_ratio_error: number;
  readonly correlation: number;
  readonly kld_mean: number;
  readonly kld_error: number;
  readonly kld_max: number;
  readonly kld_min: number;
  readonly kld_quantiles: Readonly<Record<string, number>>;
  readonly delta_p_mean: number;
  readonly delta_p_rms: number;
  readonly delta_p_quantiles: Readonly<Record<string, number>>;
  readonly same_top: number;
  readonly same_top_error: number;
}

const goldens = shared("golden/quant/perplexity.json")!;
const float = shared("models/stories-f16.gguf");
test.each(["itself", "stories-q4_0.gguf"].slice(float ? 0 : 1))(
  "the golden statistics of the float story model: %s",
  { timeout: 600_000 },
  async (name) => {
    const rows = (JSON.parse(readFileSync(goldens, "utf8")) as { rows: Record<string, Row> }).rows;
    const base = readFileSync(shared("golden/quant/base.kld")!);
    const input = name === "itself" ? float! : await widened(shared(`models/${name}`)!);
    const model = await open(door, input, { contextSize: 128, kvType: "f32" });
    const found = await perplexity(model, undefined, { base });
    const [d, golden] = [found.divergence!, rows[name]!];
    expect(found.count).toBe(golden.count);
    found.chunks.forEach(({ running }, i) => {
      expect(Math.abs(running / golden.ppl_per_chunk[i]! - 1), `${name}, chunk ${i}`).toBeLessThan(1e-4);
    });
    const close = (value: number, wanted: number, what: string, digits = 6) =>
      expect(Math.abs(value - wanted), `${name}, ${what}`).toBeLessThan(0.5 * 10 ** -digits);
    close(found.perplexity.value, golden.ppl, "perplexity", 4);
    close(found.perplexity.error, golden.ppl_error, "its error", 4);
    close(d.basePerplexity.value, golden.ppl_base, "base perplexity");
    close(d.logRatio.value, golden.log_ratio, "ln ratio", 5);
    close(d.logRatio.error, golden.log_ratio_error, "its error", 5);
    close(d.correlation, golden.correlation, "correlation");
    close(d.mean.value, golden.kld_mean, "mean KL", 5);
    close(d.mean.error, golden.kld_error, "its error", 5);
    close(d.most, golden.kld_max, "maximum", 5);
    close(d.least, golden.kld_min, "minimum", 5);
    for (const [percent, value] of d.percentiles)
      close(value, golden.kld_quantiles[String(Number((percent / 100).toFixed(4)))]!, `${percent} %`, 5);
    close(d.deltaP.mean.value, golden.delta_p_mean, "mean Δp", 5);
    close(d.deltaP.rms.value, golden.delta_p_rms, "RMS Δp", 5);
    for (const [percent, value] of d.deltaP.percentiles)
      close(value, golden.delta_p_quantiles[String(Number((percent / 100).toFixed(4)))]!, `Δp at ${percent} %`, 5);
    expect(d.sameTop.value).toBe(golden.same_top);
    close(d.sameTop.error, golden.same_top_error, "its error");
  },
);

(float ? test : none)(
  "the golden base file, written again from our logits: equal but where a code lies between two",
  async () => {
    const base = readFileSync(shared("golden/quant/base.kld")!);
    const model = await open(door, float!, { contextSize: 128, kvType: "f32" });
    const written: Uint8Array[] = [];
    await perplexity(model, undefined, { base, save: (bytes) => void written.push(bytes.slice()) });
    const again = Buffer.concat(written);
    expect(again.length).toBe(base.length);
    const tokens = 20 + 4 * 3 * 128;
    expect(again.subarray(0, tokens).equals(base.subarray(0, tokens))).toBe(true);
    let [different, far] = [0, 0];
    const codes = (base.length - tokens) / 2;
    for (let at = tokens; at < base.length; at += 2) {
      // Each row begins with two float32.
      if ((at - tokens) % (2 * 2052) < 8) continue;
      const apart = Math.abs(again.readUInt16LE(at) - base.readUInt16LE(at));
      if (apart > 0) different++;
      if (apart > 1) far++;
    }
    expect(far).toBe(0);
    // Float32 sums against float64 ones differ by some 1e-6 of a logit, and a code is worth 2.4e-4.
    expect(different / codes).toBeLessThan(0.03);
  },
);

const vocab = 320;
const tiny = tinyGguf(tinyModel());

/** By the rules, in plain sums over forward(). */
async function byDefinition(model: Model, tokens: readonly number[], n: number, from = n >> 1): Promise<number[]> {
  const { addBos, bos } = model.tokenizer.data;
  const nll: number[] = [];
  for (let c = 0; c + n <= tokens.length; c += n) {
    const chunk = tokens.slice(c, c + n);
    if (addBos) chunk[0] = bos!;
    const session = await model.session();
    const logits = await session.forward(chunk, { logits: "all" });
    await session.dispose();
    for (let t = from; t < n - 1; t++) {
      const row = logits.subarray(t * vocab, (t + 1) * vocab);
      nll.push(Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[chunk[t + 1]!]!);
    }
  }
  return nll;
}

const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;

for (const [name, way] of Object.entries(doors))
  test(`chunks, BOS, the scored half, the error estimate and the positions are those of the rules, ${name}`, async () => {
    const model = await open(way, tiny, { contextSize: 256 });
    for (const [n, count, from] of [
      [64, 300, undefined],
      [37, 111, undefined],
      [200, 450, 0],
      [5, 11, undefined],
    ] as const) {
      const tokens = promptOf(count);
      const nll = await byDefinition(model, tokens, n, from ?? n >> 1);
      const found = await perplexity(model, tokens, { contextSize: n, from });
      expect(found.chunks.length).toBe(Math.floor(count / n));
      expect(found.count).toBe(nll.length);
      const m = mean(nll);
      expect(found.perplexity.value).toBeCloseTo(Math.exp(m), 6);
      const error = Math.exp(m) * Math.sqrt((mean(nll.map((x) => x * x)) - m * m) / (nll.length - 1));
      expect(found.perplexity.error).toBeCloseTo(error, 6);
      const each = nll.length / found.chunks.length;
      found.chunks.forEach(({ own, running }, i) => {
        expect(own).toBeCloseTo(Math.exp(mean(nll.slice(i * each, (i + 1) * each))), 6);
        expect(running).toBeCloseTo(Math.exp(mean(nll.slice(0, (i + 1) * each))), 6);
      });
      expect(found.positions[0]!.from).toBe(from ?? n >> 1);
      expect(found.positions.at(-1)!.to).toBe(n - 1);
      expect(found.positions.reduce((sum, { count: c }) => sum + c, 0)).toBe(nll.length);
      const { from: a, to: b, perplexity: p } = found.positions.at(-1)!;
      const bucket = nll.filter((_, i) => (i % each) + found.from >= a && (i % each) + found.from < b);
      expect(p).toBeCloseTo(Math.exp(mean(bucket)), 6);
    }
  });

/** A file of log-probabilities. */
async function saved(model: Model, tokens: readonly number[], contextSize: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  await perplexity(model, tokens, { contextSize, save: (bytes) => void pieces.push(bytes.slice()) });
  return Buffer.concat(pieces);
}

test("a model beside itself diverges by no more than its file rounds; beside another by KL of the two", async () => {
  // Logits within 16 of each other: what is further below is not written.
  const flat = async (seed: number) => {
    const made = tinyModel({}, seed);
    const { values } = made.weights.get("model.embed_tokens.weight")!;
    for (let i = 0; i < values.length; i++) values[i]! *= 0.1;
    return await open(door, tinyGguf(made), { contextSize: 64 });
  };
  const [model, other] = [await flat(1), await flat(2)];
  const tokens = promptOf(200);
  const file = await saved(model, tokens, 64);
  expect(file.length).toBe(klFileSize({ contextSize: 64, vocab, chunks: 3 }));
  const base = await openKlBase(bytesSource("base", file));
  expect([...base.tokens]).toEqual(tokens.slice(0, 192));
  const own = (await perplexity(model, undefined, { base: file })).divergence!;
  expect(own.sameTop.value).toBe(1);
  expect(Math.abs(own.mean.value)).toBeLessThan(1e-5);
  expect(own.logRatio.value).toBeCloseTo(0, 4);
  // The text may be given: it is the file's.
  const far = (await perplexity(other, tokens, { base: new Blob([new Uint8Array(file)]) })).divergence!;
  const [a, b] = [await byDefinition(model, tokens, 64), await byDefinition(other, tokens, 64)];
  expect(far.logRatio.value).toBeCloseTo(mean(b) - mean(a), 4);
  let kl = 0;
  for (let c = 0; c < 3; c++) {
    const rows = await Promise.all(
      [model, other].map(async (m) => {
        const session = await m.session();
        const chunk = tokens.slice(64 * c, 64 * c + 64);
        if (m.tokenizer.data.addBos) chunk[0] = m.tokenizer.bos!;
        return await session.forward(chunk, { logits: "all" });
      }),
    );
    for (let t = 32; t < 63; t++) {
      const [p, q] = rows.map((logits) => {
        const row = Array.from(logits.subarray(t * vocab, (t + 1) * vocab));
        const sum = Math.log(row.reduce((s, x) => s + Math.exp(x), 0));
        return row.map((x) => x - sum);
      }) as [number[], number[]];
      kl += p.reduce((sum, x, i) => sum + Math.exp(x) * (x - q[i]!), 0);
    }
  }
  expect(far.mean.value).toBeCloseTo(kl / 93, 4);
  expect(far.sameTop.value).toBeLessThan(1);
});

/** What is thrown. */
const failure = async (work: Promise<unknown>): Promise<CpmError> => {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CpmError);
  return error as CpmError;
};

test("bad input is refused, and says what is wrong", async () => {
  const model = await open(door, tiny, { contextSize: 64 });
  const tokens = promptOf(200);
  const file = await saved(model, tokens, 64);
  const changed = (change: (copy: Buffer) => void) => {
    const copy = Buffer.from(file);
    change(copy);
    return copy;
  };
  const cases: readonly (readonly [Promise<unknown>, string, RegExp])[] = [
    [perplexity(model, promptOf(127)), "bad-input", /127 tokens are too few: at least 128/],
    [perplexity(model, "short"), "bad-input", /too few/],
    [perplexity(model, undefined), "bad-input", /expected a text/],
    [perplexity(model, [1, 2, vocab]), "bad-input", /below 320, found 320/],
    [perplexity(model, [1, 2, 0.5]), "bad-input", /found 0.5/],
    [perplexity(model, tokens, { contextSize: 65 }), "bad-option", /contextSize: expected a whole number from 4 to 64/],
    [perplexity(model, tokens, { chunks: 0 }), "bad-option", /chunks/],
    [perplexity(model, tokens, { from: 63 }), "bad-option", /from: expected a whole number from 0 to 62/],
    [perplexity(model, tokens, { from: 0, save() {} }), "bad-option", /holds the second half/],
    [perplexity(model, tokens, { contextsize: 64 } as object), "bad-option", /did you mean contextSize/],
    [perplexity(model, undefined, { base: file, contextSize: 32 }), "bad-option", /64, which the base file was made with/],
    [perplexity(model, tokens.toReversed(), { base: file }), "bad-input", /from another text/],
    [perplexity(model, tokens.slice(0, 100), { base: file }), "bad-input", /is missing/],
    [perplexity(model, undefined, { base: file.subarray(0, 12) }), "bad-input", /no file of log-probabilities/],
    [perplexity(model, undefined, { base: file.subarray(0, -2) }), "bad-input", /whoever wrote it was stopped/],
    [perplexity(model, undefined, { base: changed((c) => c.write("GGUF")) }), "bad-input", /begin with _logits_/],
    [perplexity(model, undefined, { base: changed((c) => c.writeInt32LE(-1, 16)) }), "bad-input", /chunks: expected 1/],
    [perplexity(model, undefined, { base: changed((c) => c.writeInt32LE(3, 8)) }), "bad-input", /context size: expected 4/],
    [
      perplexity(model, undefined, { base: changed((c) => c.writeInt32LE(vocab, 40)) }),
      "bad-input",
      /token 5: expected an id below/,
    ],
    [perplexity(model, undefined, { base: changed((c) => c.writeFloatLE(Number.NaN, 20 + 4 * 192)) }), "bad-input", /scale NaN/],
  ];
  for (const [work, code, message] of cases) {
    const error = await failure(work);
    expect(error.code, error.message).toBe(code);
    expect(error.message).toMatch(message);
  }
  const wider = await open(door, tinyGguf(tinyModel({ vocab: 322 })), { contextSize: 64 });
  expect((await failure(perplexity(wider, undefined, { base: file }))).message).toMatch(
    /rows have 320 tokens and this model's vocabulary 322/,
  );
  const short = await open(door, tiny, { contextSize: 32 });
  expect((await failure(perplexity(short, undefined, { base: file }))).message).toMatch(/at least the base file's 64/);
});

test("weights that are no numbers are told of, not averaged", async () => {
  const made = tinyModel();
  made.weights.get("model.norm.weight")!.values[3] = Number.NaN;
  const model = await open(door, tinyGguf(made), { contextSize: 64 }).catch((error: unknown) => error as CpmError);
  // Loading may refuse it already.
  if (model instanceof CpmError) return expect(model.code).toBe("bad-model");
  const error = await failure(perplexity(model, promptOf(200)));
  expect([error.code, error.message]).toEqual(["bad-model", expect.stringMatching(/no finite numbers/)]);
});

test("an abort ends it with the signal's reason, progress falls to nothing left, the model goes on", async () => {
  const model = await open(door, tiny, { contextSize: 64 });
  const control = new AbortController();
  const seen: [number, number][] = [];
  const work = perplexity(model, promptOf(1000), {
    signal: control.signal,
    onProgress: ({ done, total }) => {
      seen.push([done, total]);
      if (done === 4) control.abort(new Error("enough"));
    },
  });
  await expect(work).rejects.toThrow("enough");
  expect(seen).toEqual([
    [1, 15],
    [2, 15],
    [3, 15],
    [4, 15],
  ]);
  let left = Number.POSITIVE_INFINITY;
  const found = await perplexity(model, promptOf(200), { onProgress: ({ secondsLeft }) => (left = secondsLeft) });
  expect(left).toBe(0);
  expect(found.chunks.length).toBe(3);
  await expect(perplexity(model, promptOf(200), { signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow("before");
  await expect(perplexity(model, promptOf(200), { save: () => Promise.reject(new Error("disk full")) })).rejects.toThrow(
    "disk full",
  );
});
