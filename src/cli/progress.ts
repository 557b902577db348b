// The progress bar of a load: one line on a terminal, gone when the load is done.
import type { WriteStream } from "node:tty";
import type { LoadProgress } from "../index.ts";

const WIDTH = 30;
/** Milliseconds between two drawings. */
const PACE = 50;

/** It only writes: prompt libraries read the input meanwhile, and with it what was meant for the command. */
export class ProgressBar {
  readonly #out: WriteStream;
  #drawn = "";
  #at = 0;

  constructor(out: WriteStream) {
    this.#out = out;
  }

  show(progress: LoadProgress): void {
    const line = lineOf(progress).slice(0, (this.#out.columns || 80) - 1);
    const now = performance.now();
    if (line === this.#drawn || now - this.#at < PACE) return;
    this.#out.write(`\r\u001b[K${line}`);
    this.#drawn = line;
    this.#at = now;
  }

  close(): void {
    if (this.#drawn) this.#out.write("\r\u001b[K");
    this.#drawn = "";
  }
}

const phases = { open: "reading the header", plan: "planning memory", weights: "loading", ready: "ready" } as const;

function lineOf({ phase, bytes, totalBytes, tensor }: LoadProgress): string {
  if (phase !== "weights" || totalBytes === 0) return phases[phase];
  const share = Math.min(1, bytes / totalBytes);
  const full = Math.floor(WIDTH * share);
  const percent = `${Math.floor(100 * share)}`.padStart(3);
  const mb = (n: number) => (n / 1e6).toFixed(n < 1e7 ? 1 : 0);
  return `${phases.weights} ${"█".repeat(full)}${"░".repeat(WIDTH - full)} ${percent} %  ${mb(bytes)} of ${mb(totalBytes)} MB  ${tensor ?? ""}`;
}
