// The data wing's entrance: what every host gives it, and what it gives.

import { CpmError } from "../errors.ts";
import type { ModelInput } from "../file/kind.ts";
import { inputKind } from "../file/kind.ts";
import { openInput } from "../file/open.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import { shown } from "../shown.ts";
import type { Classifier } from "./classifier.ts";
import { type DedupKind, Deduplicator, Fingerprints, MinHash } from "./dedup.ts";
import { readFastText } from "./fasttext.ts";
import { type FoldOptions, foldFile } from "./fold.ts";
import { writeFolded } from "./folded.ts";
import { type ClassifierOptions, readClassifier } from "./load.ts";
import { DataInstance } from "./module.ts";
import { type Trained, type TrainOptions, type TrainThreads, trainOn } from "./train.ts";

/** A classifier's file: a path (where there are files), URL, Blob or bytes. */
export type ClassifierInput = string | URL | Blob | ArrayBuffer | Uint8Array;

export interface DataPlatform {
  /** wasm/data.wasm, compiled. */
  module(): Promise<WebAssembly.Module>;
  /** Absent where there is no file system. */
  readonly openPath?: (path: string) => ModelFiles | Promise<ModelFiles>;
  /** Absent where nothing trains on threads. */
  readonly threads?: TrainThreads | undefined;
}

/** What needs the module; see the functions of the same names in the package's data entrance. */
export interface DataDoor {
  /**
   * Reads a classifier: fastText's .bin or .ftz (all losses; versions 11 and 12), or a folded file. Large matrices are folded as
   * they stream in, so that the file never lies in memory whole.
   * @throws CpmError "bad-model", "unsupported", "io", "out-of-memory", "bad-option", "bad-input"; an abort rejects with its reason.
   */
  loadClassifier(input: ClassifierInput, options?: ClassifierOptions): Promise<Classifier>;
  /**
   * The bytes of the folded file of a fastText model: one float for each row and label (softmax: one label fewer), some MB for a
   * model of 2 GB. Throws as `loadClassifier` does.
   */
  fold(input: ClassifierInput, options?: FoldOptions): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * What remembers texts and tells their repetitions: "exact" (but for case and white space), "near" (MinHash over five-word shingles,
   * 14 bands of 8; about 0.75 similar), or both.
   */
  createDeduplicator(kinds: readonly DedupKind[]): Promise<Deduplicator>;
  /** Fingerprints of texts: what a join of many shards tells repetitions by. */
  createFingerprints(): Promise<Fingerprints>;
  /** MinHash signatures of texts. */
  createMinHash(): Promise<MinHash>;
  /**
   * Trains a classifier on texts, one after another, of lines `__label__NAME words…`; `pieces()` of the result are a .bin that fastText loads. The dictionary is
   * fastText's to the byte, as are its numbers with one thread and the same seed.
   * @throws CpmError "bad-option", "bad-input", "out-of-memory", "io"; an abort rejects with its reason.
   * @example
   * ```ts
   * import { loadClassifier, train } from "cpm-wasm/data";
   *
   * const lines = ["__label__good a clear text about birds", "__label__bad buy buy cheap cheap now"];
   * const file = new TextEncoder().encode(`${Array(50).fill(lines.join("\n")).join("\n")}\n`);
   * const trained = await train(file, { dim: 8, epoch: 20, seed: 1 });
   * const classifier = await loadClassifier(await new Blob([...trained.pieces()]).arrayBuffer());
   * console.log(classifier.score("a text about birds").labels[0]);
   * // => __label__good
   * ```
   */
  train(files: ClassifierInput | readonly ClassifierInput[], options?: TrainOptions): Promise<Trained>;
}

/** The wing over a platform. */
export function openData(platform: DataPlatform): DataDoor {
  const instance = async () => DataInstance.create(await platform.module());
  const withSource = async <T>(input: ClassifierInput, use: (source: Source) => Promise<T>): Promise<T> => {
    const files = await openInput(inputKind(input as ModelInput), platform.openPath);
    try {
      const source = await files.open(files.entry);
      if (!source) throw new CpmError("io", `${files.entry || shown(input)}: there is no such file`, { file: files.entry });
      return await use(source);
    } finally {
      await files.close();
    }
  };
  return {
    loadClassifier: async (input, options) => {
      options?.signal?.throwIfAborted();
      return await withSource(input, async (source) => await readClassifier(await instance(), source, options));
    },
    fold: (input, options) =>
      withSource(input, async (source) => {
        const data = await instance();
        return writeFolded(data, await foldFile(data, source, await readFastText(source, options?.signal), options));
      }),
    createDeduplicator: async (kinds) => new Deduplicator(await instance(), kinds),
    createFingerprints: async () => new Fingerprints(await instance()),
    createMinHash: async () => new MinHash(await instance()),
    async train(files, options) {
      const sources: Source[] = [];
      const withAll = (rest: readonly ClassifierInput[]): Promise<Trained> =>
        rest.length > 0
          ? withSource(rest[0]!, async (source) => {
              sources.push(source);
              return await withAll(rest.slice(1));
            })
          : (async () => await trainOn(await platform.module(), chained(sources), options, platform.threads))();
      return await withAll(Array.isArray(files) ? files : [files as ClassifierInput]);
    },
  };
}

/** Sources one after another as one. */
function chained(sources: readonly Source[]): Source {
  if (sources.length === 1) return sources[0]!;
  const ends: number[] = [];
  for (const { size } of sources) ends.push((ends.at(-1) ?? 0) + size);
  return {
    name: sources.map(({ name }) => name).join(", "),
    size: ends.at(-1) ?? 0,
    async read(offset, length, signal) {
      const out = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const i = ends.findIndex((end) => end > offset + done);
        const begin = ends[i]! - sources[i]!.size;
        const part = Math.min(length - done, ends[i]! - offset - done);
        out.set(await sources[i]!.read(offset + done - begin, part, signal), done);
        done += part;
      }
      return out;
    },
    async close() {},
  };
}
