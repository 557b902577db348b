// What a conversion tells while it runs and when it is done.
import { now } from "../clock.ts";
import type { TensorType } from "../file/tensor.ts";
import type { TensorWriter } from "../file/write/output.ts";
import { bytesOfType, type Copy, writeCopy } from "./copy.ts";

export interface ConvertProgress {
  /** Bytes of tensors written, and in all. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** The one being written. */
  readonly tensor: string;
  readonly secondsLeft: number;
}

export interface ConvertOptions {
  /** What the model is called in general.name or config.json (default: what the source says). */
  readonly name?: string | undefined;
  /** What it is called where the source does not say (a folder's name). */
  readonly fallbackName?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
}

export interface Converted {
  readonly tensors: number;
  /** Of all files. */
  readonly bytes: number;
  /** Tensors by type. */
  readonly types: Readonly<Partial<Record<TensorType, number>>>;
  /** What whoever converts should know. */
  readonly notes: readonly string[];
}

/** Copies tensors and counts. */
export class Copier {
  readonly #options: ConvertOptions;
  readonly #total: number;
  readonly #started = now();
  #done = 0;

  constructor(copies: readonly Copy[], options: ConvertOptions) {
    this.#options = options;
    this.#total = copies.reduce((sum, copy) => sum + bytesOfType(copy), 0);
  }

  async write(writer: TensorWriter, copy: Copy): Promise<void> {
    await writeCopy(writer, copy, this.#options.signal, (bytes) => {
      this.#done += bytes;
      const secondsLeft = (((now() - this.#started) / this.#done) * (this.#total - this.#done)) / 1000;
      this.#options.onProgress?.({ bytes: this.#done, totalBytes: this.#total, tensor: copy.name, secondsLeft });
    });
  }
}

export function typesOf(copies: readonly Copy[]): Converted["types"] {
  const counts: Partial<Record<TensorType, number>> = {};
  for (const { type } of copies) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}
