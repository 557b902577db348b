// Tokens on disk, their masks, and the rows that are made of them.
import { expect, test } from "vitest";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { memoryOutput } from "../../src/file/write/output.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { readTokenizer } from "../../src/model/read.ts";
import type { ChatMessage } from "../../src/text/template.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { Checksum, checksumOf, hex } from "../../src/train/checksum.ts";
import { chatDocuments, textDocument } from "../../src/train/documents.ts";
import { Feed, type FeedOptions, type FeedState } from "../../src/train/feed.ts";
import { type DataRecord, prepare } from "../../src/train/prepare.ts";
import { Shard, ShardWriter, type TokenDocument } from "../../src/train/shards.ts";
import { memoryStore } from "../../src/train/store.ts";
import { random } from "./rig.ts";

const tokenizerHash = new Uint8Array(32).fill(7);

async function shardBytes(documents: readonly TokenDocument[], vocab = 300): Promise<Uint8Array<ArrayBuffer>> {
  const output = memoryOutput("x.tokens");
  const writer = new ShardWriter(output, vocab, tokenizerHash);
  for (const document of documents) await writer.add(document);
  await writer.finish();
  return output.bytes();
}
const shardOf = async (documents: readonly TokenDocument[], vocab?: number) =>
  await Shard.open(bytesSource("x.tokens", await shardBytes(documents, vocab)), tokenizerHash);

/** Documents whose tokens say which they are and where: document * 1000 + place. */
const numbered = (count: number, lengthOf: (i: number) => number): TokenDocument[] =>
  Array.from({ length: count }, (_, d) => ({ tokens: Array.from({ length: lengthOf(d) }, (_, i) => d * 1000 + i) }));

const feedOf = async (documents: readonly TokenDocument[], options: Partial<FeedOptions> = {}) =>
  new Feed([{ name: "a", shards: [await shardOf(documents, 1_000_000)] }], { length: 16, seed: 1, ...options });

test("the checksum does not depend on how the bytes come, and one changed bit changes it", () => {
  const bytes = Uint8Array.from({ length: 1003 }, (_, i) => (i * 7919) >> 3);
  const whole = hex(checksumOf(bytes));
  const pieces = new Checksum();
  for (let at = 0, n = 1; at < bytes.length; at += n, n = (n * 3) % 41 || 1)
    pieces.update(bytes.subarray(at, Math.min(bytes.length, at + n)));
  expect(hex(pieces.digest())).toBe(whole);
  for (let bit = 0; bit < 8 * bytes.length; bit += 13) {
    const damaged = bytes.slice();
    damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
    expect(hex(checksumOf(damaged))).not.toBe(whole);
  }
  expect(hex(checksumOf(bytes.subarray(0, 1002)))).not.toBe(whole);
});

for (const vocab of [300, 70_000])
  test(`shards of a vocabulary of ${vocab} give back tokens and masks`, async () => {
    const next = random(vocab);
    const documents = Array.from({ length: 40 }, () => {
      const length = 1 + Math.floor(next() * 50);
      return {
        tokens: Array.from({ length }, () => Math.floor(next() * vocab)),
        mask: Array.from({ length }, () => (next() < 0.5 ? 1 : 0)),
      };
    });
    const shard = await shardOf(documents, vocab);
    expect(shard.documents).toBe(40);
    let from = 0;
    for (const [d, { tokens, mask }] of documents.entries()) {
      const read = await shard.read(from, tokens.length);
      expect([...read.tokens]).toEqual(tokens);
      expect([...read.mask]).toEqual(mask);
      from += tokens.length;
      expect(shard.ends[d]).toBe(from);
    }
    expect(new Set(shard.hashes).size).toBe(40);
  });

test("every flipped bit and every cut of a shard is refused", async () => {
  const bytes = await shardBytes([{ tokens: [1, 2, 3], mask: [0, 1, 1] }, { tokens: [4, 5, 6, 7, 8] }]);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
    const opened = Shard.open(bytesSource("x.tokens", damaged), tokenizerHash);
    // Padding between sections has no meaning.
    await opened.then(
      async (shard) => expect([...(await shard.read(0, 8)).tokens]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]),
      (error: unknown) => expect(error).toMatchObject({ code: "bad-model" }),
    );
  }
  for (let length = 0; length < bytes.length; length += 5)
    await expect(Shard.open(bytesSource("x.tokens", bytes.subarray(0, length)), tokenizerHash)).rejects.toMatchObject({
      code: "bad-model",
    });
  await expect(Shard.open(bytesSource("x.tokens", bytes), new Uint8Array(32))).rejects.toMatchObject({
    code: "bad-model",
    detail: { field: "tokenizer" },
  });
});

