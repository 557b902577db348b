// cpm inspect, tokenize, logits and bench: the shapes of their JSON, and values that the library gives too.
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { defaultModel, load } from "../../dist/host/node.js";
import { argmax, golden, shared } from "../support/golden.ts";
import { cpm, json, story, temporary } from "./command.ts";

const folder = temporary();
const ids = [1, 430, 442, 261, 400];
let logits: Float32Array;

beforeAll(async () => {
  await using model = await load(defaultModel, { threads: 1 });
  await using session = await model.session();
  logits = await session.forward(ids, { logits: "all" });
});

interface Tokens {
  readonly ids: number[];
  readonly pieces: string[];
  readonly decoded: string;
}

test("tokenize --json gives ids, pieces and the text again, with and without BOS", async () => {
  const all = await json<Tokens>(["tokenize", story, "--text", "Once upon a time"]);
  expect(Object.keys(all)).toEqual(["ids", "pieces", "decoded"]);
  expect(all).toEqual({ ids, pieces: ["<s>", "▁Once", "▁upon", "▁a", "▁time"], decoded: "Once upon a time" });
  const file = join(folder, "text.txt");
  writeFileSync(file, "Once </s> upon\n");
  const bare = await json<Tokens>(["tokenize", story, "--text-file", file, "--no-bos", "--no-special"]);
  expect(bare.ids).not.toContain(1);
  expect(bare.ids).not.toContain(2);
  expect(bare.decoded).toBe("Once </s> upon\n");
  const { out } = await cpm(["tokenize", "--text", "Once upon"]);
  expect(out).toBe('      1  "<s>"\n    430  "▁Once"\n    442  "▁upon"\n3 tokens\n');
});

test("tokenize takes a tokenizer file, a folder of them, or a vocabulary-only GGUF, and gives the same ids for each", async () => {
  const known = shared("golden/tokenizer-minicpm4.json");
  if (!known) return;
  const cases = JSON.parse(readFileSync(known, "utf8")) as { text: string; ids: number[]; decoded: string }[];
  const longest = cases.reduce((a, b) => (b.ids.length > a.ids.length ? b : a));
  const file = join(folder, "longest.txt");
  writeFileSync(file, longest.text);
  for (const name of ["minicpm4-vocab.gguf", "tokenizer.json", "tokenizer.model", ""]) {
    const found = await json<Tokens>(["tokenize", shared(`data/minicpm4/${name}`)!, "--text-file", file, "--no-bos"]);
    expect({ name, ids: found.ids, decoded: found.decoded }).toEqual({ name, ids: longest.ids, decoded: longest.decoded });
  }
});

interface Logits {
  readonly logits: number[][];
  readonly argmax: number[];
}

test("logits --json gives the library's logits to the last bit, for the last or every position", async () => {
  const vocab = logits.length / ids.length;
  const last = await json<Logits>(["logits", story, "--tokens", ids.join(",")]);
  expect(Object.keys(last)).toEqual(["logits", "argmax"]);
  expect(Float32Array.from(last.logits[0]!)).toEqual(logits.slice(-vocab));
  const file = join(folder, "tokens.json");
  writeFileSync(file, `${JSON.stringify(ids)}\n`);
  const all = await json<Logits>(["logits", story, "--tokens-file", file, "--at", "all"]);
  expect(Float32Array.from(all.logits.flat())).toEqual(logits);
  expect(all.argmax).toEqual(ids.map((_, i) => argmax(logits.subarray(i * vocab, (i + 1) * vocab))));
  expect(last.argmax).toEqual([all.argmax.at(-1)]);
});

test("logits of more positions than one forward call takes are one list all the same", async () => {
  const many = Array.from({ length: 150 }, (_, i) => 3 + i);
  const all = await json<Logits>(["logits", story, "--tokens", many.join(","), "--at", "all", "--threads", "1"]);
  const last = await json<Logits>(["logits", story, "--tokens", many.join(",")]);
  expect(all.logits.length).toBe(150);
  expect(all.logits.at(-1)).toEqual(last.logits[0]);
});

test("logits of a golden model have the reference's argmax", async () => {
  const known = golden("dense-f16");
  if (!known) return;
  const found = await json<Logits>(["logits", known.model, "--tokens", known.tokens.join(",")]);
  expect(found.argmax).toEqual([argmax(known.logits_last)]);
});

interface Inspected {
  readonly format: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly { readonly name: string; readonly type: string; readonly shape: number[]; readonly bytes: number }[];
  readonly contextSize: number;
  readonly memory: Readonly<Record<string, number>>;
}

