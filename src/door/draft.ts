// What drafts, as callers write it -> checked and complete.
import type { DraftOptions } from "../engine/types.ts";
import { CpmError } from "../errors.ts";

export type DraftInput = "lookup" | false;

const defaults: DraftOptions = { lookup: "chat", eagle: undefined, adaptive: true, size: 64 };

/** Throws CpmError "bad-option". */
export function draftOptions(input: DraftInput | undefined): DraftOptions {
  if (input === undefined) return defaults;
  if (input === false) return { ...defaults, lookup: "off" };
  if (input === "lookup") return { ...defaults, lookup: "on" };
  throw new CpmError("bad-option", `draft: expected "lookup", { eagle }, { model } or false, found ${JSON.stringify(input)}`, { field: "draft" });
}
