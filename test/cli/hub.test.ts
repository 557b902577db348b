// cpm pull, list, rm, verify, path, and names where a command takes a model.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { commitOf, sha256, startHub } from "../hub/server.ts";
import { cpm, root, start, story, temporary } from "./command.ts";

const folder = temporary();
const cache = join(folder, "cache");
const bytes = new Uint8Array(readFileSync(story));
const main = commitOf("main");
const hub = await startHub({
  "org/stories-GGUF": { refs: { main }, files: { "stories-Q4_0.gguf": bytes, "stories-Q8_0.gguf": bytes.subarray(0, 5000) } },
});
const environment = { HF_ENDPOINT: hub.origin, HF_HUB_CACHE: cache, HF_TOKEN: "hf_secret", LLAMA_CACHE: "", HF_HUB_OFFLINE: "" };
beforeEach(() => {
  Object.assign(process.env, environment);
  rmSync(cache, { recursive: true, force: true });
  hub.reset();
});
const name = "org/stories-GGUF";
const greedy = ["--temperature", "0", "--max-tokens", "5", "-p", "Once upon a time"];

test("a model is pulled, found, verified, listed and removed by its name", async () => {
  const pulled = await cpm(["pull", name]);
  const path = join(cache, "models--org--stories-GGUF/snapshots", main, "stories-Q4_0.gguf");
  expect({ status: pulled.status, out: pulled.out }).toEqual({ status: 0, out: `${path}\n` });
  expect(pulled.err).toMatch(/took Q4_0, of Q4_0, Q8_0/);
  expect((await cpm(["path", name])).out).toBe(`${path}\n`);
  expect((await cpm(["verify", name])).out).toBe("stories-Q4_0.gguf: right\n");
  expect((await cpm(["list"])).out).toMatch(/org\/stories-GGUF +2\.3\n +stories-Q4_0\.gguf +2\.3 +main\n/);
  const listed = JSON.parse((await cpm(["list", "--json"])).out) as {
    models: { repo: string; snapshots: { files: { oid: string }[] }[] }[];
  };
  expect(listed.models[0]!.snapshots[0]!.files[0]!.oid).toBe(sha256(bytes));
  expect(await cpm(["rm", `${name}:Q4_0`])).toMatchObject({ status: 0, err: "2.3 MB freed\n" });
  expect(await cpm(["path", name])).toMatchObject({ status: 1, out: "", err: /was not pulled/ });
  expect(await cpm(["rm", name])).toMatchObject({ status: 1, err: /is not in/ });
});

test("every command takes a name, pulls it once, and asks no network for what is there", async () => {
  const first = await cpm(["run", name, ...greedy]);
  expect({ status: first.status, out: first.out }).toEqual({ status: 0, out: (await cpm(["run", story, ...greedy])).out });
  hub.reset();
  for (const args of [
    ["run", `hf:${name}`, ...greedy],
    ["inspect", `${name}:Q4_0`],
    ["tokenize", name, "--text", "a"],
    ["chat", name],
  ])
    expect((await cpm(args)).status, args.join(" ")).toBe(0);
  expect(hub.requests).toEqual([]);
});

test("what drafts has a name, too; --endpoint and --offline hold for every command that may pull", async () => {
  const asked = { HF_ENDPOINT: "http://127.0.0.1:1" };
  Object.assign(process.env, asked);
  const there = await cpm(["run", name, ...greedy, "--endpoint", hub.origin, "--draft-model", `hf:${name}:Q4_0`]);
  expect({ status: there.status, out: there.out }).toEqual({ status: 0, out: (await cpm(["run", story, ...greedy])).out });
  rmSync(cache, { recursive: true, force: true });
  for (const args of [
    ["run", name, ...greedy],
    ["chat", name],
    ["inspect", name],
    ["tokenize", name, "--text", "a"],
    ["logits", name, "--tokens", "1"],
    ["attention", name, "-p", join(root, "package.json"), "--json"],
    ["bench", name],
    ["freq", name, "--corpus", story, "-o", join(folder, "none")],
    ["constrain", name, "--regex", "a"],
  ])
    expect(await cpm([...args, "--offline"]), args.join(" ")).toMatchObject({ status: 1, err: /not pulled before.*offline/ });
  const drafts = await cpm(["run", story, ...greedy, "--draft-eagle", "org/none", "--offline"]);
  expect(drafts).toMatchObject({ status: 1, err: /org\/none was not pulled before/ });
});

test("what is no name of the hub is a path, and offline says so", async () => {
  expect(await cpm(["run", "none.gguf", ...greedy])).toMatchObject({ status: 1, err: /no such file/ });
  expect(await cpm(["run", "org/none", ...greedy])).toMatchObject({
    status: 1,
    err: /org\/none: HTTP status 404.*there is no such model/,
  });
  process.env["HF_HUB_OFFLINE"] = "1";
  expect(await cpm(["pull", name, "--json"])).toMatchObject({ status: 1, out: "", err: /not pulled before/ });
  expect(await cpm(["pull"])).toMatchObject({ status: 2, err: /the name of a model is missing/ });
});

test("damage makes verify fail", async () => {
  await cpm(["pull", `${name}:Q8_0`]);
  const { writeFileSync } = await import("node:fs");
  writeFileSync(join(cache, "models--org--stories-GGUF/blobs", sha256(bytes.subarray(0, 5000))), "damaged");
  expect(await cpm(["verify", `${name}:Q8_0`])).toMatchObject({ status: 1, out: "stories-Q8_0.gguf: DAMAGED\n" });
});

test("on a terminal a pull shows how far it is, in 40 columns", async () => {
  if (process.platform !== "linux") return console.log("not tested: a terminal takes script(1) of Linux");
  const line = `stty cols 40; '${process.execPath}' dist/cli/main.js pull ${name}`;
  const { ended } = start(["-qec", line, "/dev/null"], ["script"]);
  const { status, out } = await ended;
  expect(status).toBe(0);
  const drawn = out.split("\r\u001b[K").filter((text) => text.startsWith("pulling"));
  expect(drawn.length).toBeGreaterThan(0);
  for (const text of drawn) expect(text.length).toBeLessThanOrEqual(39);
  expect(drawn.at(-1)).toContain("100 %");
});
