// Text that comes on standard input.
import { fstatSync } from "node:fs";
import process from "node:process";
import { CpmError } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { note } from "./output.ts";

/** No prompt is longer. */
const MOST_BYTES = 256 * 1024 * 1024;
/** How long an input that nobody named is waited for: a service may hold a pipe open that nothing ever comes through. */
const PATIENCE_MS = 5000;

/** Whether something was piped or redirected into this command, rather than a terminal or nothing. */
export function isPiped(): boolean {
  if (process.stdin.isTTY) return false;
  try {
    const found = fstatSync(0);
    return found.isFIFO() || found.isFile() || found.isSocket();
  } catch {
    return false;
  }
}

/** All of standard input as UTF-8. Rejects with CpmError "bad-input" for more than 256 MiB, with the reason on Ctrl-C. */
export async function readInput(): Promise<string> {
  return (await input(false))!;
}

/** What was piped in, without the line break at its end; undefined where that is nothing, or nothing comes, which is told unless `quiet`. */
export async function pipedText(quiet: boolean): Promise<string | undefined> {
  if (!isPiped()) return undefined;
  const found = await input(true);
  if (found === undefined && !quiet && !left)
    note("nothing came on standard input; - waits for it, < /dev/null says that there is none");
  const text = found?.replace(/\r?\n$/, "");
  return text === "" ? undefined : text;
}

let left = false;

/** Waits no longer for input that nobody needs any more. */
export function leaveInput(): void {
  left = true;
  if (isPiped()) process.stdin.destroy();
}

async function input(impatient: boolean): Promise<string | undefined> {
  const { signal } = interrupt;
  signal.throwIfAborted();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const timer = impatient ? setTimeout(() => process.stdin.destroy(), PATIENCE_MS) : undefined;
  const abort = () => process.stdin.destroy();
  signal.addEventListener("abort", abort, { once: true });
  try {
    for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      size += chunk.length;
      if (size > MOST_BYTES)
        throw new CpmError("bad-input", `standard input: more than ${MOST_BYTES} bytes; give a shorter text`, { file: "-" });
      chunks.push(chunk);
    }
  } catch (error) {
    signal.throwIfAborted();
    if ((error as { code?: string }).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
    return undefined;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
  signal.throwIfAborted();
  return Buffer.concat(chunks).toString("utf8");
}
