// A sandbox: workers that run one program at a time, killed when time is over.
import { CpmError } from "../../errors.ts";
import type { Sandbox, SandboxJob, SandboxLanguage, SandboxLimits, SandboxResult } from "./code.ts";
import type { InterpreterLimits } from "./interpreters.ts";

/** What a worker is told first. */
export interface WorkerSetup {
  readonly language: SandboxLanguage;
  readonly limits: InterpreterLimits;
  /** Where the interpreters lie, as absolute addresses; absent: as packages are found. */
  readonly quickjs?: string | undefined;
  readonly pyodide?: string | undefined;
}

export type WorkerAnswer =
  | { readonly type: "ready" }
  /** The interpreter could not be loaded. */
  | { readonly type: "missing"; readonly error: string }
  | { readonly type: "result"; readonly result: SandboxResult };

/** A worker of any runtime. */
export interface SandboxWorker {
  post(job: SandboxJob): void;
  onAnswer(handler: (answer: WorkerAnswer) => void): void;
  /** It ended, by itself or by an error. */
  onDeath(handler: (why: string) => void): void;
  kill(): unknown;
}

export interface SandboxOptions extends SandboxLimits {
  /**
   * Python: start anew for every program (about two seconds). Default false: a worker goes on after a program that ended, with the
   * modules as they were; a program that is set on it could still leave something behind.
   */
  readonly fresh?: boolean | undefined;
  /**
   * Pages need it for JavaScript: the address of a module that exports getQuickJS, the package quickjs-emscripten as one file. Workers of
   * pages have no packages, and bundlers do not put optional ones into them. Elsewhere the package is taken as it is installed.
   */
  readonly quickjs?: string | undefined;
  /** Pages need it for Python: the address of a folder with the files of the package pyodide. Elsewhere the package as it is installed. */
  readonly pyodide?: string | undefined;
  /** Programs that run at once, each in a worker of its own. Default 1. */
  readonly parallel?: number | undefined;
}

/** Milliseconds until a worker must be ready: packages are read from disk or network. */
const START = 120_000;

interface Live {
  readonly worker: SandboxWorker;
  readonly language: SandboxLanguage;
  readonly ready: Promise<void>;
  /** Hears of the answer or the death of the job that runs. */
  settle: ((result: SandboxResult | undefined, why: string) => void) | undefined;
  dead: boolean;
  /** It was not ready in time. */
  late: boolean;
}

const limitsOf = (language: SandboxLanguage, options: SandboxOptions): InterpreterLimits => ({
  timeMs: options.timeMs ?? 10_000,
  memoryBytes: options.memoryBytes ?? (language === "python" ? 512 << 20 : 64 << 20),
  outputChars: options.outputChars ?? 10_000,
});

/** A sandbox over workers that `spawn` starts. */
export function openSandbox(spawn: (setup: WorkerSetup) => SandboxWorker, options: SandboxOptions = {}): Sandbox {
  const most = options.parallel ?? 1;
  const quickjs = addressOf("quickjs", options.quickjs);
  const pyodide = addressOf("pyodide", options.pyodide);
  const idle: Live[] = [];
  const all = new Set<Live>();
  const waiting: (() => void)[] = [];
  let [running, closed] = [0, false];

  const end = async (live: Live): Promise<void> => {
    live.dead = true;
    all.delete(live);
    await live.worker.kill();
  };

  const start = (language: SandboxLanguage): Live => {
    const worker = spawn({ language, limits: limitsOf(language, options), quickjs, pyodide });
    const { promise, resolve, reject } = withResolvers();
    const live: Live = { worker, language, ready: promise, settle: undefined, dead: false, late: false };
    promise.catch(() => {});
    const timer = setTimeout(() => {
      live.late = true;
      reject(new CpmError("io", `the sandbox for ${language} was not ready in ${START / 1000} s`));
      void end(live);
    }, START);
    worker.onAnswer((answer) => {
      if (answer.type === "result") return live.settle?.(answer.result, "");
      clearTimeout(timer);
      if (answer.type === "ready") return resolve();
      const name = language === "python" ? "pyodide" : "quickjs-emscripten";
      const wanted = `${name} is needed to run ${language} (${answer.error}): npm install ${name}`;
      const where = "document" in globalThis ? `, and give its address as ${language === "python" ? "pyodide" : "quickjs"}` : "";
      reject(new CpmError("unsupported", wanted + where, { field: name }));
    });
    worker.onDeath((why) => {
      clearTimeout(timer);
      live.dead = true;
      all.delete(live);
      reject(new CpmError("io", `the sandbox for ${language} ended before it was ready: ${why}`));
      live.settle?.(undefined, why);
    });
    all.add(live);
    return live;
  };

  /** A worker that is ready. One that ended while it began is no program's fault: twice another is tried. */
  const started = async (language: SandboxLanguage): Promise<Live> => {
    for (let left = 2; ; left--) {
      const live = start(language);
      try {
        await live.ready;
        return live;
      } catch (error) {
        await end(live);
        if (left === 0 || closed || live.late || !(error instanceof CpmError && error.code === "io")) throw error;
      }
    }
  };

  const execute = async (job: SandboxJob, signal: AbortSignal | undefined): Promise<SandboxResult> => {
    const at = idle.findIndex(({ language, dead }) => language === job.language && !dead);
    const live = at >= 0 ? idle.splice(at, 1)[0]! : await started(job.language);
    if (signal?.aborted) {
      idle.push(live);
      throw signal.reason as Error;
    }
    const { timeMs } = limitsOf(job.language, options);
    const result = await new Promise<SandboxResult>((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        reject(signal!.reason as Error);
        void end(live);
      };
      // QuickJS looks at the clock itself; this is for what it cannot interrupt, and for Python.
      const timer = setTimeout(
        () => {
          signal?.removeEventListener("abort", stop);
          // Before the worker ends: some runtimes tell its end at once.
          resolve({ outcome: "timeout", error: `more than ${timeMs} ms`, output: "" });
          void end(live);
        },
        job.language === "python" ? timeMs : timeMs + 2000,
      );
      signal?.addEventListener("abort", stop, { once: true });
      live.settle = (answer, why) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", stop);
        resolve(answer ?? { outcome: /memory/i.test(why) ? "memory" : "died", error: why, output: "" });
      };
      live.worker.post(job);
    });
    live.settle = undefined;
    const spoilt = live.dead || options.fresh || result.outcome === "memory" || result.outcome === "died";
    if (spoilt || closed) await end(live);
    else idle.push(live);
    return result;
  };

  return {
    async run(job, signal) {
      if (closed) throw new CpmError("closed", "the sandbox is closed; open another");
      signal?.throwIfAborted();
      if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
      else running++;
      try {
        return await execute(job, signal);
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running--;
      }
    },
    async close() {
      closed = true;
      await Promise.all([...all].map(end));
      idle.length = 0;
    },
  };
}

/** An absolute address; a folder's ends in "/". @throws CpmError "bad-option" for what is none */
function addressOf(field: "quickjs" | "pyodide", given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const page = (globalThis as { location?: { href?: string } }).location?.href;
  try {
    return new URL(field === "pyodide" && !given.endsWith("/") ? `${given}/` : given, page).href;
  } catch (cause) {
    throw new CpmError("bad-option", `${field}: expected an address, found ${JSON.stringify(given)}`, { field }, { cause });
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  return { promise, resolve, reject };
}
