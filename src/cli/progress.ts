// Progress: one line on a terminal, gone when the work is done.
import { visibleLine } from "./visible.ts";

const WIDEST_BAR = 30;
/** Narrower ones tell nothing that the percentage does not. */
const NARROWEST_BAR = 6;
/** Milliseconds between two drawings. */
const PACE = 50;

/** Where a bar is drawn. */
export interface Screen {
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface Progress {
  /** "loading". */
  readonly what: string;
  readonly done: number;
  /** Absent or 0: there is only `what`. */
  readonly total?: number;
  /** What matters less, the most important first; shown as far as there is room. */
  readonly more?: readonly string[];
}

/** It only writes: prompt libraries read the input meanwhile, and with it what was meant for the command. */
export class ProgressBar {
  readonly #out: Screen;
  #drawn = "";
  #at = -PACE;

  constructor(out: Screen) {
    this.#out = out;
  }

  show(progress: Progress): void {
    const line = lineOf(progress, (this.#out.columns || 80) - 1);
    const now = performance.now();
    const whole = progress.total !== undefined && progress.done >= progress.total;
    if (line === this.#drawn || (now - this.#at < PACE && !whole)) return;
    this.#out.write(`\r\u001b[K${line}`);
    this.#drawn = line;
    this.#at = now;
  }

  close(): void {
    if (this.#drawn) this.#out.write("\r\u001b[K");
    this.#drawn = "";
  }
}

/** "9.1 of 300 MB". */
export function megabytes(done: number, total: number): string {
  const mb = (n: number) => (n / 1e6).toFixed(total < 1e7 ? 1 : 0);
  return `${mb(done)} of ${mb(total)} MB`;
}

/** A line of at most `width` columns. The percentage is always there, then comes the bar, then the rest. */
export function lineOf({ what, done, total = 0, more = [] }: Progress, width: number): string {
  if (total === 0) return visibleLine(what, width);
  const share = Math.min(1, Math.max(0, done / total));
  const percent = `${Math.floor(100 * share)} %`.padStart(5);
  const bare = what.length + percent.length + 2;
  const rest: string[] = [];
  let free = width - bare - NARROWEST_BAR;
  for (const text of more) {
    if (text.length + 2 > free) break;
    rest.push(`  ${visibleLine(text)}`);
    free -= text.length + 2;
  }
  const room = free + NARROWEST_BAR;
  const bar = room < NARROWEST_BAR ? "" : barOf(Math.min(WIDEST_BAR, room), share);
  return `${what} ${bar}${bar ? " " : ""}${percent}${rest.join("")}`.slice(0, width);
}

function barOf(width: number, share: number): string {
  const full = Math.floor(width * share);
  return "█".repeat(full) + "░".repeat(width - full);
}
