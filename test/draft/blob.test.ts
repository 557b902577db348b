// A head is what its bytes say, whatever its Blob is called.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { load } from "../../src/host/node.ts";
import { story } from "../cli/command.ts";
import { root } from "../train/rig.ts";

const bytes = readFileSync(`${root}models/stories-eagle/model.safetensors`);

test.each<[string, Blob | Uint8Array]>([
  ["a Blob without a name", new Blob([bytes])],
  ["a File whose name tells nothing", new File([bytes], "download")],
  ["a File with an empty name", new File([bytes], "")],
  ["a File by its name", new File([bytes], "head.safetensors")],
  ["bytes", new Uint8Array(bytes)],
])("%s drafts", async (_, eagle) => {
  const model = await load(story, { worker: false, threads: 1, draft: { eagle, adaptive: false } });
  const { draft } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 12 });
  expect(draft!.accepted).toBeGreaterThan(0);
  await model.dispose();
});

test.each<[string, Blob]>([
  ["no bytes", new Blob([])],
  ["a text", new Blob(["a head"])],
  ["a model", new Blob([readFileSync(story)])],
])("%s is refused", async (_, eagle) => {
  await expect(load(story, { worker: false, threads: 1, draft: { eagle } })).rejects.toMatchObject({ code: "bad-model" });
});