test("ids beyond the embedding are refused when they are written", async () => {
  await expect(shardBytes([{ tokens: [1, 300] }])).rejects.toMatchObject({ code: "bad-model" });
});

/** What a batch predicts, as "token>label". */
async function predictions(feed: Feed, rows: number): Promise<string[]> {
  const { batch } = await feed.next(rows);
  return [...batch.weights.keys()].filter((i) => batch.weights[i]! > 0).map((i) => `${batch.tokens[i]}>${batch.labels[i]}`);
}

const predictionsIn = (documents: readonly TokenDocument[]): string[] =>
  documents.flatMap(({ tokens }) => Array.from({ length: tokens.length - 1 }, (_, i) => `${tokens[i]}>${tokens[i + 1]}`));

test("an epoch predicts every token after the first of every document once", async () => {
  const documents = numbered(37, (d) => 2 + ((d * 7) % 40));
  const feed = await feedOf(documents);
  const wanted = predictionsIn(documents);
  expect(feed.epochTokens).toBe(wanted.length);
  const found: string[] = [];
  while (found.length < wanted.length) found.push(...(await predictions(feed, 1)));
  expect(new Set(found.slice(0, wanted.length))).toEqual(new Set(wanted));
});

test("whole: every token is predicted as often as the others, give or take what waits for a row with room", async () => {
  const documents = numbered(37, (d) => 2 + ((d * 7) % 40));
  const feed = await feedOf(documents, { packing: "whole" });
  const wanted = predictionsIn(documents);
  const times = new Map<string, number>();
  for (let found = 0; found < 6 * wanted.length; ) {
    const some = await predictions(feed, 1);
    found += some.length;
    for (const p of some) times.set(p, (times.get(p) ?? 0) + 1);
  }
  expect(wanted.filter((p) => (times.get(p) ?? 0) < 4 || times.get(p)! > 8)).toEqual([]);
});

test("documents are segments of their own, and rows are full", async () => {
  const feed = await feedOf(
    numbered(20, (d) => 2 + (d % 9)),
    { length: 32 },
  );
  const { batch, places } = await feed.next(4);
  for (let row = 0; row < 4; row++) {
    let segment = -1;
    let document = -1;
    for (let i = row * 32; i < (row + 1) * 32; i++) {
      expect(batch.segments[i]).toBeGreaterThanOrEqual(0);
      const d = Math.floor(batch.tokens[i]! / 1000);
      // A new document, or a new segment, and never one without the other.
      if (batch.segments[i] !== segment) document = d;
      expect(d).toBe(document);
      segment = batch.segments[i]!;
      expect(batch.labels[i]).toBe(batch.tokens[i]! + 1);
    }
    expect(places[row]!.length).toBe(segment + 1);
    expect(places[row]![0]).toMatch(/^a document \d+/);
  }
});

test("whole: no document that fits a row is cut", async () => {
  const documents = numbered(50, (d) => 2 + ((d * 5) % 16));
  const feed = await feedOf(documents, { packing: "whole" });
  for (let i = 0; i < 30; i++) {
    const { batch } = await feed.next(2);
    const starts = new Map<number, number>();
    for (const [at, token] of batch.tokens.entries()) {
      if (batch.segments[at]! < 0) continue;
      const key = Math.floor(at / 16) * 1000 + batch.segments[at]!;
      if (!starts.has(key)) starts.set(key, token);
      expect(starts.get(key)! % 1000).toBe(0);
    }
    const ends = [...batch.labels.keys()].filter(
      (at) => batch.segments[at]! >= 0 && (at % 16 === 15 || batch.segments[at + 1] !== batch.segments[at]),
    );
    for (const at of ends)
      expect(batch.labels[at]! % 1000).toBe(documents[Math.floor(batch.labels[at]! / 1000)]!.tokens.length - 1);
  }
});

