// cpm run: streaming, --json, seeds, stopping, and npm start.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { defaultModel, load } from "../../dist/host/node.js";
import { cpm, json, main, start, story, temporary } from "./command.ts";
import { scriptedModel } from "./scripted.ts";

const folder = temporary();
const greedy = ["--temperature", "0", "--max-tokens", "20"];
const wanted = { text: "", tokens: [] as readonly number[] };
const endless = join(folder, "endless.gguf");

beforeAll(async () => {
  writeFileSync(endless, scriptedModel(["a", "b", "c"], { again: true }));
  await using model = await load(defaultModel, { threads: 1 });
  const { text, tokens } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 20 });
  Object.assign(wanted, { text, tokens });
});

interface RunResult {
  readonly text: string;
  readonly tokens: number[];
  readonly promptTokens: number;
  readonly finishReason: string;
  readonly timings: Readonly<Record<string, number>>;
}

test("run --json prints one object of the documented shape, with the library's own greedy tokens", async () => {
  const result = await json<RunResult>(["run", story, "-p", "Once upon a time", ...greedy]);
  expect(Object.keys(result)).toEqual(["text", "tokens", "promptTokens", "finishReason", "timings"]);
  expect(result).toMatchObject({ text: wanted.text, tokens: wanted.tokens, promptTokens: 5, finishReason: "length" });
  const keys = ["loadMs", "prefillTokensPerSecond", "decodeTokensPerSecond", "peakMemoryBytes"];
  expect(Object.keys(result.timings)).toEqual(keys);
  for (const key of keys) expect(result.timings[key], key).toBeGreaterThan(0);
  expect(result.timings["peakMemoryBytes"]).toBeGreaterThan(16 << 20);
});

test("run streams the prompt and its continuation on stdout and statistics on stderr, with the embedded model by default", async () => {
  const { status, out, err } = await cpm(["run", ...greedy]);
  expect({ status, out }).toEqual({ status: 0, out: `Once upon a time${wanted.text}\n` });
  // One line of statistics: no progress bar where nobody watches.
  expect(err).toMatch(/^\n20 tokens, [\d.]+ tokens\/s \(prompt: [\d.]+ tokens\/s\).*ended by length\n$/);
});

test("npm start takes a prompt and a model behind two dashes", async () => {
  const args = ["start", "--silent", "--", story, "--prompt", "Once upon a time", ...greedy];
  const { status, out } = await cpm(args, "", ["npm"]);
  expect({ status, out }).toEqual({ status: 0, out: `Once upon a time${wanted.text}\n` });
});

test("the same seed gives the same text, another seed another", async () => {
  const textOf = async (seed: string) =>
    (await json<RunResult>(["run", "--seed", seed, "--temperature", "1", "--max-tokens", "24"])).text;
  const [first, again, other] = await Promise.all(["7", "7", "8"].map(textOf));
  expect(first).toBe(again);
  expect(first).not.toBe(other);
});

test("a prompt comes from a file as it is, begins with a dash if it likes, and --stop may be repeated", async () => {
  const file = join(folder, "prompt.txt");
  writeFileSync(file, "Once upon a time");
  const cut = await json<RunResult>(["run", "--prompt-file", file, ...greedy, "--stop", "no such text", "--stop", "girl named"]);
  expect(cut).toMatchObject({ text: wanted.text.slice(0, wanted.text.indexOf("girl named")), finishReason: "stop-string" });
  const { out } = await cpm(["run", "-p", "-5 apples", ...greedy]);
  expect(out).toMatch(/^-5 apples./);
});

test("whoever stops reading ends the command quietly", async () => {
  const { child, until, ended } = start([
    "run",
    endless,
    "-p",
    "\n",
    "--temperature",
    "0",
    "--ctx",
    "100000",
    "--max-tokens",
    "90000",
  ]);
  await until((out) => out.includes("abc"));
  child.stdout.destroy();
  expect(await ended).toMatchObject({ status: 0, err: "" });
});

test("Ctrl-C ends a generation with status 130", async () => {
  const { child, until, ended } = start([
    "run",
    endless,
    "-p",
    "\n",
    "--temperature",
    "0",
    "--ctx",
    "100000",
    "--max-tokens",
    "90000",
  ]);
  await until((out) => out.includes("abc"));
  child.kill("SIGINT");
  const { status, out, err } = await ended;
  expect({ status, err }).toEqual({ status: 130, err: "" });
  expect(out).toMatch(/^\n(abc)+a?b?\n$/);
});

test("Ctrl-C ends a load with status 130 and nothing written", async () => {
  // The model's server does not answer: it is still loading.
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  try {
    await once(server, "listening");
    const { child, ended } = start(["run", `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`, "--json"]);
    await once(server, "request");
    child.kill("SIGINT");
    expect(await ended).toEqual({ status: 130, out: "", err: "" });
  } finally {
    server.close();
  }
});

test("a load shows a progress bar on a terminal only, and takes it away", async () => {
  if (process.platform !== "linux") return console.log("not tested: the progress bar needs script(1) of Linux for a terminal");
  const line = `'${process.execPath}' '${main}' run --temperature 0 --max-tokens 4`;
  const { status, out } = await cpm(["-qec", line, "/dev/null"], "", ["script"]);
  expect(status).toBe(0);
  expect(out).toContain("\r\u001b[Kreading the header");
  expect(out).toContain(`\r\u001b[KOnce upon a time${wanted.text.slice(0, 9)}`);
});

test("what is piped in is the prompt, - waits for it anywhere a text is asked for, and options come first", async () => {
  const piped = await cpm(["run", ...greedy], "Once upon a time\n");
  expect({ status: piped.status, out: piped.out }).toEqual({ status: 0, out: `Once upon a time${wanted.text}\n` });
  for (const args of [["-"], [story, "-"], ["-p", "-"], ["--prompt-file", "-"]]) {
    const { status, out } = await cpm(["run", ...args, ...greedy], "Once upon a time");
    expect({ args, status, out }).toEqual({ args, status: 0, out: `Once upon a time${wanted.text}\n` });
  }
  const given = await cpm(["run", "-p", "Once upon a time", ...greedy], "not this");
  expect(given.out).toBe(`Once upon a time${wanted.text}\n`);
  const tokens = await cpm(["tokenize", "-", "--json"], "Once");
  expect(JSON.parse(tokens.out)).toMatchObject({ decoded: "Once" });
  expect(await cpm(["run", "-", "-p", "a"])).toMatchObject({ status: 2, err: expect.stringMatching(/- or --prompt, not both/) });
});
