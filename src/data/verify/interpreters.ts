// What runs inside a sandbox's worker: QuickJS for JavaScript, Pyodide for Python. Nothing of the worker can be reached from a program.
import type { SandboxJob, SandboxResult } from "./code.ts";

export interface InterpreterLimits {
  readonly timeMs: number;
  readonly memoryBytes: number;
  readonly outputChars: number;
}
export type Interpreter = (job: SandboxJob) => SandboxResult | Promise<SandboxResult>;

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text);

/** A value of a program as a line shows it. */
const printed = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? typeof value));

interface Handle {
  dispose(): void;
}
interface QuickJsContext extends Handle {
  readonly runtime: { executePendingJobs(most?: number): unknown };
  readonly global: Handle;
  newFunction(name: string, body: (...args: Handle[]) => void): Handle;
  newObject(): Handle;
  setProp(target: Handle, name: string, value: Handle): void;
  dump(handle: Handle): unknown;
  evalCode(code: string, file: string): { readonly error?: Handle; readonly value?: Handle };
  getPromiseState(handle: Handle): { readonly type: string; readonly error?: Handle; readonly value?: Handle };
}
interface QuickJsRuntime extends Handle {
  setMemoryLimit(bytes: number): void;
  setMaxStackSize(bytes: number): void;
  setInterruptHandler(handler: () => boolean): void;
  newContext(): QuickJsContext;
}
export interface QuickJs {
  newRuntime(): QuickJsRuntime;
}

/** JavaScript in QuickJS: a runtime for every job, with no function of the host but one that takes what is printed. */
export function quickJsInterpreter(quickjs: QuickJs, limits: InterpreterLimits): Interpreter {
  return ({ code, tests = "" }) => {
    const runtime = quickjs.newRuntime();
    runtime.setMemoryLimit(limits.memoryBytes);
    runtime.setMaxStackSize(256 << 10);
    const end = Date.now() + limits.timeMs;
    let late = false;
    runtime.setInterruptHandler(() => (late ||= Date.now() > end));
    const context = runtime.newContext();
    let output = "";
    const failed = (error: unknown): SandboxResult => {
      const shown = error as { name?: string; message?: string; stack?: string } | undefined;
      // Without room for an error QuickJS throws null; by the time that is seen the memory may be free again.
      const bare = error === null ? "null was thrown, by the program or for want of memory" : printed(error);
      const text = shown?.message === undefined ? bare : `${shown.name ?? "Error"}: ${shown.message}`;
      const memory = /out of memory/i.test(text);
      const outcome = late ? "timeout" : memory ? "memory" : "failed";
      return {
        outcome,
        error: cut(late ? `more than ${limits.timeMs} ms` : text, 2000),
        output: cut(output, limits.outputChars),
      };
    };
    try {
      const print = context.newFunction("print", (...args) => {
        if (output.length <= limits.outputChars) output += `${args.map((arg) => printed(context.dump(arg))).join(" ")}\n`;
      });
      const console = context.newObject();
      for (const name of ["log", "info", "warn", "error", "debug"]) context.setProp(console, name, print);
      context.setProp(context.global, "print", print);
      context.setProp(context.global, "console", console);
      print.dispose();
      console.dispose();
      for (const [text, file] of [
        [code, "program.js"],
        [tests, "tests.js"],
      ] as const) {
        const result = context.evalCode(text, file);
        if (result.error) {
          const error = context.dump(result.error);
          result.error.dispose();
          return failed(error);
        }
        const jobs = context.runtime.executePendingJobs() as { error?: Handle; dispose?: () => void };
        if (jobs.error) {
          const error = context.dump(jobs.error);
          jobs.error.dispose();
          result.value?.dispose();
          return failed(error);
        }
        const state = result.value ? context.getPromiseState(result.value) : undefined;
        if (state?.type === "rejected" && state.error) {
          const error = context.dump(state.error);
          state.error.dispose();
          result.value?.dispose();
          return failed(error);
        }
        result.value?.dispose();
        if (state?.type === "pending") return failed(new Error("its promise is never settled"));
      }
      return late ? failed(undefined) : { outcome: "passed", output: cut(output, limits.outputChars) };
    } catch (error) {
      return failed(error);
    } finally {
      try {
        context.dispose();
        runtime.dispose();
      } catch {
        // A runtime that ran out of memory cannot always be taken down; its module is dropped with the worker.
      }
    }
  };
}

export interface Pyodide {
  runPython(code: string): unknown;
}