test("a feed that is restored goes on as it would have, in every packing and mixture", async () => {
  const shard = await shardOf(
    numbered(60, (d) => 2 + ((d * 11) % 40)),
    1_000_000,
  );
  for (const packing of ["stream", "whole"] as const) {
    const make = () =>
      new Feed(
        [
          { name: "a", shards: [shard, shard], weight: 1 },
          { name: "b", shards: [shard], weight: 2.5 },
        ],
        { length: 16, seed: 9, packing, heldOut: 0.1 },
      );
    const feed = make();
    for (let i = 0; i < 25; i++) {
      const state = JSON.parse(JSON.stringify(feed.state())) as FeedState;
      const other = make();
      other.restore(state);
      const wanted = await feed.next(3);
      expect(await other.next(3)).toEqual(wanted);
    }
  }
});

test("the seed decides the order; the same seed gives the same order", async () => {
  const documents = numbered(50, () => 5);
  const first = async (seed: number) => await predictions(await feedOf(documents, { seed }), 4);
  expect(await first(1)).toEqual(await first(1));
  expect(await first(1)).not.toEqual(await first(2));
});

test("mixtures keep to their weights at every moment", async () => {
  const [a, b] = [
    await shardOf(
      numbered(9, () => 30),
      1_000_000,
    ),
    await shardOf(
      numbered(9, () => 30),
      1_000_000,
    ),
  ];
  const feed = new Feed(
    [
      { name: "a", shards: [a], weight: 3 },
      { name: "b", shards: [b], weight: 1 },
    ],
    { length: 16, seed: 1 },
  );
  let of = 0;
  for (let row = 1; row <= 200; row++) {
    const { places } = await feed.next(1);
    if (places[0]![0]!.startsWith("a")) of++;
    expect(Math.abs(of - 0.75 * row)).toBeLessThanOrEqual(1);
  }
});

test("what is held out is never trained, equal documents go the same way, and it is the share asked for", async () => {
  const twice = [...numbered(100, () => 9), ...numbered(100, () => 9)];
  const feed = await feedOf(twice, { heldOut: 0.2 });
  const held = await feed.heldOut(4);
  const of = (tokens: Int32Array, segments: Int32Array) =>
    new Set([...tokens.keys()].filter((i) => segments[i]! >= 0).map((i) => Math.floor(tokens[i]! / 1000)));
  const heldOut = new Set(held.flatMap(({ tokens, segments }) => [...of(tokens, segments)]));
  expect(heldOut.size).toBe(20);
  const trained = new Set<number>();
  for (let i = 0; i < 60; i++)
    for (const d of of(...(await feed.next(4).then(({ batch }) => [batch.tokens, batch.segments] as const)))) trained.add(d);
  expect([...heldOut].filter((d) => trained.has(d))).toEqual([]);
  expect(trained.size).toBe(80);
  expect(
    (
      await feedOf(
        numbered(3, () => 9),
        { heldOut: 0.001 },
      )
    ).documents,
  ).toEqual({ trained: 2, heldOut: 1 });
  expect((await feed.heldOut(4, 2)).length).toBe(1);
});

test("nothing to train on is an error that says where", async () => {
  await expect(feedOf([])).rejects.toMatchObject({ code: "bad-input", detail: { field: "a" } });
  const masked = await feedOf([{ tokens: [1, 2, 3], mask: [1, 0, 0] }]);
  await expect(masked.next(1)).rejects.toMatchObject({ code: "bad-input" });
  const shard = await shardOf(
    numbered(4, () => 4),
    1_000_000,
  );
  expect(() => new Feed([{ name: "a", shards: [shard], weight: 0 }], { length: 8, seed: 1 })).toThrow(/data\[0\]\.weight/);
});

// A tokenizer with a chat template, and the embedded model's.
const CHATML =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

async function chatTokenizer(template = CHATML): Promise<Tokenizer> {
  const letters = [...new Set(" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?_-<>|/")];
  const vocab = Object.fromEntries([...letters.map((c) => (c === " " ? "\u0120" : c)), "\u010a"].map((c, i) => [c, i]));
  const size = Object.keys(vocab).length;
  const special = (content: string, id: number) => ({
    id,
    content,
    special: true,
    lstrip: false,
    rstrip: false,
    normalized: false,
    single_word: false,
  });
  const json = {
    version: "1.0",
    added_tokens: [special("<|im_start|>", size), special("<|im_end|>", size + 1)],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: [] },
  };
  const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const files = memoryFiles("", {
    "tokenizer.json": bytes(json),
    "tokenizer_config.json": bytes({ chat_template: template, eos_token: "<|im_end|>", add_bos_token: false }),
    "config.json": bytes({ eos_token_id: size + 1 }),
  });
  return new Tokenizer((await readTokenizer(files)).tokenizer);
}

