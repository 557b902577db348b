// Verifiers by their names: what commands, generators and reports run.
import { CpmError, didYouMean } from "../../errors.ts";
import type { DialectName } from "../../text/calls/dialect.ts";
import { type CallOptions, verifyToolCalls } from "./calls.ts";
import { type Sandbox, verifyCode } from "./code.ts";
import { type GarbledOptions, verifyText } from "./garbled.ts";
import { verifyInstructions } from "./ifeval.ts";
import type { LanguageDetector } from "./language.ts";
import { type AnswerOptions, verifyAnswer } from "./mathematics.ts";
import { type ReasoningOptions, verifyReasoning } from "./reasoning.ts";
import type { Sample, Verdict } from "./types.ts";

export const verifierNames = ["instructions", "instructions-loose", "tools", "reasoning", "answer", "code", "text"] as const;
export type VerifierName = (typeof verifierNames)[number];

export interface SuiteOptions {
  readonly language?: LanguageDetector | undefined;
  readonly dialect?: DialectName | undefined;
  readonly calls?: CallOptions | undefined;
  readonly reasoning?: ReasoningOptions | undefined;
  readonly answer?: AnswerOptions | undefined;
  readonly text?: GarbledOptions | undefined;
  /** Needed for "code". */
  readonly sandbox?: Sandbox | undefined;
}

/** @throws CpmError "bad-option" for a name that no verifier has */
export function verifierName(name: string): VerifierName {
  const known = verifierNames.find((one) => one === name);
  if (known) return known;
  const hint = didYouMean(name, verifierNames);
  throw new CpmError("bad-option", `there is no verifier ${JSON.stringify(name)}${hint}; known are ${verifierNames.join(", ")}`, {
    field: name,
  });
}

/**
 * What the named verifiers say of a sample, in order.
 * @throws what they throw: CpmError "bad-input" for samples that they cannot judge
 */
export async function runVerifiers(
  names: readonly VerifierName[],
  sample: Sample,
  options: SuiteOptions = {},
  signal?: AbortSignal,
): Promise<Readonly<Partial<Record<VerifierName, Verdict>>>> {
  const { language, dialect } = options;
  const out: Partial<Record<VerifierName, Verdict>> = {};
  for (const name of names) {
    if (name === "instructions") out[name] = verifyInstructions(sample, { language });
    else if (name === "instructions-loose") out[name] = verifyInstructions(sample, { language, mode: "loose" });
    else if (name === "tools") out[name] = verifyToolCalls(sample, { dialect, ...options.calls });
    else if (name === "reasoning") out[name] = verifyReasoning(sample, { dialect, ...options.reasoning });
    else if (name === "answer") out[name] = verifyAnswer(sample, options.answer);
    else if (name === "text") out[name] = verifyText(sample, options.text);
    else {
      if (!options.sandbox)
        throw new CpmError("bad-option", "sandbox: programs need one; give createSandbox()", { field: "sandbox" });
      out[name] = await verifyCode(sample, options.sandbox, signal);
    }
  }
  return out;
}
