// Verifiers as families ask them: by name, with what they need at hand.
import type { SandboxJob, SandboxResult } from "../data/verify/code.ts";
import { runVerifiers, type SuiteOptions, type VerifierName } from "../data/verify/suite.ts";
import { type Sample, type Verdict, verdict } from "../data/verify/types.ts";
import { CpmError } from "../errors.ts";

export type Judge = (names: readonly string[], sample: Sample, signal: AbortSignal) => Promise<Readonly<Record<string, Verdict>>>;

/** What assistants say who cannot or will not, and what points at a text that nobody else sees. */
const REFUSED =
  /\b(?:as an ai\b|as a language model|i(?:'|’)m sorry, but i can(?:'|’|no)t|i can(?:'|’|no)t (?:help|assist) with)|作为(?:一个)?(?:人工智能|AI|语言模型)/i;
const POINTS_AWAY =
  /\b(?:(?:according to|based on|in|from) the (?:given |provided |above )?(?:text|passage|context|excerpt)|(?:the|this) (?:text|passage|excerpt) (?:says|states|mentions|describes|explains))\b|根据(?:上述|所给|提供的)?(?:文本|文章|段落)/i;

/** Is it an answer, and does it stand by itself? */
export function verifyPlain(text: string, alone: boolean): Verdict {
  const reasons: string[] = [];
  if (text.trim() === "") reasons.push("empty answer");
  if (REFUSED.test(text)) reasons.push("refusal in the answer");
  if (alone && POINTS_AWAY.test(text)) reasons.push("text that is not there is pointed at");
  return verdict(reasons);
}

/** The verifiers of src/data/verify, and "plain" and "alone" of above. */
export const judgeWith =
  (options: SuiteOptions): Judge =>
  async (names, sample, signal) => {
    const isOwn = (name: string): boolean => name === "plain" || name === "alone";
    const own = names.filter(isOwn);
    const suite = names.filter((name) => !isOwn(name)) as VerifierName[];
    const last = sample.messages?.findLast(({ role }) => role === "assistant")?.content ?? "";
    return {
      ...Object.fromEntries(own.map((name) => [name, verifyPlain(last, name === "alone")])),
      ...(await runVerifiers(suite, sample, options, signal)),
    };
  };

/** Runs programs in the sandbox. @throws CpmError "bad-option" where there is none */
export const executeWith =
  ({ sandbox }: SuiteOptions) =>
  (job: SandboxJob, signal: AbortSignal): Promise<SandboxResult> => {
    if (!sandbox)
      throw new CpmError("bad-option", "verify.sandbox: programs need one; give createSandbox()", { field: "sandbox" });
    return sandbox.run(job, signal);
  };
