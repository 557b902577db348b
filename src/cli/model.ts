// Loading a model for a command, with a progress bar where a person watches.
import process from "node:process";
import { progress } from "@clack/prompts";
import { defaultModel, load } from "cpm-wasm";
import type { LoadOptions, LoadProgress, Model } from "../index.ts";

/** Ends the command's work on Ctrl-C: once asks, twice insists. */
export const interrupt = new AbortController();

export function onInterrupt(): void {
  if (interrupt.signal.aborted) process.exit(130);
  interrupt.abort(new DOMException("interrupted", "AbortError"));
}

export const modelOf = (name: string | undefined): string | URL => name ?? defaultModel;

/** Loads `name`, or the embedded model. `quiet`: no progress bar. */
export async function openModel(name: string | undefined, options: LoadOptions, quiet: boolean): Promise<Model> {
  const bar = quiet || !process.stderr.isTTY ? undefined : new Bar();
  try {
    return await load(modelOf(name), { ...options, signal: interrupt.signal, ...(bar ? { onProgress: (p: LoadProgress) => bar.show(p) } : {}) });
  } finally {
    bar?.close();
  }
}

class Bar {
  readonly #bar = progress({ style: "block", max: 100, output: process.stderr, withGuide: false });
  #shown = 0;
  #begun = false;

  show({ phase, bytes, totalBytes }: LoadProgress): void {
    if (!this.#begun) this.#bar.start("loading");
    this.#begun = true;
    if (phase !== "weights" || totalBytes === 0) return;
    const percent = Math.floor((100 * bytes) / totalBytes);
    if (percent === this.#shown) return;
    this.#bar.advance(percent - this.#shown, `${(bytes / 1e6).toFixed(0)} of ${(totalBytes / 1e6).toFixed(0)} MB`);
    this.#shown = percent;
  }

  close(): void {
    if (this.#begun) this.#bar.clear();
  }
}
