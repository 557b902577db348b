// What the data wing's tests share: the module as committed, golden files, Debian's fasttext where it is installed.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import type { Prediction } from "../../src/data/classifier.ts";
import { openData } from "../../src/data/data.ts";
import { DataInstance } from "../../src/data/module.ts";
import { pathFiles } from "../../src/host/node.files.ts";

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const shared = join(root, "../shared");
/** The golden classifiers: all of them beside the project, and all but the largest among its own. */
export const golden = [join(shared, "golden/ultraclean"), join(root, "test/golden/ultraclean")].find((path) => existsSync(path))!;

export const module = WebAssembly.compile(readFileSync(join(root, "wasm/data.wasm")));
export const door = openData({ module: () => module, openPath: pathFiles });
export const instance = async () => DataInstance.create(await module);

/** Debian's fasttext; tests that need it say so when it is missing. */
export const hasFastText = !spawnSync("fasttext", []).error;
export const missingFastText = "Debian's fasttext is not installed";

export function fasttext(...args: string[]): string {
  return execFileSync("fasttext", args, { encoding: "latin1", maxBuffer: 1 << 30, stdio: ["ignore", "pipe", "ignore"] });
}

/** What `predict-prob` printed, as predictions. */
export function printed(text: string): Prediction[] {
  const lines = text.split("\n");
  lines.pop();
  return lines.map((line) => {
    const parts = line.split(" ").filter((part) => part !== "");
    return {
      labels: parts.filter((_, i) => i % 2 === 0),
      probabilities: parts.filter((_, i) => i % 2 === 1).map(Number),
    };
  });
}

export function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), "cpm-data-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Numbers in [0, 1) from a seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** How far two lists of predictions are apart: lines whose labels differ, and the largest difference of a probability. */
export function difference(found: readonly Prediction[], expected: readonly Prediction[]) {
  let most = 0;
  const wrong: number[] = [];
  const count = Math.max(found.length, expected.length);
  for (let i = 0; i < count; i++) {
    const [a, b] = [found[i], expected[i]];
    if (!a || !b || a.labels.length !== b.labels.length || a.labels[0] !== b.labels[0]) {
      wrong.push(i);
      continue;
    }
    const byLabel = new Map(a.labels.map((label, j) => [label, a.probabilities[j]!]));
    b.labels.forEach((label, j) => {
      most = Math.max(most, Math.abs((byLabel.get(label) ?? 9) - b.probabilities[j]!));
    });
  }
  return { wrong, most };
}

/** Two texts whose sets of five-word shingles have nearly the wanted similarity, and what it is. */
export function pair(next: () => number, wanted: number): { a: string; b: string; jaccard: number } {
  const words = Array.from({ length: 300 }, () => `w${Math.floor(next() * 1e6)}`);
  const changed = words.slice();
  // Each changed word changes five shingles.
  const changes = Math.round(((1 - wanted) / (1 + wanted)) * (296 / 5));
  for (let i = 0; i < changes; i++)
    changed[Math.floor(((i + 0.5) * 300) / Math.max(1, changes))] = `x${Math.floor(next() * 1e6)}`;
  const shingles = (all: string[]) => new Set(all.slice(4).map((_, i) => all.slice(i, i + 5).join(" ")));
  const [x, y] = [shingles(words), shingles(changed)];
  const both = [...x].filter((s) => y.has(s)).length;
  return { a: words.join(" "), b: changed.join(" \n\t"), jaccard: both / (x.size + y.size - both) };
}
