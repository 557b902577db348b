// Folders of every family as GGUF: the keys and tensors of the golden files, and the folder's own logits; what no key says is refused.
import { expect, test } from "vitest";
import { type MemoryOutput, memoryOutput, toFolder, toGguf } from "../../src/convert/index.ts";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { load, logitsOf } from "../support/engine.ts";
import { type Folder, familyFolder, familyGguf, familyNames, familySequences, randomFamily } from "../support/families.ts";
import { divergence, largestDifference, row } from "../support/golden.ts";

async function gguf(folder: Folder): Promise<Uint8Array> {
  let output: MemoryOutput | undefined;
  await toGguf(memoryFiles("", folder), async () => (output = memoryOutput("x.gguf")));
  return output!.bytes();
}

const plain = (value: unknown): unknown =>
  ArrayBuffer.isView(value) || Array.isArray(value) ? Array.from(value as ArrayLike<unknown>) : value;

/** What no GGUF says of these: another list of layers without rotation, no caps, a scalar of their own. */
const UNSAID: Readonly<Record<string, RegExp>> = {
  "smollm3-odd": /rotations|windows/,
  "gemma2-scalar": /scale of scores|soft caps/,
  "gemma3-scalar": /scale of scores/,
};

for (const name of familyNames)
  test(`${name}: the GGUF of the folder is the same model, or refused by what it lacks`, async () => {
    const folder = familyFolder(name);
    if (UNSAID[name]) {
      await expect(gguf(folder)).rejects.toMatchObject({ code: "unsupported", message: UNSAID[name] });
      return;
    }
    const file = await gguf(folder);
    expect(await gguf(familyFolder(name, "config-published.json"))).toEqual(file);
    const [a, b] = [await load(folder, { kvType: "f32" }), await load(file, { kvType: "f32" })];
    const { vocab } = b.info.config;
    for (const { tokens, positions, logits } of familySequences(name)) {
      const [x, y] = [await logitsOf(a, tokens), await logitsOf(b, tokens)];
      expect(largestDifference(x, y)).toBeLessThan(1e-4);
      for (const [i, at] of positions.entries()) expect(divergence(logits[i]!, row(y, vocab, at))).toBeLessThan(1e-6);
    }
    const golden = familyGguf(name);
    // One model is there as another family's, which its scales also say.
    if (!golden || name === "granite-minicpm") return;
    const [own, other] = [await readGguf(bytesSource("a", file)), await readGguf(bytesSource("b", golden))];
    expect(new Set(own.tensors.map((t) => `${t.name} ${t.shape}`))).toEqual(
      new Set(other.tensors.map((t) => `${t.name} ${t.shape}`)),
    );
    for (const [key, value] of other.metadata)
      if (!/^(tokenizer|general)\./.test(key)) {
        if (typeof value === "number") expect(own.metadata.get(key), key).toBeCloseTo(value, 5);
        else expect(plain(own.metadata.get(key)), key).toEqual(plain(value));
      }
    expect(own.metadata.get("general.architecture")).toBe(other.metadata.get("general.architecture"));
  });

test("a GGUF of a family with traits is not made a folder that lacks them", async () => {
  const file = await gguf(await randomFamily("qwen3"));
  const none = async () => Promise.reject(new Error("nothing is opened"));
  await expect(toFolder(memoryFiles("x.gguf", { "x.gguf": file }), none)).rejects.toMatchObject({
    code: "unsupported",
    message: /qwen3/,
  });
});
