// Files beyond 2 and 4 GiB: offsets are never cut to 32 bits. The files are sparse and take no room on the disk.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { writeHeader } from "../support/gguf.ts";
import { tinyGguf, tinyModel, tinyParts } from "../support/tiny.ts";

const model = tinyModel();
const tokens = [1, 5, 9, 300];

/** A file with the tensors spread over its length, the embedding first. */
function spread(step: number): string {
  const folder = mkdtempSync(join(tmpdir(), "cpm-large-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const parts = tinyParts(model, "F16");
  const tensors = parts.tensors.map((t, i) => ({ ...t, offset: i * step }));
  const header = writeHeader({ ...parts, tensors });
  const path = join(folder, "large.gguf");
  const file = openSync(path, "w");
  writeSync(file, header, 0, header.length, 0);
  for (const { bytes, offset } of tensors) writeSync(file, bytes, 0, bytes.length, header.length + offset);
  ftruncateSync(file, header.length + tensors.length * step);
  closeSync(file);
  return path;
}

test("a model whose tensors lie beyond 2^31 and 2^32 loads from a path, and is the same model", async () => {
  const path = spread(2 ** 28);
  const { size, blocks } = statSync(path);
  expect(size).toBeGreaterThan(2 ** 32);
  if (blocks * 512 > size / 2) console.log(`this file system keeps no holes: ${path} took ${blocks * 512} bytes`);
  const [large, whole] = [await load(path), await load(tinyGguf(model, "F16"))];
  expect(firstDifference(await logitsOf(large, tokens), await logitsOf(whole, tokens))).toBe(-1);
});
