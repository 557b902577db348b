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
} from "./interpreters.ts";
import type { WorkerAnswer, WorkerSetup } from "./sandbox.ts";

/** Loads the interpreter, takes away what programs need not have, and answers jobs. */
export async function runInside(
  { language, limits, pyodide: folder }: WorkerSetup,
  answer: (message: WorkerAnswer) => void,
  onJob: (handler: (job: SandboxJob) => void) => void,
): Promise<void> {
  let interpreter: Interpreter;
  try {
    if (language === "python") {
      limitMemories(limits.memoryBytes);
      const loaded: unknown =
        folder === undefined
          ? await import("pyodide")
          : await import(/* @vite-ignore */ /* webpackIgnore: true */ new URL("pyodide.mjs", folder).href);
      const { loadPyodide } = loaded as { loadPyodide(options: object): Promise<Pyodide> };
      const pyodide = await loadPyodide({
        ...(folder === undefined ? {} : { indexURL: folder }),
        env: { HOME: "/home/user" },
        jsglobals: Object.create(null) as object,
        fullStdLib: false,
      });
      interpreter = pythonInterpreter(pyodide, limits);
      disarm();
    } else {
      const { getQuickJS } = (await import("quickjs-emscripten")) as unknown as { getQuickJS(): Promise<QuickJs> };
      interpreter = quickJsInterpreter(await getQuickJS(), limits);
      disarm();
    }
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