test("inspect --json tells format, shape, tensors and a memory plan that grows with the context", async () => {
  const small = await json<Inspected>(["inspect", story, "--ctx", "128"]);
  const large = await json<Inspected>(["inspect", story, "--ctx", "4096"]);
  expect(Object.keys(small)).toEqual(["format", "config", "metadata", "tensors", "contextSize", "memory"]);
  expect(small).toMatchObject({
    format: "GGUF v3",
    contextSize: 128,
    config: { architecture: "minicpm", layers: 4, vocab: 2048 },
  });
  expect(small.tensors.length).toBe(38);
  expect(small.tensors[0]).toMatchObject({ name: "token_embd.weight", type: "Q8_0", shape: [2048, 256], bytes: 557056 });
  expect(small.metadata["tokenizer.ggml.tokens"]).toMatchObject({ length: 2048, first: { length: 8 } });
  expect(Object.keys(small.memory)).toEqual(["weights", "kvCache", "activations", "stacks", "draft", "total"]);
  expect(large.memory["kvCache"]).toBe(32 * small.memory["kvCache"]!);
  const { out } = await cpm(["inspect", story, "--tensors", "--kv-type", "q8"]);
  for (const part of ["GGUF v3", "memory plan", "KV cache, 256 tokens", "blk.0.attn_q.weight", "tokenizer.ggml.tokens"])
    expect(out).toContain(part);
});

test("a model may be an address, and --header goes with every request for it", async () => {
  const bytes = readFileSync(story);
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (request.headers.authorization !== "Bearer open: sesame" || !range) return response.writeHead(403).end();
    const part = bytes.subarray(Number(range[1]), Number(range[2]) + 1);
    response
      .writeHead(206, { "content-range": `bytes ${range[1]}-${Number(range[1]) + part.length - 1}/${bytes.length}` })
      .end(part);
  }).listen(0, "127.0.0.1");
  try {
    await once(server, "listening");
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
    const header = ["--header", "Authorization: Bearer open: sesame"];
    const found = await json<{ tokens: number[] }>(["run", address, ...header, "--temperature", "0", "--max-tokens", "3"]);
    expect(found.tokens[0]).toBe(argmax(logits.slice(-logits.length / ids.length)));
    const refused = await cpm(["run", address]);
    expect(refused).toMatchObject({ status: 1, out: "" });
    expect(refused.err).toMatch(/model\.gguf: HTTP status 403/);
  } finally {
    server.close();
  }
});

interface Bench {
  readonly prefillTokensPerSecond: { readonly median: number; readonly min: number; readonly max: number };
  readonly decodeTokensPerSecond: Bench["prefillTokensPerSecond"];
  readonly memory: Readonly<Record<string, number>>;
}

test("bench --json gives spreads of at least three runs, and what was measured", async () => {
  const result = await json<Bench>(["bench", story, "--prompt", "32", "--decode", "16", "--threads", "1", "--variant", "base"]);
  for (const key of ["prefillTokensPerSecond", "decodeTokensPerSecond"] as const) {
    const { median, min, max } = result[key];
    expect(min > 0 && min <= median && median <= max, key).toBe(true);
  }
  expect(result).toMatchObject({ prompt: 32, decode: 16, depth: 0, repeat: 3, threads: 1, variant: "base", contextSize: 48 });
  expect(result.memory["total"]).toBeGreaterThan(result.memory["weights"]!);
});

test("bench --ctx fills the context up to where measuring ends", async () => {
  const sizes = ["--prompt", "32", "--decode", "16", "--threads", "1", "--repeat", "4"];
  const full = await json<Bench>(["bench", story, ...sizes, "--ctx", "200"]);
  expect(full).toMatchObject({ depth: 152, contextSize: 200, repeat: 4 });
  const { status, out } = await cpm(["bench", story, ...sizes, "--ctx", "200", "--depth", "8"]);
  expect(status).toBe(0);
  expect(out).toMatch(/^tokens\/s +median +min +max\nprefill 32 at 8 .*\ndecode 16 at 8 .*\n\nloaded in .* 1 thread, /);
});

test("bench --profile gives every operation's time, as a table, as JSON and as a picture", async () => {
  const asked = ["bench", story, "--profile", "--prompt", "32", "--decode", "4", "--threads", "1"];
  const spec = join(folder, "profile.json");
  const profile = await json<{ context: number; stepMs: number; entries: { name: string; ms: number }[] }>([
    ...[...asked, "--spec", spec],
  ]);
  expect(profile.context).toBe(32);
  const total = profile.entries.reduce((sum, entry) => sum + entry.ms, 0);
  expect(total).toBeGreaterThan(profile.stepMs / 4);
  expect(JSON.parse(readFileSync(spec, "utf8")).data.values.map((v: { name: string }) => v.name)).toEqual(
    profile.entries.map((entry) => entry.name),
  );
  const { status, out } = await cpm(asked);
  expect(status).toBe(0);
  expect(out).toMatch(/ms per token after 32 tokens \(1 thread, \w+ kernels; median of 4 steps\)/);
  for (const name of ["embedding", "norm", "attention", "down", "head", "sampling", "dispatch"])
    expect(out).toMatch(new RegExp(`^${name} .*\\d`, "m"));
  expect(out).toMatch(/^head +int8 +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$/m);
  expect(out).toMatch(/peaks in these threads: [\d.]+ GB\/s read, [\d.]+ GOP\/s of 8-bit dot products/);
  const alone = await cpm(["bench", story, "--svg", "x.svg"]);
  expect(alone).toMatchObject({ status: 2, out: "" });
  expect(alone.err).toMatch(/--svg and --spec draw a profile; add --profile/);
});
