// Verifiers: is an answer right? Pure functions `verify(sample) -> { ok, reasons }` that run on every runtime; code runs in sandboxes.
export { CpmError, type ErrorCode, type ErrorDetail } from "../../errors.ts";
export { type CallOptions, callsOf, sameValue, verifyToolCalls } from "./calls.ts";
export {
  programOf,
  type Sandbox,
  type SandboxJob,
  type SandboxLanguage,
  type SandboxLimits,
  type SandboxResult,
  verifyCode,
} from "./code.ts";
export { compressionRatio, type GarbledOptions, longestLoop, repeatedShare, verifyText } from "./garbled.ts";
export { followsInstruction, type InstructionOptions, instructionNames, verifyInstructions } from "./ifeval.ts";
export { builtInLanguage, type LanguageDetector, type LanguageProfile, languageDetector } from "./language.ts";
export { type AnswerOptions, finalAnswer, normalForm, sameAnswer, verifyAnswer } from "./mathematics.ts";
export { type ReasoningOptions, verifyReasoning } from "./reasoning.ts";
export { sampleOf } from "./samples.ts";
export type { SandboxOptions } from "./sandbox.ts";
export { plainSentences, sentences } from "./sentences.ts";
export { runVerifiers, type SuiteOptions, type VerifierName, verifierName, verifierNames } from "./suite.ts";
export type { ChatMessage, PlainCall, Sample, Verdict, Verifier, WireCall } from "./types.ts";
export { treebankWords } from "./words.ts";
