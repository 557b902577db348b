// Ctrl-C: asks the work in progress to end, and insists when asked again.
import process from "node:process";

/** Aborted by Ctrl-C; the signal of everything a command waits for. */
export const interrupt = new AbortController();

let claim: (() => boolean) | undefined;

/** Lets `take` deal with a Ctrl-C first: true when it did. */
export function claimInterrupts(take: (() => boolean) | undefined): void {
  claim = take;
}

export function onInterrupt(): void {
  if (interrupt.signal.aborted) process.exit(130);
  if (!claim?.()) interrupt.abort(new DOMException("interrupted", "AbortError"));
}
