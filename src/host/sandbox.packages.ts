// The interpreters as packages, for Node, Deno and Bun; or from addresses, if these are given.
import type { Interpreters } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";

export const packagesOf = ({ quickjs, pyodide }: WorkerSetup): Interpreters => ({
  quickjs: () => (quickjs === undefined ? import("quickjs-emscripten") : import(quickjs)) as Promise<unknown>,
  async pyodide() {
    if (pyodide === undefined) return { module: await import("pyodide") };
    return { module: await import(new URL("pyodide.mjs", pyodide).href), indexURL: pyodide };
  },
});
