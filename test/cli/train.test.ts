// cpm train: configurations in, files out that the other commands take.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type RequestOptions, request } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { cpm, json, start, story, temporary } from "./command.ts";

const folder = temporary();
const texts = Array.from({ length: 30 }, (_, i) => ({
  text: `Once upon a time there was a cat number ${i}. It ${["ran", "slept", "sang"][i % 3]} all day. The end.`,
}));
writeFileSync(join(folder, "texts.jsonl"), texts.map((record) => JSON.stringify(record)).join("\n"));
writeFileSync(
  join(folder, "more.jsonl.gz"),
  gzipSync(texts.map(({ text }) => JSON.stringify({ text: `${text} Again.` })).join("\n")),
);

let made = 0;
/** Writes a configuration into a folder of its own. */
function configured(config: object): { file: string; out: string } {
  const where = join(folder, `run-${made++}`);
  mkdirSync(where);
  const file = join(where, "config.json");
  writeFileSync(
    file,
    JSON.stringify({
      out: "out",
      length: 32,
      rows: 2,
      updates: 2,
      schedule: { peak: 1e-3 },
      data: [{ files: "../texts.jsonl" }],
      ...config,
    }),
  );
  return { file, out: join(where, "out") };
}
const scratch = {
  tokenizer: story,
  config: {
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 64,
    dim_model_base: 32,
    tie_word_embeddings: true,
  },
};

interface Done {
  readonly updates: number;
  readonly loss: number;
  readonly heldOut?: number;
  readonly written: readonly { readonly to: string; readonly bytes: number }[];
}

test("from random weights: a mixture of plain and packed texts, samples, a report, and a GGUF that runs", async () => {
  const { file, out } = configured({
    model: scratch,
    heldOut: 0.1,
    data: [{ files: ["../texts.jsonl"], weight: 2 }, { files: "../more.jsonl.gz" }],
    samples: { every: 1, prompts: ["Once"], maxTokens: 4 },
    export: [{ to: "model.gguf" }, { to: "folder", type: "F16" }],
  });
  const html = join(folder, "report.html");
  const { status, err } = await cpm(["train", file, "--html", html, "--threads", "1"]);
  expect(err).toMatch(/data\[0\]: \d+ tokens in 30 documents\n/);
  expect(err).toMatch(/update 2: loss [\d.]+, held out [\d.]+/);
  expect(err).toMatch(/2 updates, \d+ tokens: loss/);
  expect(status).toBe(0);
  expect(readFileSync(html, "utf8")).toMatch(/held out.*<svg.*Once/s);
  const run = await cpm(["run", join(out, "model.gguf"), "-p", "Once upon", "--max-tokens", "3", "--json"]);
  expect(run.status).toBe(0);
  expect((await cpm(["run", join(out, "folder"), "-p", "Once upon", "--max-tokens", "3", "--json"])).status).toBe(0);
  // Again: there is nothing to do, and it says so by being there.
  const again = await json<Done>(["train", file, "--threads", "1"]);
  expect(again.updates).toBe(2);
});

