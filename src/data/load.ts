// Classifiers from files: which of the formats, folded or not.
import { CpmError, modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { Classifier } from "./classifier.ts";
import { type FastTextFile, fastTextMagic, readFastText } from "./fasttext.ts";
import { checkFinite, type FoldOptions, foldedBytes, foldFile, outputRows } from "./fold.ts";
import { isFolded, readFolded } from "./folded.ts";
import { dequantise } from "./matrix.ts";
import { type DataInstance, MOST_BYTES } from "./module.ts";

export interface ClassifierOptions extends FoldOptions {
  /**
   * Fold while reading: false keeps the matrices, with the original's own arithmetic. Default "auto": folds where the input matrix takes
   * more than 64 MiB and folding makes it smaller.
   */
  readonly fold?: boolean | "auto" | undefined;
}

/** A matrix larger than this is folded unless told otherwise. */
const LARGE = 64 << 20;
const PIECE = 1 << 22;

/** The classifier of a .bin, .ftz or folded file. */
export async function readClassifier(data: DataInstance, source: Source, options: ClassifierOptions = {}): Promise<Classifier> {
  const { fold = "auto", signal } = options;
  if (fold !== "auto" && typeof fold !== "boolean")
    throw new CpmError("bad-option", `fold: expected true, false or "auto", found ${String(fold)}`, { field: "fold" });
  if (await foldedMagic(source, signal)) return Classifier.ofFolded(data, await readFolded(data, source, signal));
  const file = await readFastText(source, signal);
  const denseBytes = 4 * file.input.rows * file.input.columns;
  const folds = fold === "auto" ? denseBytes > LARGE && foldedBytes(file) < denseBytes : fold;
  if (folds) return Classifier.ofFolded(data, await foldFile(data, source, file, options));
  if (denseBytes > MOST_BYTES - (256 << 20))
    throw new CpmError(
      "out-of-memory",
      `${source.name}: its input matrix takes ${Math.ceil(denseBytes / 2 ** 20)} MiB, more than a 32-bit memory; fold it`,
      { file: source.name, field: "fold", expected: "true", found: "false" },
    );
  return await Classifier.ofDense(data, await denseModel(data, source, file, options));
}

async function foldedMagic(source: Source, signal?: AbortSignal): Promise<boolean> {
  if (source.size < 8)
    throw modelError({ file: source.name, expected: "a fastText or folded model", found: `${source.size} bytes` }, "too short");
  const head = await source.read(0, 8, signal);
  if (isFolded(head)) return true;
  const magic = new DataView(head.buffer, head.byteOffset, 8).getInt32(0, true);
  if (magic === fastTextMagic) return false;
  throw modelError(
    { file: source.name, offset: 0, field: "magic", expected: `${fastTextMagic} (fastText) or CPMFOLD`, found: String(magic) },
    "not a classifier",
  );
}

async function denseModel(data: DataInstance, source: Source, file: FastTextFile, { signal, onProgress }: FoldOptions) {
  const { input, output, vocabulary, arguments: args } = file;
  const norms = output.kind === "quantised" ? output.norms : undefined;
  const outputFloats = await outputRows(source, output, signal, norms !== undefined);
  checkFinite(outputFloats, source.name);
  if (norms) checkFinite(norms, source.name);
  return {
    loss: args.loss,
    vocabulary,
    dim: args.dim,
    rows: input.rows,
    output: outputFloats,
    outputNorms: norms,
    fill: async (at: number) => {
      const perRow = input.kind === "dense" ? 4 * input.columns : input.parts;
      const step = Math.max(1, Math.floor(PIECE / perRow));
      for (let row = 0; row < input.rows; row += step) {
        const count = Math.min(step, input.rows - row);
        const bytes = await source.read(input.offset + row * perRow, count * perRow, signal);
        signal?.throwIfAborted();
        const to = data.f32(at + 4 * row * input.columns, count * input.columns);
        if (input.kind === "dense") data.u8(to.byteOffset, to.byteLength).set(bytes);
        else dequantise(input, bytes, row, to);
        checkFinite(to, source.name);
        onProgress?.(input.offset + (row + count) * perRow, source.size);
      }
    },
  };
}
