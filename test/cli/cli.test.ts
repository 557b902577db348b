// The built command, run as a person or a script runs it.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { defaultModel, load } from "../../dist/host/node.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = join(root, "dist/cli/main.js");
const story = join(root, "models/stories-q4_0.gguf");
const folder = mkdtempSync(join(tmpdir(), "cpm-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Outcome {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function cpm(args: readonly string[], input = "", command = [process.execPath, main]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, [...command.slice(1), ...args], { cwd: root, env: { ...process.env, NO_COLOR: "1" } });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.on("error", reject).on("close", (status) => resolve({ status, out, err }));
    child.stdin.end(input);
  });
}

async function json<T>(args: readonly string[]): Promise<T> {
  const { status, out, err } = await cpm([...args, "--json"]);
  expect({ status, err }).toEqual({ status: 0, err: "" });
  return JSON.parse(out) as T;
}

const wanted = { text: "", tokens: [] as readonly number[], logits: new Float32Array(0), ids: [1, 430, 442, 261, 400] };
beforeAll(async () => {
  await using model = await load(defaultModel, { threads: 1 });
  const { text, tokens } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 20 });
  await using session = await model.session();
  Object.assign(wanted, { text, tokens, logits: await session.forward(wanted.ids) });
});

test("run --json prints one object of the documented shape, with the library's own greedy tokens", async () => {
  const result = await json<{ text: string; tokens: number[]; promptTokens: number; finishReason: string; timings: Record<string, number> }>(["run", story, "-p", "Once upon a time", "--temperature", "0", "--max-tokens", "20"]);
  expect(Object.keys(result)).toEqual(["text", "tokens", "promptTokens", "finishReason", "timings"]);
  expect(result).toMatchObject({ text: wanted.text, tokens: wanted.tokens, promptTokens: 5, finishReason: "length" });
  for (const key of ["loadMs", "prefillTokensPerSecond", "decodeTokensPerSecond", "peakMemoryBytes"]) expect(result.timings[key], key).toBeGreaterThan(0);
});

test("run streams the prompt and its continuation on stdout and statistics on stderr, with the embedded model by default", async () => {
  const { status, out, err } = await cpm(["run", "--temperature", "0", "--max-tokens", "20"]);
  expect({ status, out }).toEqual({ status: 0, out: `Once upon a time${wanted.text}\n` });
  expect(err).toMatch(/20 tokens, \d.* tokens\/s .*ended by length/);
});

