// A sandbox's worker in a page. Its first message says what it is for.
import type { SandboxJob } from "../data/verify/code.ts";
import { type Interpreters, runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";

/** By address only: a worker has no packages. */
const fromAddresses = ({ quickjs, pyodide }: WorkerSetup): Interpreters => {
  const load = (address: string): Promise<unknown> => import(/* @vite-ignore */ /* webpackIgnore: true */ address);
  const missing = () => new Error("its address is not given");
  return {
    async quickjs() {
      if (quickjs === undefined) throw missing();
      return await load(quickjs);
    },
    async pyodide() {
      if (pyodide === undefined) throw missing();
      return { module: await load(`${pyodide}pyodide.mjs`), indexURL: pyodide };
    },
  };
};

const answer = globalThis.postMessage.bind(globalThis) as (message: unknown) => void;
const listen = globalThis.addEventListener.bind(globalThis);
listen(
  "message",
  (event) => {
    const setup = (event as MessageEvent<WorkerSetup>).data;
    void runInside(setup, fromAddresses(setup), answer, (handler) => {
      listen("message", (next) => handler((next as MessageEvent<SandboxJob>).data));
    });
  },
  { once: true },
);