/** Runs before any program: keeps what modules hold, runs programs in scopes of their own, and puts everything back behind them. */
const RUNNER = `
def _runner(most):
    import sys, builtins, io, json, traceback
    import math, re, collections, itertools, functools, heapq, bisect, string, random, typing, copy, operator, datetime, statistics
    import fractions, decimal, hashlib, cmath, os, time, enum, dataclasses, abc, array, queue, textwrap, unicodedata, types, contextlib, queue
    from _pyodide import _importhook
    _importhook.jsfinder.jsproxies.clear()
    closed = ("js", "pyodide_js", "pyodide", "_pyodide", "_pyodide_core", "micropip", "ctypes", "_ctypes", "gc")
    class Closed:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.split(".")[0] in closed:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path[:] = [Closed] + [f for f in sys.meta_path if f is not _importhook.jsfinder]
    for name in list(sys.modules):
        if name.split(".")[0] in closed:
            del sys.modules[name]
    for name in ("fork", "forkpty", "execv", "execve", "posix_spawn", "system", "popen", "_exit", "abort", "kill"):
        if hasattr(os, name):
            delattr(os, name)
    modules = dict(sys.modules)
    state = [(module.__dict__, dict(module.__dict__)) for module in modules.values() if hasattr(module, "__dict__")]
    paths, finders, hooks, depth = list(sys.path), list(sys.meta_path), list(sys.path_hooks), sys.getrecursionlimit()
    class Out(io.StringIO):
        def write(self, text):
            return super().write(text) if self.tell() < most else len(text)
    def restore():
        for name in list(sys.modules):
            if name not in modules:
                del sys.modules[name]
        sys.modules.update(modules)
        for live, kept in state:
            for key in [key for key in live if key not in kept]:
                del live[key]
            live.update(kept)
        sys.path[:], sys.meta_path[:], sys.path_hooks[:] = paths, finders, hooks
        sys.setrecursionlimit(depth)
    dumps, formatted, compiled, run = json.dumps, traceback.format_exception_only, compile, exec
    def once(code, tests):
        out = Out()
        sys.stdout = sys.stderr = out
        sys.stdin = io.StringIO("")
        random.seed(0)
        scope = {"__name__": "program", "__builtins__": builtins}
        error, kind = None, "passed"
        try:
            run(compiled(code, "program.py", "exec"), scope)
            run(compiled(tests, "tests.py", "exec"), scope)
        except BaseException as caught:
            kind = "memory" if isinstance(caught, MemoryError) else "failed"
            try:
                error = "".join(formatted(type(caught), caught)).strip()
            except BaseException:
                error = type(caught).__name__
        scope.clear()
        restore()
        return dumps({"outcome": kind, "error": error, "output": out.getvalue()[:most]})
    return once
_runner
`;

/** Python in Pyodide. The caller takes away what JavaScript of the worker could reach (`disarm`) before it runs anything. */
export function pythonInterpreter(pyodide: Pyodide, limits: InterpreterLimits): Interpreter {
  const make = pyodide.runPython(RUNNER) as (most: number) => (code: string, tests: string) => string;
  const once = make(limits.outputChars);
  return ({ code, tests = "" }) => {
    const { outcome, error, output } = JSON.parse(once(code, tests)) as SandboxResult & { error: string | null };
    return { outcome, output, ...(error === null || error === undefined ? {} : { error: cut(error, 2000) }) };
  };
}

/**
 * Takes from this worker what a program could do harm with, should it find a way from its interpreter to JavaScript: network, processes,
 * files, other threads, and code from texts. Memories may not grow beyond `memoryBytes`.
 */
export function disarm(): void {
  const scope = globalThis as Record<string, unknown>;
  const gone = [
    ..."fetch WebSocket EventSource XMLHttpRequest Worker SharedWorker BroadcastChannel MessageChannel importScripts indexedDB caches".split(
      " ",
    ),
    ..."navigator localStorage sessionStorage process require module Deno Bun Request Response WebTransport RTCPeerConnection".split(
      " ",
    ),
    ..."postMessage onmessage self global Buffer".split(" "),
  ];
  // Names of a worker's scope stand in it, or in what it inherits from.
  for (
    let place: object | null = scope;
    place && place !== Object.prototype;
    place = Object.getPrototypeOf(place) as object | null
  )
    for (const name of gone) {
      try {
        if (place === scope || Object.hasOwn(place, name))
          Object.defineProperty(place, name, { value: undefined, configurable: false, writable: false });
      } catch {
        // Of another realm's making; it is not there, or it does no harm.
      }
    }
  const refuse = function refuse(): never {
    throw new Error("code from texts is not allowed here");
  };
  const kinds = [() => {}, async () => {}, function* () {}, async function* () {}];
  for (const kind of kinds)
    Object.defineProperty(Object.getPrototypeOf(kind) as object, "constructor", {
      value: refuse,
      configurable: false,
      writable: false,
    });
  for (const name of ["eval", "Function"])
    Object.defineProperty(scope, name, { value: refuse, configurable: false, writable: false });
}

/** From here on no WebAssembly memory grows beyond a size. Call before an interpreter is loaded. */
export function limitMemories(bytes: number): void {
  const { prototype } = WebAssembly.Memory;
  const grow = prototype.grow;
  prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
    const { buffer } = this;
    if (buffer.byteLength + pages * 65_536 > bytes) throw new RangeError("the sandbox's memory is full");
    return grow.call(this, pages);
  };
}

/** "Permission denied", as WebAssembly's C library numbers it. */
const DENIED = -2;

/**
 * From here on programs get no sockets: calls of the system that make or use them are refused, whatever stands behind them. Emscripten
 * makes WebSockets of sockets, in Node and Bun by the package ws, which Bun always has. Call before an interpreter is loaded.
 */
export function refuseSockets(): void {
  const refuse = (imports?: WebAssembly.Imports): WebAssembly.Imports | undefined => {
    for (const functions of Object.values(imports ?? {}))
      for (const name of "socket connect bind listen accept4 sendto recvfrom sendmsg recvmsg getsockname getpeername".split(
        " ",
      )) {
        const full = `__syscall_${name}`;
        if (Object.hasOwn(functions, full)) functions[full] = () => DENIED;
      }
    return imports;
  };
  const { instantiate, instantiateStreaming } = WebAssembly;
  const { Instance } = WebAssembly;
  Object.assign(WebAssembly, {
    instantiate: (source: BufferSource, imports?: WebAssembly.Imports) => instantiate(source, refuse(imports)),
    ...(instantiateStreaming
      ? {
          instantiateStreaming: (source: Response, imports?: WebAssembly.Imports) =>
            instantiateStreaming(source, refuse(imports)),
        }
      : {}),
    Instance: new Proxy(Instance, {
      construct: (target, [module, imports]) => new target(module as WebAssembly.Module, refuse(imports as WebAssembly.Imports)),
    }),
  });
}
