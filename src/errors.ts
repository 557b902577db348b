import { printable } from "./shown.ts";

/** What went wrong, as a closed set that callers can switch on. */
export type ErrorCode =
  | "bad-model" // the file contradicts its format or itself
  | "unsupported" // well-formed, but not something this runtime runs
  | "bad-input" // text, tokens or saved state that this model cannot take
  | "bad-option" // an option outside its documented range, or unknown
  | "out-of-memory" // the memory plan does not fit
  | "context-overflow" // more tokens than the context holds
  | "busy" // as many generations run and wait as the model was loaded for; or another process works in a folder
  | "closed" // the model or session was already disposed
  | "io" // a source could not be read
  | "engine-failed"; // a worker or kernel died; the model is unusable

/** Where in which file, and what stood there. Only the fields that apply are set. */
export interface ErrorDetail {
  file?: string;
  /** Byte offset in `file`. */
  offset?: number;
  /** Metadata key, tensor name or option name. */
  field?: string;
  expected?: string;
  found?: string;
}

/** A message holds texts of files, addresses and callers: none makes it longer, or steers the terminal that shows it. */
const LONGEST = 4000;
const LONGEST_DETAIL = 1000;

function printableDetail(detail: ErrorDetail): ErrorDetail {
  const shown = { ...detail };
  for (const key of ["file", "field", "expected", "found"] as const)
    if (typeof shown[key] === "string") shown[key] = printable(shown[key], LONGEST_DETAIL);
  return shown;
}

/**
 * Every failure this package reports, except aborts (which reject with the signal's own reason).
 * The message says what happened, where, and what to do; `code` and `detail` say it to programs.
 */
export class CpmError extends Error {
  readonly code: ErrorCode;
  readonly detail: ErrorDetail;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}, options?: ErrorOptions) {
    super(printable(message, LONGEST, "\n\t"), options);
    this.name = "CpmError";
    this.code = code;
    this.detail = printableDetail(detail);
  }
}

/** Names that other libraries give to what an option here is called. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  maxcompletiontokens: "maxTokens",
  maxnewtokens: "maxTokens",
  npredict: "maxTokens",
  numpredict: "maxTokens",
  maxlength: "maxTokens",
  repeatpenalty: "repetitionPenalty",
  stopsequences: "stop",
  stopstrings: "stop",
  nctx: "contextSize",
  numctx: "contextSize",
  contextlength: "contextSize",
  ctx: "contextSize",
  nthreads: "threads",
  numthreads: "threads",
  nbatch: "batchSize",
  cachetype: "kvType",
  toplogprobs: "logprobs",
  abortsignal: "signal",
  thinking: "enableThinking",
};

const bare = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** Edits that turn one short text into another. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

/** The name that a misspelt or foreign one was probably meant as; undefined when none is near. */
export function nearest(wrong: string, names: readonly string[]): string | undefined {
  if (wrong.length > 64) return undefined;
  const key = bare(wrong);
  const meant = Object.hasOwn(OTHER_NAMES, key) ? OTHER_NAMES[key] : undefined;
  const known = meant === undefined ? undefined : names.find((name) => bare(name) === bare(meant));
  if (known !== undefined) return known;
  let best: string | undefined;
  let least = Math.max(1, Math.floor(key.length / 3)) + 1;
  for (const name of names) {
    const away = distance(key, bare(name));
    if (away < least) [best, least] = [name, away];
  }
  return best;
}

/** "; did you mean maxTokens?", or nothing. `prefix`: what stands before a name, as "--". */
export function didYouMean(wrong: string, names: readonly string[], prefix = ""): string {
  const name = nearest(wrong, names);
  return name === undefined ? "" : `; did you mean ${prefix}${name}?`;
}

/** Why little memory may be refused where much is free. */
export const PROCESS_LIMITS =
  "look at the limits of this process: engines reserve some 10 GiB of addresses for a WebAssembly memory, which ulimit -v counts";

/** Engines' words for memory that they could not get. */
const NO_MEMORY = /allocat|out of memory|invalid (?:typed )?array (?:buffer )?length|array too large/i;

/**
 * An error as callers may see it. A trap leaves the memory in no state to go on with: "engine-failed". Memory that the runtime refused,
 * whatever asked for it, is "out-of-memory". Others are themselves.
 */
export function typed(error: unknown): unknown {
  if (error instanceof WebAssembly.RuntimeError)
    return new CpmError(
      "engine-failed",
      `the kernels stopped: ${error.message}; close this model and load it again, and report it if it happens again`,
      {},
      { cause: error },
    );
  const memory =
    error instanceof RangeError || error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError;
  if (!memory || !NO_MEMORY.test(error.message)) return error;
  return new CpmError(
    "out-of-memory",
    `this process could not get the memory it asked for (${error.message}); use a smaller contextSize, kvType "q8", or a smaller model, and ${PROCESS_LIMITS}`,
    {},
    { cause: error },
  );
}

/** "file.gguf at byte 4096: tensor count: expected at most 65536, found 2^63 (the file is damaged or not a model)". */
export function modelError(
  from: ErrorDetail,
  what: string,
  todo = "the file is damaged or was written by something else; download or convert it again",
): CpmError {
  const detail = printableDetail(from);
  const where = [detail.file, detail.offset === undefined ? undefined : `at byte ${detail.offset}`].filter(Boolean).join(" ");
  const facts = [detail.expected && `expected ${detail.expected}`, detail.found && `found ${detail.found}`]
    .filter(Boolean)
    .join(", ");
  const subject = [detail.field, what].filter(Boolean).join(": ");
  return new CpmError("bad-model", `${[where, subject, facts].filter(Boolean).join(": ")} (${todo})`, detail);
}
