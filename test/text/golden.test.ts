// Real tokenizers: the expected ids of MiniCPM4 from each of its files, the embedded model's, and a small llama's.
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { pieceTable } from "../../src/text/pieces.ts";
import { TextStream } from "../../src/text/stream.ts";
import { renderChat } from "../../src/text/template.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import type { PieceVocabulary, TokenizerData } from "../../src/text/vocabulary.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";
import { encodeByDefinition, random, randomText, wellFormed } from "./vocabularies.ts";

const embedded = fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url));

/** The tokenizer of one file, with the small files beside it. */
async function read(path: string): Promise<TokenizerData> {
  const beside = readdirSync(dirname(path)).filter((name) => /^(added_tokens|.*_config|special_tokens_map)\.json$/.test(name));
  const files = Object.fromEntries(
    [basename(path), ...beside].map((name) => [name, new Uint8Array(readFileSync(join(dirname(path), name)))]),
  );
  return (await readTokenizer(memoryFiles(basename(path), files))).tokenizer;
}

interface Case {
  readonly text: string;
  readonly ids: readonly number[];
  /** What decoding gives where that is not the text; null where the text holds special tokens. */
  readonly decoded: string | null;
}

/** MiniCPM4. */
{
  const goldenPath = shared("golden/tokenizer-minicpm4.json");
  const paths = ["tokenizer.model", "tokenizer.json", "minicpm4-vocab.gguf"].map((name) => shared(`data/minicpm4/${name}`));
  const there = goldenPath !== undefined && paths.every((path) => path !== undefined);
  const cases = there ? (JSON.parse(readFileSync(goldenPath, "utf8")) as Case[]) : [];
  const datas = there ? await Promise.all(paths.map((path) => read(path!))) : [];

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "MiniCPM4: all expected ids and texts come out of tokenizer.model, tokenizer.json and the GGUF vocabulary alike",
    () => {
      expect(cases.length).toBe(108);
      for (const data of datas) {
        const tokenizer = new Tokenizer(data);
        for (const { text, ids, decoded } of cases) {
          expect(tokenizer.encode(text, { bos: false }), JSON.stringify(text)).toEqual(ids);
          expect(tokenizer.decode(ids)).toBe(decoded ?? text);
        }
        expect(tokenizer.encode("a")).toEqual([1, ...tokenizer.encode("a", { bos: false })]);
        expect([...tokenizer.stop].sort((a, b) => a - b)).toEqual([2, 73440]);
        expect([0, 1, 2, 73440, 73441, 73447].map((id) => tokenizer.piece(id))).toEqual([
          "<unk>",
          "<s>",
          "</s>",
          "<|im_end|>",
          "<|im_start|>",
          "<|fim_suffix|>",
        ]);
        expect(tokenizer.size).toBe(73448);
      }
    },
  );

  whereFile(there, "data/minicpm4 and data/minicpm5")("MiniCPM4: the templated chat has the expected ids", () => {
    for (const data of datas) {
      const { text } = renderChat(data, [{ role: "user", content: "The capital of France is" }]);
      expect(new Tokenizer(data).encode(text)).toEqual([
        1, 73441, 3060, 5, 2219, 8107, 1379, 8360, 1410, 73440, 59320, 5, 73441, 16434, 5,
      ]);
    }
  });

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "MiniCPM4: random texts have the same ids from all three, and come back",
    () => {
      const [model, ...others] = datas.map((data) => new Tokenizer(data));
      // What SentencePiece matches whole before it merges; neither other format can say so, and no merges lead to most of it.
      const { atoms, pieces } = datas[0]!.vocabulary as PieceVocabulary;
      const whole = [...atoms!].map((id) => pieces[id]!).filter((piece) => piece.length > 1);
      expect(whole).toContain("...");
      const below = random(11);
      for (let i = 0; i < 1500; i++) {
        const text = randomText(below, 60).replaceAll("▁", "") + (below(5) === 0 ? "<|im_end|>\n<s> x" : "");
        const [ids, ...more] = [...(whole.some((piece) => text.includes(piece)) ? [] : [model!]), ...others].map((tokenizer) =>
          tokenizer.encode(text),
        );
        for (const other of more) expect(other, JSON.stringify(text)).toEqual(ids);
        expect(model!.decode(model!.encode(text, { bos: false }))).toBe(wellFormed(text));
      }
      expect(model!.encode("a...b", { bos: false }).map((id) => model!.piece(id))).toEqual(["▁a", "...", "b"]);
    },
  );

  whereFile(there, "data/minicpm4 and data/minicpm5")("MiniCPM4: the stream of the expected ids is their text", () => {
    for (const data of datas) {
      const table = pieceTable(data);
      for (const { text, ids, decoded } of cases) {
        const stream = new TextStream(table, { stop: [], thinking: "none", special: true, prompt: [] });
        const pieces = [...ids.flatMap((id) => stream.push(id)), ...stream.finish()];
        expect(pieces.map((piece) => piece.text).join("")).toBe(decoded ?? text);
      }
    }
  });

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "MiniCPM4: a megabyte of text, and text that cannot be cut into words, are encoded in a reasonable time (printed)",
    () => {
      const below = random(12);
      const mixed = cases.map(({ text }) => text).join("\n");
      const texts = {
        "1 MB of mixed text": mixed.repeat(Math.ceil(1e6 / mixed.length)),
        "200 kB of random letters": Array.from({ length: 2e5 }, () => "abcdefgh"[below(8)]!).join(""),
        "200 kB of one letter": "a".repeat(2e5),
        "200 kB of spaces": " ".repeat(2e5),
      };
      const tokenizers = datas.map((data) => new Tokenizer(data));
      for (const [what, text] of Object.entries(texts)) {
        const times = tokenizers.map((tokenizer) => {
          const started = performance.now();
          const ids = tokenizer.encode(text, { bos: false });
          const ms = performance.now() - started;
          expect(tokenizer.decode(ids).length).toBe(text.length);
          return Math.round(ms);
        });
        console.log(`${what}: ${times.join(", ")} ms (tokenizer.model, tokenizer.json, GGUF)`);
      }
    },
  );
}

