// Classifier files with bytes changed, cut or put in: typed errors or a classifier that scores, never anything else.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { door, golden, random } from "./rig.ts";

/** 100,000 and more are run by CPM_MUTATIONS=100000; CI runs a share of them. */
const rounds = Number(process.env["CPM_MUTATIONS"] ?? 1500);

function mutated(bytes: Uint8Array, next: () => number): Uint8Array {
  const copy = bytes.slice();
  // Headers and what follows them first: there lie the sizes.
  const within = next() < 0.7 ? Math.min(200, copy.length) : copy.length;
  const place = Math.floor(next() * within);
  const view = new DataView(copy.buffer);
  const wide = Math.min(place, copy.length - 8);
  switch (Math.floor(next() * 6)) {
    case 0:
      copy[place] = Math.floor(next() * 256);
      return copy;
    case 1:
      view.setInt32(wide, [-1, 0, 2 ** 31 - 1, -(2 ** 31), 1, 255, 65536][Math.floor(next() * 7)]!, true);
      return copy;
    case 2:
      view.setBigInt64(wide, [-1n, 0n, 2n ** 63n - 1n, 2n ** 32n, 2n ** 53n, 1n][Math.floor(next() * 6)]!, true);
      return copy;
    case 3:
      return copy.slice(0, place);
    case 4:
      return new Uint8Array([...copy.slice(0, place), ...copy.slice(place + 1 + Math.floor(next() * 8))]);
    default:
      for (let i = place; i < Math.min(place + 16, copy.length); i++) copy[i] = Math.floor(next() * 256);
      return copy;
  }
}

async function outcome(bytes: Uint8Array, fold: boolean): Promise<string> {
  try {
    const classifier = await door.loadClassifier(bytes, { fold });
    classifier.score(["w1 w2 w3 sholuribo vitenqui", ""], { k: 3 });
    return "scored";
  } catch (error) {
    if (!(error instanceof CpmError)) throw error;
    return error.code;
  }
}

const files = ["hs.bin", "unigram.bin", "softmax-cutoff.ftz", "ova.bin"];

test(`${rounds} mutated classifiers: typed errors only`, { timeout: 3_600_000 }, async () => {
  const models = await Promise.all(files.map(async (file) => new Uint8Array(readFileSync(join(golden, file)))));
  models.push(await door.fold(models[1]!));
  const next = random(7);
  const counts: Record<string, number> = {};
  for (let i = 0; i < rounds; i++) {
    const code = await outcome(mutated(models[i % models.length]!, next), next() < 0.5);
    counts[code] = (counts[code] ?? 0) + 1;
  }
  expect(Object.keys(counts).filter((code) => !["scored", "bad-model", "unsupported", "out-of-memory"].includes(code))).toEqual(
    [],
  );
  expect(counts["bad-model"]).toBeGreaterThan(rounds / 10);
});

test("what is no classifier is refused with its place", async () => {
  await expect(door.loadClassifier(new Uint8Array(100))).rejects.toMatchObject({ code: "bad-model", detail: { field: "magic" } });
  await expect(door.loadClassifier(new Uint8Array(3))).rejects.toMatchObject({ code: "bad-model" });
  await expect(door.loadClassifier("/nowhere/model.bin")).rejects.toMatchObject({ code: "io" });
});

test("options and texts are checked", async () => {
  const classifier = await door.loadClassifier(join(golden, "unigram.bin"));
  expect(() => classifier.score("a", { k: 0 })).toThrow(expect.objectContaining({ code: "bad-option" }));
  expect(() => classifier.score("a\nb")).toThrow(expect.objectContaining({ code: "bad-input" }));
  expect(() => classifier.score(3 as unknown as string)).toThrow(expect.objectContaining({ code: "bad-input" }));
  expect(classifier.score("a\n")).toEqual(classifier.score("a"));
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(door.loadClassifier(join(golden, "unigram.bin"), { signal })).rejects.toThrow("enough");
  classifier.close();
  expect(() => classifier.score("a")).toThrow(expect.objectContaining({ code: "closed" }));
});

test("a word of 3 MB and pieces of any size give one result", async () => {
  const classifier = await door.loadClassifier(join(golden, "ova.bin"));
  const bytes = Buffer.from(`w1 ${"ab".repeat(1_500_000)} w2 w3\n`);
  const whole = classifier.lines({ k: 5 });
  const first = [...whole.take(bytes), ...whole.end()];
  const pieces = classifier.lines({ k: 5 });
  const second = [];
  for (let at = 0; at < bytes.length; at += 100_003) second.push(...pieces.take(bytes.subarray(at, at + 100_003)));
  expect([...second, ...pieces.end()]).toEqual(first);
  expect(first.length).toBe(1);
});