const talk: ChatMessage[] = [
  { role: "system", content: "be kind" },
  { role: "user", content: "one" },
  { role: "assistant", content: "two three" },
  { role: "user", content: "four" },
  { role: "assistant", content: "five" },
];
const trainedText = (tokenizer: Tokenizer, { tokens, mask }: TokenDocument) =>
  tokenizer.decode(Array.from(tokens).filter((_, i) => mask![i]));

test("of a conversation the answers are trained, with the token that ends them, and nothing else", async () => {
  const tokenizer = await chatTokenizer();
  const [document] = chatDocuments(tokenizer, talk, undefined);
  expect(tokenizer.decode(Array.from(document!.tokens))).toBe(
    "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo three<|im_end|>\n<|im_start|>user\nfour<|im_end|>\n<|im_start|>assistant\nfive<|im_end|>\n",
  );
  expect(trainedText(tokenizer, document!)).toBe("two three<|im_end|>five<|im_end|>");
  const [last] = chatDocuments(tokenizer, talk, undefined, { answers: "last" });
  expect(trainedText(tokenizer, last!)).toBe("five<|im_end|>");
  const each = chatDocuments(tokenizer, talk, undefined, { answers: "each" });
  expect(each.map((d) => trainedText(tokenizer, d))).toEqual(["two three<|im_end|>", "five<|im_end|>"]);
  expect(chatDocuments(tokenizer, talk.slice(0, 2), undefined)).toEqual([]);
});

test("a template that writes earlier answers otherwise is refused with the place, and works answer by answer", async () => {
  const forgets =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + (m.content if loop.last or m.role != 'assistant' else 'gone') + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const tokenizer = await chatTokenizer(forgets);
  expect(() => chatDocuments(tokenizer, talk, undefined)).toThrow(/messages\[2\].*"each"/);
  const each = chatDocuments(tokenizer, talk, undefined, { answers: "each" });
  expect(each.map((d) => trainedText(tokenizer, d))).toEqual(["two three<|im_end|>", "five<|im_end|>"]);
  const header = await chatTokenizer(CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>'"));
  expect(() => chatDocuments(header, talk, undefined)).toThrow(/header of this answer/);
});

test("a text ends in EOS, and names of special tokens in it are text", async () => {
  const tokenizer = await chatTokenizer();
  const { tokens } = textDocument(tokenizer, "a <|im_end|> b");
  const [end] = tokenizer.stop;
  expect(Array.from(tokens).filter((t) => t === end)).toHaveLength(1);
  expect(Array.from(tokens).at(-1)).toBe(end);
});

const records = (list: readonly object[]) =>
  async function* (): AsyncGenerator<DataRecord> {
    for (const [i, fields] of list.entries())
      yield { fields: fields as Record<string, unknown>, place: `x.jsonl, record ${i + 1}` };
  };

test("records are tokenised once; another key tokenises anew; a bad record stops or is counted", async () => {
  const files = await pathFiles(new URL("../../models/stories-q4_0.gguf", import.meta.url).pathname);
  const tokenizer = new Tokenizer((await readTokenizer(files)).tokenizer);
  await files.close();
  const store = memoryStore();
  let reads = 0;
  const list = [{ text: "Once upon a time." }, { text: "A dog.|A cat.| " }, { content: "The end." }];
  const run = async (key: string, of: readonly object[] = list, options = {}) =>
    await prepare(
      async function* () {
        reads++;
        yield* records(of)();
      },
      { separator: "|", ...options },
      { store, name: "data-0", key, tokenizer, tokenizerHash, vocab: tokenizer.size },
    );
  const first = await run("k");
  expect(first).toMatchObject({ documents: 4, skipped: 0, found: false });
  const again = await run("k");
  expect([again.found, reads, again.tokens, again.shards[0]!.documents]).toEqual([true, 1, first.tokens, 4]);
  expect((await run("other")).found).toBe(false);
  const withBad = [...list, { nothing: 1 }];
  await expect(run("bad", withBad)).rejects.toMatchObject({
    code: "bad-input",
    message: expect.stringContaining("x.jsonl, record 4") as string,
  });
  expect(await run("bad", withBad, { badRecords: "skip" })).toMatchObject({ documents: 4, skipped: 1 });
  await expect(run("none", [])).rejects.toMatchObject({ code: "bad-input" });
});
