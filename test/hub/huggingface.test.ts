// The cache is the one of Hugging Face's tools: their library for JavaScript reads what we pull, and we what it pulls.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scanCacheDir, snapshotDownload } from "@huggingface/hub";
import { afterAll, expect, test } from "vitest";
import { find, list, pull, remove, verify } from "../../dist/host/node.hub.js";
import { commitOf, startHub } from "./server.ts";

const main = commitOf("main");
const noise = (size: number, salt: number) => Uint8Array.from({ length: size }, (_, i) => ((i + salt) * 2654435761) >>> 13);
const hub = await startHub({
  "org/model-GGUF": { refs: { main }, files: { "README.md": noise(40, 1), "model-Q4_0.gguf": noise(50_000, 2) } },
  "org/folder": {
    refs: { main },
    files: {
      "config.json": new TextEncoder().encode("{}"),
      "tokenizer.json": noise(2000, 3),
      "model.safetensors": noise(9000, 4),
      "deep/notes.txt": noise(30, 5),
    },
  },
});
const cache = mkdtempSync(join(tmpdir(), "cpm-hub-"));
afterAll(() => rmSync(cache, { recursive: true, force: true }));
const options = { endpoint: hub.origin, cache, token: "" };

test("what we pull is read by their scan: repositories, revisions, refs, files and the blobs that they link to", async () => {
  const one = await pull("org/model-GGUF:Q4_0", options);
  await pull("org/folder", options);
  const { repos, warnings } = await scanCacheDir(cache);
  expect(warnings).toEqual([]);
  const seen = Object.fromEntries(
    repos.map(({ id, revisions }) => [
      id.name,
      revisions.map(({ commitOid, refs, files }) => ({
        commitOid,
        refs,
        files: files.map(({ path, blob }) => [path.split("/").at(-1), blob.size]).sort(),
      })),
    ]),
  );
  expect(seen).toEqual({
    "org/model-GGUF": [{ commitOid: main, refs: ["main"], files: [["model-Q4_0.gguf", 50_000]] }],
    "org/folder": [
      {
        commitOid: main,
        refs: ["main"],
        files: [
          ["config.json", 2],
          ["model.safetensors", 9000],
          ["tokenizer.json", 2000],
        ],
      },
    ],
  });
  const [model] = repos.filter(({ id }) => id.name === "org/model-GGUF");
  expect(readFileSync(model!.revisions[0]!.files[0]!.path)).toEqual(readFileSync(one.path));
});

test("what they pull is found by us, whole, without network, and removed with its blobs", async () => {
  rmSync(cache, { recursive: true });
  for (const name of ["org/model-GGUF", "org/folder"])
    await snapshotDownload({ repo: { type: "model", name }, hubUrl: hub.origin, cacheDir: cache });
  hub.reset();
  const found = await pull("org/model-GGUF", { ...options, offline: true });
  expect(readFileSync(found.path)).toEqual(Buffer.from(noise(50_000, 2)));
  expect((await find("org/folder", options))?.files).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect((await verify("org/folder", options)).map(({ ok }) => ok)).toEqual([true, true, true]);
  expect(hub.requests).toEqual([]);
  // What is there is not fetched again.
  await pull("org/model-GGUF", options);
  expect(hub.requests.some(({ origin }) => origin === "files")).toBe(false);
  await remove("org/model-GGUF", options);
  expect((await list(options)).map(({ repo }) => repo)).toEqual(["org/folder"]);
  expect((await scanCacheDir(cache)).repos.map(({ id }) => id.name)).toEqual(["org/folder"]);
});
