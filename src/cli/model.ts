// Loading a model for a command, with progress where a person watches.
import { existsSync } from "node:fs";
import process from "node:process";
import { defaultModel, load } from "cpm-wasm";
import { find, isPrefixed, parseRef } from "cpm-wasm/hub";
import type { DraftInput, LoadOptions, LoadProgress, Model } from "../index.ts";
import type { Parsed } from "./args.ts";
import { pullShown } from "./hub.ts";
import { interrupt } from "./interrupt.ts";
import { note } from "./output.ts";
import { megabytes, ProgressBar } from "./progress.ts";
import { visibleLine } from "./visible.ts";

/**
 * What a command loads: the embedded model without a name; a file, folder or URL; a model of the hub, which is pulled when it is not
 * there. A path that exists is never taken for a name. `quiet`: nothing is told on the way.
 */
export async function modelOf(name: string | undefined, quiet = false): Promise<string | URL> {
  if (name === undefined) return defaultModel;
  if (/^(?:\.|\/|~|file:|data:|blob:|http:)/i.test(name) || /^https:.*\/resolve\//i.test(name)) return name;
  if (!isPrefixed(name) && existsSync(name)) return name;
  if (!parseRef(name)) return name;
  const found = await find(name);
  return (found ?? (await pullShown(name, quiet))).path;
}

/** Loads `name`, or the embedded model. `quiet`: no progress bar. Rejects as load() does, on Ctrl-C with an AbortError. */
export async function openModel(name: string | undefined, options: LoadOptions, quiet: boolean): Promise<Model> {
  const model = await modelOf(name, quiet);
  const draft = await draftOf(options.draft, quiet);
  const bar = !quiet && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  const onProgress = bar && ((progress: LoadProgress) => showLoad(bar, progress));
  try {
    return await load(model, { ...options, draft, signal: interrupt.signal, onProgress });
  } finally {
    bar?.close();
  }
}

/** Says that texts are longer than what the model was made for, where no --rope-factors were given for that; nothing with --json. */
export function noteLength({ info: { config } }: Model, tokens: number, args: Parsed): void {
  if (tokens > config.contextLength && args.text("rope-factors") === undefined && !args.flag("json"))
    note(
      visibleLine(
        `${config.name} was made for ${config.contextLength} tokens, and texts have ${tokens}: what is measured beyond tells of that; --rope-factors gives factors for longer ones`,
      ),
    );
}

/** What drafts, with its model or head found by name, as a model is. */
export async function draftOf(draft: DraftInput | undefined, quiet = false): Promise<DraftInput | undefined> {
  if (typeof draft !== "object" || draft === null) return draft;
  if ("model" in draft && typeof draft.model === "string") return { ...draft, model: await modelOf(draft.model, quiet) };
  if ("mtp" in draft && typeof draft.mtp === "string") return { ...draft, mtp: await modelOf(draft.mtp, quiet) };
  if ("eagle" in draft && typeof draft.eagle === "string") return { ...draft, eagle: await modelOf(draft.eagle, quiet) };
  return draft;
}

const phases = {
  download: "pulling",
  open: "reading the header",
  plan: "planning memory",
  weights: "loading",
  ready: "ready",
} as const;

function showLoad(bar: ProgressBar, { phase, bytes, totalBytes, tensor }: LoadProgress): void {
  const total = phase === "weights" || phase === "download" ? totalBytes : 0;
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
