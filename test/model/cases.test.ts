// Small files and folders of our own, each with something that real ones have: what is read, and what is refused in which words.
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { load, loadTokenizer } from "../../src/host/node.ts";
import type { Model, Tokenizer } from "../../src/index.ts";

const at = (name: string) => fileURLToPath(new URL(`../cases/model-files/${name}`, import.meta.url));

async function model(name: string): Promise<Model> {
  const loaded = await load(at(name), { worker: false, threads: 1, contextSize: 64 });
  onTestFinished(() => loaded.dispose());
  return loaded;
}

const pieces = (tokenizer: Tokenizer, text: string, options?: { readonly bos?: boolean }) =>
  tokenizer.encode(text, options).map((id) => tokenizer.piece(id));
const user = [{ role: "user", content: "hi" }];
const tools = [{ type: "function", function: { name: "f" } }] as const;

test("BOS and EOS are the post-processor's", async () => {
  expect(pieces(await loadTokenizer(at("01-post-processor-bos/tokenizer.json")), "ab")).toEqual(["<s>", "▁ab"]);
  expect(pieces(await loadTokenizer(at("01-post-processor-bos-eos/tokenizer.json")), "ab")).toEqual(["<s>", "▁ab", "</s>"]);
});

test("a GGUF of the llama-bpe group begins with BOS and ends where llama.cpp ends it, by the names of tokens", async () => {
  const tokenizer = await loadTokenizer(at("02-gguf-llama-bpe.gguf"));
  expect(pieces(tokenizer, "ab")).toEqual(["<|begin_of_text|>", "ab"]);
  expect(tokenizer.stop.map((id) => tokenizer.piece(id))).toEqual(["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"]);
});

test("the template for tools is taken from a folder's list and from a GGUF's own key, and only with tools", async () => {
  const folder = await model("03-chat-template-list");
  expect(folder.formatChat(user, { tools })).toBe("T1hi");
  expect(folder.formatChat(user)).not.toBe("T1hi");
  expect((await model("03-gguf-tool_use.gguf")).formatChat(user, { tools })).toBe("T1");
});

test("a template's eos_token is the tokenizer's; a chat has no EOS behind its prompt", async () => {
  const differs = await model("04-eos-differs");
  expect(differs.formatChat(user)).toBe("<s>Uhi</s>");
  expect(differs.tokenizer.piece(differs.tokenizer.encode("ab").at(-1)!)).toBe("</s>");
  const chatting = await model("05-eos-in-chat");
  const session = await chatting.session();
  await session.chat([{ role: "user", content: "a" }], { maxTokens: 1 });
  const said = [...(await session.tokens())].map((id) => chatting.tokenizer.piece(id)).join(" ");
  expect(said.startsWith("<s> ▁a </s> ▁ b")).toBe(true);
});

test("templates with carriage returns", async () => {
  expect((await model("06-chat-crlf")).formatChat(user)).toBe("<u>hi</u>\n<a>");
});

test("added tokens that are matched after normalisation", async () => {
  const tokenizer = await loadTokenizer(at("07-normalized-added/tokenizer.json"));
  expect(pieces(tokenizer, "a<x>b", { bos: false })).toEqual(["▁a", "<", "x", ">", "b"]);
  expect(pieces(tokenizer, "a <x> b", { bos: false })).toEqual(["▁a", "<x>", "▁", "b"]);
});

test.each([
  ["word", "abéc", ["abÃ©c"]],
  ["caret", "ab\nab", ["a", "b", "Ċ", "a", "b"]],
  ["A", "abab", ["a", "b", "ab"]],
  ["h", "abé!!", ["ab", "Ã©", "!!"]],
  ["dot", "\r\nab", ["č", "Ċ", "a", "b"]],
  ["removed-invert", "ab !! abé", ["ab", "abÃ©"]],
])("split patterns as Oniguruma has them: %s", async (name, text, wanted) => {
  expect(pieces(await loadTokenizer(at(`08-split-${name}/tokenizer.json`)), text)).toEqual(wanted);
});

test("unknown characters that are not fused; words of added_tokens.json that are not special", async () => {
  const unfused = await loadTokenizer(at("09-fuse-unk-false/tokenizer.json"));
  expect(pieces(unfused, "azzb", { bos: false })).toEqual(["▁a", "<unk>", "<unk>", "b"]);
  const added = await loadTokenizer(at("11-added-tokens-json/tokenizer.model"));
  expect(added.decode(added.encode("the zebra", { bos: false }), { special: false })).toContain("zebra");
});

test("GPTQ weights whose g_idx is permuted mean what it says", async () => {
  const session = await (await model("10-gptq-g_idx")).session();
  const logits = await session.forward([1, 259, 260]);
  expect(logits[0]).toBeCloseTo(0.066, 3);
});

test.each([
  "13-json-nan",
  "15-gptq-quantize_config",
  "15-gptq-group-minus-1",
  "17-gguf-vocab_size.gguf",
  "17-gguf-headkv-array.gguf",
])("%s loads", async (name) => {
  const session = await (await model(name)).session();
  expect((await session.forward([1, 2])).every(Number.isFinite)).toBe(true);
});

test("an id that a GGUF leaves unset is none", async () => {
  await expect(loadTokenizer(at("14-gguf-eot-unset.gguf"))).resolves.toBeDefined();
});

test.each([
  ["12-gguf-extra-tensor.gguf", /norm/],
  ["16-lfs-pointer", /Git LFS/],
  ["16-bin-only", /safetensors/],
])("%s is refused with what to do", async (name, words) => {
  const error = await load(at(name), { worker: false, threads: 1 }).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CpmError);
  expect((error as CpmError).message).toMatch(words);
});