test("an adapter and a head beside the quantised story model, and its layers ternary from floats", async () => {
  const lora = configured({ model: story, objective: { kind: "lora", rank: 2, targets: ["q_proj", "v_proj"] } });
  const adapted = await json<Done>(["train", lora.file]);
  expect(adapted.written.map(({ to }) => to)).toEqual(
    ["model.gguf", "adapter", "adapter.gguf"].map((name) => join(lora.out, name)),
  );
  const texts = ["model.gguf", "adapter", "adapter.gguf"].map(async (name) => {
    const args = name === "model.gguf" ? [join(lora.out, name)] : [story, "--lora", join(lora.out, name)];
    return (await json<{ tokens: number[] }>(["run", ...args, "-p", "Once", "--temperature", "0", "--max-tokens", "3"])).tokens;
  });
  expect((await Promise.all(texts)).map((tokens) => tokens.length)).toEqual([3, 3, 3]);
  expect((await cpm(["run", join(lora.out, "model.gguf"), "-p", "Once", "--max-tokens", "3", "--json"])).status).toBe(0);

  writeFileSync(join(folder, "freq.json"), JSON.stringify(Array.from({ length: 64 }, (_, i) => i + 1)));
  const head = configured({ model: story, objective: { kind: "eagle", noise: 0.1, vocabulary: "../freq.json" } });
  await json<Done>(["train", head.file]);
  const drafted = ["run", story, "-p", "Once upon a time", "--max-tokens", "12", "--temperature", "0", "--json"];
  const [plain, with_] = [
    await json<{ text: string }>(drafted),
    await json<{ text: string }>([...drafted, "--draft-eagle", join(head.out, "head")]),
  ];
  expect(with_.text).toBe(plain.text);

  const floats = join(folder, "floats");
  const first = configured({ model: story, export: [{ to: floats }] });
  const refused = await cpm(["train", first.file]);
  expect(refused.status).toBe(1);
  expect(refused.err).toMatch(/quantised type; start from the float model/);
});

test("an EAGLE-3 head drafts for the quantised story model, whose text stays", async () => {
  const third = configured({
    model: story,
    updates: 30,
    length: 64,
    rows: 4,
    schedule: { peak: 2e-3 },
    objective: { kind: "eagle", layout: 3, steps: 2 },
  });
  await json<Done>(["train", third.file]);
  const config = JSON.parse(readFileSync(join(third.out, "head/config.json"), "utf8")) as object;
  expect(config).toMatchObject({ architectures: ["LlamaForCausalLMEagle3"], num_hidden_layers: 1, draft_vocab_size: 2048 });
  const prompt = ["run", story, "-p", "Once upon a time", "--max-tokens", "12", "--temperature", "0"];
  const plain = await json<{ text: string }>(prompt);
  const eagle3 = await json<{ text: string; draft: { acceptedPerRound: number } }>([
    ...prompt,
    "--draft-eagle",
    join(third.out, "head"),
  ]);
  expect(eagle3.text).toBe(plain.text);
  // Thirty updates on thirty texts foretell something of the next tokens.
  expect(eagle3.draft.acceptedPerRound).toBeGreaterThan(1);
});

test("ternary stages end in TQ2_0 where widths allow, and checkpoints go on after Ctrl-C", async () => {
  const { file, out } = configured({
    model: { ...scratch, config: { ...scratch.config, hidden_size: 256, intermediate_size: 256, num_attention_heads: 4 } },
    stages: [{ updates: 1 }, { updates: 400, objective: { kind: "ternary" } }],
    checkpoint: { every: 1000 },
    heldOut: 0.1,
    evaluate: { every: 1, rows: 2 },
  });
  const running = start(["train", file, "--threads", "1"]);
  await running.until((_, err) => err.includes("update 4:"));
  running.child.kill("SIGINT");
  const ended = await running.ended;
  expect(ended.status).toBe(130);
  expect(ended.err).toMatch(/saved after update \d+/);
  const saved = readdirSync(out)
    .filter((name) => name.endsWith(".ckpt"))
    .sort()
    .at(-1)!;
  // A configuration of its own goes on from there: how long it runs may change.
  const config = JSON.parse(readFileSync(file, "utf8")) as { stages: { updates: number; schedule?: object }[] };
  expect(Number(/\d+/.exec(saved)![0])).toBeGreaterThan(0);
  config.stages[1]!.updates = 2;
  writeFileSync(file, JSON.stringify(config));
  const other = await cpm(["train", file, "--threads", "1", "--json"]);
  // The default schedule follows the number of updates, so this is another run, and that is said.
  expect(other.status).toBe(2);
  expect(other.err).toMatch(/another configuration.*--fresh/);
  const done = await json<Done>(["train", file, "--threads", "1", "--fresh"]);
  expect(done.updates).toBe(3);
  const { tensors } = await json<{ tensors: { name: string; type: string }[] }>([
    "inspect",
    join(out, "model.gguf"),
    "--tensors",
  ]);
  expect(tensors.find(({ name }) => name === "blk.0.ffn_up.weight")!.type).toBe("TQ2_0");
});

