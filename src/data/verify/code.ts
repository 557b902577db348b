// Is a program right? It runs with its tests in a sandbox.
import { responseOf, type Sample, type Verdict, verdict } from "./types.ts";

export type SandboxLanguage = "javascript" | "python";

/** A program, and lines that run behind it in the same scope. */
export interface SandboxJob {
  readonly language: SandboxLanguage;
  readonly code: string;
  readonly tests?: string | undefined;
}

/** How a job ended. "timeout", "memory" and "died": the sandbox stopped it. */
export interface SandboxResult {
  readonly outcome: "passed" | "failed" | "timeout" | "memory" | "died";
  /** The exception, or why the sandbox stopped it. */
  readonly error?: string | undefined;
  /** What it printed, cut at the limit. */
  readonly output: string;
}

export interface SandboxLimits {
  /** Milliseconds that a job may take. Default 10,000. */
  readonly timeMs?: number | undefined;
  /** Bytes of memory: of a JavaScript program (default 64 MiB), of the whole of Python (default 512 MiB). */
  readonly memoryBytes?: number | undefined;
  /** Characters of output that are kept. Default 10,000. */
  readonly outputChars?: number | undefined;
}

export interface Sandbox {
  /**
   * Runs a program and its tests. Programs get no network, no files, no clock of other jobs; whatever they do, this resolves in time.
   * @throws CpmError "unsupported" where the interpreter is not installed, "closed"; an abort stops the program and rejects
   */
  run(job: SandboxJob, signal?: AbortSignal): Promise<SandboxResult>;
  close(): Promise<void>;
}

const fenced = /^[ \t]*(?:```|~~~)[ \t]*([\w+#-]*)[^\n]*\n([\s\S]*?)^[ \t]*(?:```|~~~)[ \t]*$/gm;
const names: Readonly<Record<string, SandboxLanguage>> = {
  js: "javascript",
  javascript: "javascript",
  mjs: "javascript",
  node: "javascript",
  py: "python",
  python: "python",
  python3: "python",
};

/** The program of a sample: `code`, or the last fenced block of the response in its language, or the response as it stands. */
export function programOf(sample: Sample): { readonly code: string; readonly language: SandboxLanguage } {
  const response = responseOf(sample);
  const blocks = [...response.matchAll(fenced)].map(([, name, code]) => ({ language: names[name!.toLowerCase()], code: code! }));
  const named = blocks.findLast(({ language }) => language !== undefined && language === (sample.language ?? language));
  const language = sample.language ?? named?.language ?? "python";
  return { code: sample.code ?? named?.code ?? blocks.at(-1)?.code ?? response, language };
}

/** Runs the sample's program and `tests` in a sandbox: right when all end without an exception. */
export async function verifyCode(sample: Sample, sandbox: Sandbox, signal?: AbortSignal): Promise<Verdict> {
  const { code, language } = programOf(sample);
  if (code.trim() === "") return verdict(["code: there is no program"]);
  const { tests = "" } = sample;
  const { outcome, error } = await sandbox.run(
    { language, code, tests: typeof tests === "string" ? tests : tests.join("\n") },
    signal,
  );
  return verdict(outcome === "passed" ? [] : [`code ${outcome}: ${error ?? ""}`.trim()]);
}
