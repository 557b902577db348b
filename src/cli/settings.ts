// Sampling options that a conversation may change as it goes, by the names of their flags.
import { generateRequest } from "../door/options.ts";
import { CpmError, type GenerateOptions } from "../index.ts";
import { explain } from "./options.ts";

const OPTIONS = {
  "max-tokens": "maxTokens",
  temperature: "temperature",
  "top-k": "topK",
  "top-p": "topP",
  "min-p": "minP",
  "repetition-penalty": "repetitionPenalty",
  "frequency-penalty": "frequencyPenalty",
  "presence-penalty": "presencePenalty",
  seed: "seed",
} as const satisfies Record<string, keyof GenerateOptions>;

export type Setting = keyof typeof OPTIONS;
export const SETTINGS = Object.keys(OPTIONS) as readonly Setting[];

export const settingOf = (options: GenerateOptions, setting: Setting): number | undefined => options[OPTIONS[setting]];

/** The options with one of them changed; undefined takes it back to its default. @throws CpmError "bad-option" for what it cannot be */
export function withSetting(options: GenerateOptions, setting: Setting, text: string | undefined): GenerateOptions {
  const value = text === undefined ? undefined : Number(text);
  if (value !== undefined && Number.isNaN(value))
    throw new CpmError("bad-option", `${setting}: expected a number, found ${JSON.stringify(text!.slice(0, 80))}`, {
      field: setting,
    });
  const changed = { ...options, [OPTIONS[setting]]: value };
  try {
    generateRequest(changed, 0, "text");
  } catch (error) {
    if (!(error instanceof CpmError)) throw error;
    throw new CpmError(error.code, explain(error).replace(/^--/, ""), error.detail, { cause: error });
  }
  return changed;
}