test("the embedded model's tokenizer gives the ids it was trained with, and the text back", async () => {
  const tokenizer = new Tokenizer(await read(embedded));
  expect(tokenizer.encode("Once upon a time")).toEqual([1, 430, 442, 261, 400]);
  const text = "It was a beautiful day and Little Joe wanted to go for a walk.";
  expect(tokenizer.encode(text)).toEqual([1, 413, 284, 261, 907, 343, 269, 345, 390, 1254, 428, 268, 459, 386, 261, 1022, 2006]);
  const below = random(13);
  for (let i = 0; i < 500; i++) {
    const any = randomText(below, 40).replaceAll("▁", "");
    expect(tokenizer.decode(tokenizer.encode(any, { bos: false }))).toBe(wellFormed(any));
  }
});

test("the expected prompts of the project's own models have the expected ids", async () => {
  const path = shared("models/expected.json")!;
  const { greedy, held_out_prompts } = JSON.parse(readFileSync(path, "utf8")) as {
    readonly greedy: readonly { readonly prompt: string; readonly ids: readonly number[] }[];
    readonly held_out_prompts: readonly { readonly text: string; readonly ids: readonly number[] }[];
  };
  const tokenizer = new Tokenizer(await read(embedded));
  const prompts = [...greedy.map(({ prompt, ids }) => ({ text: prompt, ids })), ...held_out_prompts];
  expect(prompts.length).toBeGreaterThan(20);
  for (const { text, ids } of prompts) expect(tokenizer.encode(text)).toEqual(ids);
});

const stories260k = shared("data/stories260k.gguf");
for (const [name, path, add] of [
  ["the embedded model's vocabulary", embedded, test],
  ["stories260k's", stories260k!, whereFile(stories260k, "data/stories260k.gguf")],
] as const)
  add(`encoding with ${name} is its plain definition`, async () => {
    const data = await read(path);
    const tokenizer = new Tokenizer(data);
    const below = random(14);
    for (let i = 0; i < 400; i++) {
      const text = wellFormed(randomText(below, 40)).replaceAll("▁", "");
      expect(tokenizer.encode(text, { bos: false, special: false }), JSON.stringify(text)).toEqual(
        encodeByDefinition(text, data),
      );
    }
  });
