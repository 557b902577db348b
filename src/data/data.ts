// The data wing's entrance: what every host gives it, and what it gives.
import type { ModelInput } from "../engine/host.ts";
import { CpmError } from "../errors.ts";
import { inputKind, openInput } from "../file/open.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import type { Classifier } from "./classifier.ts";
import { readFastText } from "./fasttext.ts";
import { type FoldOptions, foldFile } from "./fold.ts";
import { writeFolded } from "./folded.ts";
import { type ClassifierOptions, readClassifier } from "./load.ts";
import { DataInstance } from "./module.ts";

/** A classifier's file: a path (where there are files), URL, Blob or bytes. */
export type ClassifierInput = string | URL | Blob | ArrayBuffer | Uint8Array;

export interface DataPlatform {
  /** wasm/data.wasm, compiled. */
  module(): Promise<WebAssembly.Module>;
  /** Absent where there is no file system. */
  readonly openPath?: (path: string) => ModelFiles | Promise<ModelFiles>;
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
}

/** The wing over a platform. */
export function openData(platform: DataPlatform): DataDoor {
  const instance = async () => DataInstance.create(await platform.module());
  const withSource = async <T>(input: ClassifierInput, use: (source: Source) => Promise<T>): Promise<T> => {
    const files = await openInput(inputKind(input as ModelInput), platform.openPath);
    try {
      const source = await files.open(files.entry);
      if (!source) throw new CpmError("io", `${files.entry || String(input)}: there is no such file`, { file: files.entry });
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
  };
}
