// The inside of a sandbox's worker, whatever runtime it is of.
import type { SandboxJob, SandboxResult } from "./code.ts";
import {
  disarm,
  type Interpreter,
  limitMemories,
  type Pyodide,
  pythonInterpreter,
  type QuickJs,
  quickJsInterpreter,
  refuseSockets,
} from "./interpreters.ts";
import type { WorkerAnswer, WorkerSetup } from "./sandbox.ts";

/** How a runtime finds the interpreters. */
export interface Interpreters {
  /** The module quickjs-emscripten, or one that exports its getQuickJS. */
  quickjs(): Promise<unknown>;
  /** The module pyodide, and where its files lie, if it does not see that itself. */
  pyodide(): Promise<{ readonly module: unknown; readonly indexURL?: string | undefined }>;
}

/** Loads the interpreter, takes away what programs need not have, and answers jobs. */
export async function runInside(
  { language, limits }: WorkerSetup,
  interpreters: Interpreters,
  answer: (message: WorkerAnswer) => void,
  onJob: (handler: (job: SandboxJob) => void) => void,
): Promise<void> {
  let interpreter: Interpreter;
  try {
    if (language === "python") {
      limitMemories(limits.memoryBytes);
      refuseSockets();
      const { module, indexURL } = await interpreters.pyodide();
      const { loadPyodide } = module as { loadPyodide(options: object): Promise<Pyodide> };
      const pyodide = await loadPyodide({
        ...(indexURL === undefined ? {} : { indexURL }),
        env: { HOME: "/home/user" },
        jsglobals: Object.create(null) as object,
        fullStdLib: false,
      });
      interpreter = pythonInterpreter(pyodide, limits);
    } else {
      const { getQuickJS } = (await interpreters.quickjs()) as { getQuickJS(): Promise<QuickJs> };
      interpreter = quickJsInterpreter(await getQuickJS(), limits);
    }
    disarm();
  } catch (error) {
    return answer({ type: "missing", error: (error as Error).message });
  }
  onJob((job) => {
    void (async () => {
      let result: SandboxResult;
      try {
        result = await interpreter(job);
      } catch (error) {
        const why = String((error as Error).message ?? error);
        result = { outcome: /memory/i.test(why) ? "memory" : "died", error: why, output: "" };
      }
      answer({ type: "result", result });
    })();
  });
  answer({ type: "ready" });
}
