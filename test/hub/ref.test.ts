// Names and choices.
import { expect, test } from "vitest";
import { choose, quantOf } from "../../src/hub/choose.ts";
import { isInside, isPrefixed, nameOf, parseRef } from "../../src/hub/ref.ts";

const repo = "openbmb/MiniCPM4-0.5B-GGUF";
const commit = "a".repeat(40);

test.for([
  [repo, { repo, revision: "main" }],
  [`${repo}:Q4_0`, { repo, revision: "main", quant: "Q4_0" }],
  [`${repo}/model-q8_0.gguf`, { repo, revision: "main", file: "model-q8_0.gguf" }],
  [`${repo}/sub/model.gguf`, { repo, revision: "main", file: "sub/model.gguf" }],
  [`${repo}@v1.0`, { repo, revision: "v1.0" }],
  [`${repo}@v1.0:Q4_0`, { repo, revision: "v1.0", quant: "Q4_0" }],
  [`${repo}:Q4_0@${commit}`, { repo, revision: commit, quant: "Q4_0" }],
  [`${repo}@refs/pr/1`, { repo, revision: "refs/pr/1" }],
  [`hf:${repo}:Q4_0`, { repo, revision: "main", quant: "Q4_0" }],
  [`hf.co/${repo}`, { repo, revision: "main" }],
  [`https://huggingface.co/${repo}`, { repo, revision: "main" }],
  [`https://hf.co/${repo}/tree/dev`, { repo, revision: "dev" }],
  [`https://huggingface.co/${repo}/resolve/main/a/b.gguf?download=true`, { repo, revision: "main", file: "a/b.gguf" }],
  [`https://huggingface.co/${repo}/blob/v2/b.gguf`, { repo, revision: "v2", file: "b.gguf" }],
] as const)("%s is read", ([name, wanted]) => {
  expect(parseRef(name)).toEqual(wanted);
  expect(parseRef(nameOf(parseRef(name)!))).toEqual(wanted);
});

test.for([
  "model.gguf",
  "./a/b.gguf",
  "/a/b",
  "a/../b",
  "../a",
  "a--b/c",
  "a/b/../c",
  "a/b/c//d",
  "C:\\a\\b",
  "-a/b",
  "a/b-",
  ".a/b",
  "a/b:",
  "https://example.com/a/b",
  "a/b@",
  "a/b@../x",
  "a/b/c\\d",
  `${"x".repeat(97)}/y`,
  "",
])("%s is no name", (name) => {
  expect(parseRef(name)).toBeUndefined();
});

test("a prefix before what is no name is refused, and only prefixes are names by themselves", () => {
  for (const name of ["hf:model", "hf:../../etc/passwd", "hf.co/a/b/../../c"])
    expect(() => parseRef(name)).toThrow(/no name of a model/);
  expect([`hf:${repo}`, `hf.co/${repo}`, repo, `https://hf.co/${repo}`].map(isPrefixed)).toEqual([true, true, false, false]);
});

test("paths stay inside a repository, on Windows too", () => {
  for (const path of ["a", "a/b.c", "ä/ö.gguf", "..a"]) expect(isInside(path), path).toBe(true);
  for (const path of ["", "..", "a/..", "/a", "a//b", "./a", "a\\b", "C:a", "a\u0000", "a/b.", "a /b", "x".repeat(1025)])
    expect(isInside(path), path).toBe(false);
});

const files = (...paths: string[]) => paths.map((path) => ({ path }));
const chosen = (name: string, ...paths: string[]) => choose(files(...paths), parseRef(name)!);

test("quantisations are read from names", () => {
  const cases = {
    "MiniCPM4-0.5B-Q4_K_M.gguf": "Q4_K_M",
    "m.f16.gguf": "F16",
    "BitCPM4-1B-TQ2_0-00001-of-00002.gguf": "TQ2_0",
    "x-iq4_xs.gguf": "IQ4_XS",
    "q8_0/m-q4_0.gguf": "Q4_0",
    "model.gguf": undefined,
    "Q4all.gguf": undefined,
    "m-fp16.gguf": "F16",
  };
  for (const [path, quant] of Object.entries(cases)) expect(quantOf(path), path).toBe(quant);
});

test("the best quantisation that runs here is taken, and told; others by name, in any case", () => {
  const all = ["m-Q8_0.gguf", "m-Q4_0.gguf", "m-IQ2_XS.gguf", "mmproj-Q4_K_M.gguf", "README.md"];
  expect(chosen("a/b", ...all)).toMatchObject({ entry: "m-Q4_0.gguf", why: "Q4_0, of Q8_0, Q4_0, IQ2_XS" });
  expect(chosen("a/b:q8_0", ...all).entry).toBe("m-Q8_0.gguf");
  expect(chosen("a/b/m-IQ2_XS.gguf", ...all).entry).toBe("m-IQ2_XS.gguf");
  expect(() => chosen("a/b:Q5_0", ...all)).toThrow(/no file of quantisation Q5_0; there are Q8_0, Q4_0, IQ2_XS/);
  expect(() => chosen("a/b/none.gguf", ...all)).toThrow(/no such file; there are m-Q8_0/);
  expect(() => chosen("a/b", "a-Q4_0.gguf", "b-Q4_0.gguf")).toThrow(/more than one model/);
  expect(() => chosen("a/b:Q4_0", "a-Q4_0.gguf", "b-Q4_0.gguf")).toThrow(/several files/);
  expect(() => chosen("a/b", "m-IQ2_XS.gguf", "m-IQ1_S.gguf")).toThrow(/no quantisation that runs here/);
  expect(() => chosen("a/b", "README.md")).toThrow(/no model that runs here/);
});

test("a split file is all its parts, whichever is named", () => {
  const parts = ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"];
  for (const name of ["a/b", "a/b:Q4_0", `a/b/${parts[1]}`]) {
    const { entry, files } = chosen(name, ...parts, "m-Q8_0.gguf");
    expect({ entry, paths: files.map(({ path }) => path) }).toEqual({ entry: parts[0], paths: parts });
  }
});

test("without GGUF files a folder is what loading reads, and nothing else", () => {
  const { entry, files } = chosen(
    "a/b",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "pytorch_model.bin",
    "modeling.py",
    "img/a.png",
    "onnx/model.safetensors",
  );
  expect({ entry, paths: files.map(({ path }) => path) }).toEqual({
    entry: "",
    paths: ["config.json", "model.safetensors", "tokenizer.json"],
  });
});
