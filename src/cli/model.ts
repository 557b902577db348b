// Loading a model for a command, with progress where a person watches.
import process from "node:process";
import { defaultModel, load } from "cpm-wasm";
import type { LoadOptions, LoadProgress, Model } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { megabytes, ProgressBar } from "./progress.ts";

export const modelOf = (name: string | undefined): string | URL => name ?? defaultModel;

/** Loads `name`, or the embedded model. `quiet`: no progress bar. Rejects as load() does, on Ctrl-C with an AbortError. */
export async function openModel(name: string | undefined, options: LoadOptions, quiet: boolean): Promise<Model> {
  const bar = !quiet && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  const onProgress = bar && ((progress: LoadProgress) => showLoad(bar, progress));
  try {
    return await load(modelOf(name), { ...options, signal: interrupt.signal, onProgress });
  } finally {
    bar?.close();
  }
}

const phases = { open: "reading the header", plan: "planning memory", weights: "loading", ready: "ready" } as const;

function showLoad(bar: ProgressBar, { phase, bytes, totalBytes, tensor }: LoadProgress): void {
  const total = phase === "weights" ? totalBytes : 0;
  bar.show({ what: phases[phase], done: bytes, total, more: [megabytes(bytes, totalBytes), tensor ?? ""] });
}

/** Prompts of no more tokens are computed before anybody could read a bar. */
const SHORT_PROMPT = 64;

/** Shows how far a prompt is while it is computed; `close` it before anything else is written. */
export class PromptProgress {
  readonly #bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;

  readonly onPrefill = (done: number, total: number): void => {
    if (this.#bar && total > SHORT_PROMPT && done < total)
      this.#bar.show({ what: "reading the prompt", done, total, more: [`${done} of ${total} tokens`] });
  };

  close(): void {
    this.#bar?.close();
  }
}