test("npm start takes a prompt and a model behind two dashes", async () => {
  const { status, out } = await cpm(["start", "--silent", "--", story, "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "20"], "", ["npm"]);
  expect({ status, out }).toEqual({ status: 0, out: `Once upon a time${wanted.text}\n` });
});

test("the same seed gives the same text, another seed another", async () => {
  const text = async (seed: string) => (await json<{ text: string }>(["run", "--seed", seed, "--temperature", "1", "--max-tokens", "24"])).text;
  expect(await text("7")).toBe(await text("7"));
  expect(await text("7")).not.toBe(await text("8"));
});

test("tokenize --json gives ids, pieces and the text again, with and without BOS", async () => {
  const all = await json<{ ids: number[]; pieces: string[]; decoded: string }>(["tokenize", story, "--text", "Once upon a time"]);
  expect(Object.keys(all)).toEqual(["ids", "pieces", "decoded"]);
  expect(all).toMatchObject({ ids: wanted.ids, decoded: "Once upon a time" });
  expect(all.pieces[0]).toBe("<s>");
  const file = join(folder, "text.txt");
  writeFileSync(file, "Once </s> upon");
  const bare = await json<{ ids: number[]; decoded: string }>(["tokenize", story, "--text-file", file, "--no-bos", "--no-special"]);
  expect(bare.ids).not.toContain(1);
  expect(bare.ids).not.toContain(2);
  expect(bare.decoded).toBe("Once </s> upon");
});

test("logits --json gives the library's logits to the last bit, for the last or every position", async () => {
  const last = await json<{ logits: number[][]; argmax: number[] }>(["logits", story, "--tokens", wanted.ids.join(",")]);
  expect(Float32Array.from(last.logits[0]!)).toEqual(wanted.logits);
  expect(last.argmax).toEqual([wanted.tokens[0]]);
  const file = join(folder, "tokens.json");
  writeFileSync(file, JSON.stringify(wanted.ids));
  const all = await json<{ logits: number[][]; argmax: number[] }>(["logits", story, "--tokens-file", file, "--at", "all"]);
  expect(all.logits.length).toBe(5);
  expect(all.logits[4]).toEqual(last.logits[0]);
});

test("inspect --json tells format, shape, tensors and a memory plan that grows with the context", async () => {
  const small = await json<{ format: string; tensors: unknown[]; memory: { kvCache: number; total: number }; metadata: Record<string, unknown> }>(["inspect", story, "--ctx", "128"]);
  const large = await json<typeof small>(["inspect", story, "--ctx", "4096"]);
  expect(small.format).toBe("GGUF v3");
  expect(small.tensors.length).toBe(38);
  expect(small.metadata["tokenizer.ggml.tokens"]).toMatchObject({ length: 2048 });
  expect(large.memory.kvCache).toBe(32 * small.memory.kvCache);
  const { out } = await cpm(["inspect", story, "--tensors"]);
  expect(out).toContain("blk.0.attn_q.weight");
});

test("bench --json gives spreads of at least three runs", async () => {
  const result = await json<Record<string, { median: number; min: number; max: number }>>(["bench", story, "--prompt", "32", "--decode", "16"]);
  for (const key of ["prefillTokensPerSecond", "decodeTokensPerSecond"]) {
    const { median, min, max } = result[key]!;
    expect(min > 0 && min <= median && median <= max, key).toBe(true);
  }
  expect(result).toMatchObject({ prompt: 32, decode: 16, repeat: 3 });
});

test("chat answers each line of a pipe and knows its commands", async () => {
  const { status, out, err } = await cpm(["chat", story, "--temperature", "0", "--max-tokens", "8"], "Hello\n/clear\n/nonsense\nHello\n/exit\nnever\n");
  expect(status).toBe(0);
  const answers = out.trimEnd().split("\n");
  expect(answers.length).toBe(2);
  expect(answers[0]).toBe(answers[1]);
  expect(err).toContain("/nonsense: no such command");
});

test("failures say what is wrong, leave stdout empty and give the documented exit status", async () => {
  const cut = join(folder, "cut.gguf");
  writeFileSync(cut, readFileSync(story).subarray(0, 50_000));
  const cases: [string[], number, RegExp][] = [
    [["run", join(folder, "none.gguf")], 1, /none\.gguf: no such file/],
    [["run", cut], 1, /cut\.gguf at byte \d+/],
    [["run", "--temperature", "-1"], 2, /temperature: expected a finite number, at least 0, found -1/],
    [["run", "--temperature", "warm"], 2, /--temperature: expected a number, found "warm"/],
    [["run", "--max-tokens", "-5"], 2, /maxTokens: expected a whole number from 1/],
    [["run", "--warm"], 2, /--warm.*options are --help/],
    [["run", story, "more"], 2, /"more" is one argument too many/],
    [["run", "--variant", "fast"], 2, /variant: expected "auto", "base", "relaxed"/],
    [["run", "-p", "word ".repeat(400)], 1, /tokens do not fit the context of 256/],
    [["logits", story, "--tokens", "1,99999"], 1, /token 99999 at index 1 is outside the vocabulary/],
    [["logits", story], 2, /give --tokens or --tokens-file/],
    [["tokenize", story], 2, /give --text or --text-file/],
    [["dance"], 2, /no command "dance"/],
  ];
  for (const [args, status, message] of cases) {
    const found = await cpm(args);
    expect({ args, status: found.status, out: found.out }).toEqual({ args, status, out: "" });
    expect(found.err).toMatch(message);
    expect(found.err).not.toMatch(/\n\s+at /);
  }
  const machine = await cpm(["run", cut, "--json"]);
  expect(machine.out).toBe("");
  expect(JSON.parse(machine.err)).toMatchObject({ error: { code: "bad-model", detail: { file: cut } } });
});

test("help and version are for stdout", async () => {
  expect((await cpm(["--version"])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect((await cpm([])).out).toContain("cpm inspect");
  expect((await cpm(["run", "--help"])).out).toContain("--max-tokens");
});
