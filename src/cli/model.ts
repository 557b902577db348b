// Loading a model for a command, with a progress bar where a person watches.
import process from "node:process";
import { defaultModel, load } from "cpm-wasm";
import type { LoadOptions, LoadProgress, Model } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { ProgressBar } from "./progress.ts";

export const modelOf = (name: string | undefined): string | URL => name ?? defaultModel;

/** Loads `name`, or the embedded model. `quiet`: no progress bar. Rejects as load() does, on Ctrl-C with an AbortError. */
export async function openModel(name: string | undefined, options: LoadOptions, quiet: boolean): Promise<Model> {
  const bar = !quiet && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  const onProgress = bar && ((progress: LoadProgress) => bar.show(progress));
  try {
    return await load(modelOf(name), { ...options, signal: interrupt.signal, onProgress });
  } finally {
    bar?.close();
  }
}