test("what is wrong with a configuration, its files or its texts is told with its place", async () => {
  const cases: [object, number, RegExp][] = [
    [{ model: scratch, lenght: 3 }, 2, /config\.json: lenght: expected one of .*did you mean length\?/],
    [{ model: scratch, data: [{ files: "../none.jsonl" }] }, 1, /none\.jsonl/],
    [{ model: scratch, data: [{ files: "../bad.jsonl" }] }, 1, /bad\.jsonl, record 2: not JSON.*"badRecords"/],
    [{ model: "none.gguf" }, 1, /none\.gguf/],
    [{ model: { ...scratch, config: { ...scratch.config, hidden_size: 33 } } }, 2, /^\S*config\.json: model\.config.*head_dim/],
    [
      { model: { ...scratch, config: { ...scratch.config, hidden_size: 0 } } },
      2,
      /config\.json: model\.config\.hidden_size: expected a whole number from 1 to 65536, found 0/,
    ],
    [{ model: { ...scratch, config: "../small.json" } }, 2, /^\S*small\.json: hidden_size: expected .*, found 0/],
    [{ model: scratch, maxMemoryBytes: 2 ** 20 }, 1, /1\.00 MiB/],
  ];
  writeFileSync(join(folder, "small.json"), JSON.stringify({ ...scratch.config, hidden_size: 0 }));
  writeFileSync(join(folder, "bad.jsonl"), '{"text":"a"}\nnothing\n');
  for (const [config, status, message] of cases) {
    const found = await cpm(["train", configured(config).file]);
    expect(found.err).toMatch(message);
    expect(found.status, found.err).toBe(status);
  }
  expect((await cpm(["train"])).status).toBe(2);
});

test("a run shows itself on a page of the loopback while it trains, and keeps a second run out of its folder", async () => {
  const { file } = configured({ model: scratch, updates: 100000, checkpoint: { every: 100000 } });
  const running = start(["train", file, "--threads", "1", "--port", "0"]);
  let told = "";
  await running.until((_, err) => {
    told = err;
    return /live at http\S+/.test(err) && /stage 1 of 1/.test(err);
  });
  const url = new URL(/live at (http\S+)/.exec(told)![1]!);
  const ask = (path: string, options: RequestOptions = {}) =>
    new Promise<{ status: number | undefined; text: string; policy: unknown }>((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port: url.port, path, ...options }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part: string) => {
          text += part;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode, text, policy: response.headers["content-security-policy"] }),
        );
      });
      sent.on("error", reject).end();
    });
  let page = await ask("/");
  // Curves come with the first updates.
  while (!page.text.includes("<polyline")) page = await ask("/");
  expect(page.status).toBe(200);
  expect(page.text).toContain("cpm train config.json");
  expect(page.text).toContain('http-equiv="refresh"');
  expect(page.policy).toContain("default-src 'none'");
  expect((await ask("/other")).status).toBe(404);
  expect((await ask("/", { method: "POST" })).status).toBe(405);
  expect((await ask("/", { headers: { host: "evil.example" } })).status).toBe(403);
  const second = await cpm(["train", file, "--threads", "1"]);
  expect(second.status).toBe(1);
  expect(second.err).toContain(`process ${running.child.pid}`);
  const taken = configured({ model: scratch });
  const { status, err } = await cpm(["train", taken.file, "--threads", "1", "--port", url.port]);
  expect(status).toBe(2);
  expect(err).toMatch(/--port \d+: .*give another/);
  const none = await cpm(["train", taken.file, "--threads", "1", "--port", "99999"]);
  expect(none.status).toBe(2);
  expect(none.err).toMatch(/--port: expected a whole number from 0 to 65535, found 99999/);
  running.child.kill("SIGINT");
  expect((await running.ended).err).toContain("goes on from there");
});
