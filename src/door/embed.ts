// Options of embed() as callers write them -> checked and complete.
import type { EmbedOptions, LoraInfo } from "../engine/types.ts";
import { bad, given, tokensOf } from "./given.ts";
import { type LoraChoice, loraUses } from "./lora.ts";
import { checkSignal, flag, oneOf } from "./options.ts";

export interface EmbedInput {
  /** Which tokens' final hidden states make the vector: the "mean" of all (default), or the "last" one's. */
  readonly pooling?: "mean" | "last" | undefined;
  /** Scale vectors to length 1. Default true. */
  readonly normalize?: boolean | undefined;
  /** LoRA adapters, as for generate(). */
  readonly lora?: LoraChoice | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Embeddings {
  /** A vector for each text, in order. */
  readonly embeddings: readonly Float32Array[];
  readonly usage: { readonly promptTokens: number };
}

/** Throws CpmError "bad-input" for what is no text, "bad-option" for options. */
export function embedRequest(
  texts: string | readonly (string | readonly number[])[],
  input: EmbedInput,
  loaded: readonly LoraInfo[] = [],
): { list: readonly (string | readonly number[])[]; full: EmbedOptions; signal: AbortSignal | undefined } {
  const options = given(input, ["pooling", "normalize", "lora", "signal"]);
  checkSignal(options.signal);
  flag("normalize", options.normalize);
  const pooling = oneOf<"mean" | "last">("pooling", options.pooling, ["mean", "last"], "mean");
  const all: unknown = typeof texts === "string" ? [texts] : texts;
  if (!Array.isArray(all)) bad("texts", "a text, or a list of texts or of their token ids", texts);
  const list = all.map((text: unknown, i) => (typeof text === "string" ? text : tokensOf(`texts[${i}]`, text)));
  return {
    list,
    full: { pooling, normalize: options.normalize ?? true, lora: loraUses(options.lora, loaded) },
    signal: options.signal,
  };
}
