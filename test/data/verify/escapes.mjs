// What programs may try in a sandbox: [name, program, how it may end, tests]. The host must be as it was behind each of them.
const absent =
  "process require fetch XMLHttpRequest WebSocket Worker Deno Bun std os setTimeout importScripts navigator self window document";

export const escapes = {
  javascript: [
    ["an endless loop", "for (;;);", ["timeout"]],
    ["an endless loop that catches what stops it", "for (;;) { try { for (;;); } catch {} finally { for (;;); } }", ["timeout"]],
    ["endless promises", "const f = () => Promise.resolve().then(f); f()", ["timeout", "failed"]],
    ["null is thrown", "throw null", ["failed"]],
    ["an endless pattern", "/(a+)+$/.test('a'.repeat(40) + 'b')", ["timeout"]],
    ["numbers without an end", "let x = 3n; for (;;) x *= x", ["timeout", "memory", "failed", "died"]],
    ["endless output", "for (;;) print('x'.repeat(1000))", ["timeout", "memory"]],
    [
      "a printed object that does not end",
      "print({ toJSON() { for (;;); }, get a() { for (;;); } })",
      ["timeout", "passed", "failed"],
    ],
    ["4 GB by lists", "const a = []; for (;;) a.push(new Array(1e6).fill(1))", ["memory", "timeout", "failed", "died"]],
    ["4 GB at once", "new Uint8Array(4 * 2 ** 30).fill(1)", ["memory", "failed"]],
    ["4 GB of text", "let s = 'x'; for (;;) s += s + 'y'", ["memory", "timeout", "failed", "died"]],
    ["deep calls", "function f() { f() } f()", ["failed"]],
    [
      "deep values",
      "let a = []; for (let i = 0; i < 1e6; i++) a = [a]; JSON.stringify(a)",
      ["failed", "memory", "died", "timeout"],
    ],
    ["waiting", "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", ["failed", "timeout", "died"]],
    ["fetch", "fetch('http://127.0.0.1:9/')", ["failed"]],
    ["a socket", "new WebSocket('ws://127.0.0.1:9/')", ["failed"]],
    ["files by require", "require('node:fs').readFileSync('/etc/passwd')", ["failed"]],
    ["files by import", "import('node:fs')", ["failed"]],
    ["files by a module", "import fs from 'node:fs'", ["failed"]],
    ["QuickJS's own modules", "import('std').then((std) => std.open('/etc/passwd', 'r'))", ["failed"]],
    ["a worker", "new Worker('data:text/javascript,')", ["failed"]],
    ["a process", "process.binding('spawn_sync')", ["failed"]],
    [
      "names of the host",
      `for (const n of ${JSON.stringify(absent.split(" "))}) if (typeof globalThis[n] !== "undefined") throw new Error(n)`,
      ["passed"],
    ],
    [
      "the host by the constructor of its function",
      "if (print.constructor.constructor('return typeof process')() !== 'undefined') throw new Error('found')",
      ["passed"],
    ],
    [
      "polluted prototypes",
      "Object.prototype.polluted = 1; Array.prototype.push = () => 7; JSON.parse = () => 0; globalThis.left = 1; Object.prototype.then = (f) => f(1)",
      ["passed", "failed"],
    ],
    [
      "and nothing of it stays",
      "if (({}).polluted || [].push(1) !== 1 || JSON.parse('2') !== 2 || typeof left !== 'undefined') throw new Error('left')",
      ["passed"],
    ],
    [
      "constructor of an error",
      "throw Object.assign(new Error('x'), { name: { toString() { for (;;); } }, message: {} })",
      ["failed", "timeout"],
    ],
  ],
  python: [
    ["an endless loop", "while True: pass", ["timeout"]],
    ["an endless loop that catches all", "while True:\n  try:\n    while True: pass\n  except BaseException: pass", ["timeout"]],
    ["an endless pattern", "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", ["timeout"]],
    ["a number without an end", "x = 10 ** 10 ** 9", ["timeout", "memory", "failed", "died"]],
    ["sleep", "import time\ntime.sleep(1000)", ["timeout", "failed"]],
    ["4 GB", "x = []\nwhile True: x.append('x' * 10**7)", ["memory", "died", "timeout"]],
    ["4 GB at once", "x = bytearray(4 * 2**30 - 1)", ["memory", "failed", "died"]],
    ["deep calls", "def f(): return f()\nf()", ["failed", "died"]],
    ["the end of tests", "raise SystemExit(0)", ["failed"], "assert False"],
    ["the end of the process", "import posix\nposix._exit(0)", ["died", "failed"], "assert False"],
    ["JavaScript", "import js", ["failed"]],
    ["JavaScript by importlib", "import importlib\nimportlib.import_module('js').fetch", ["failed"]],
    ["JavaScript by a module's entry", "import sys\nsys.modules['js'].fetch", ["failed"]],
    ["Pyodide", "from pyodide.code import run_js\nrun_js('fetch')", ["failed"]],
    ["Pyodide's inside", "import _pyodide_core", ["failed"]],
    ["micropip", "import micropip", ["failed"]],
    [
      "JavaScript by other finders",
      "import sys\nsys.meta_path.pop(0)\nimport _pyodide_core as c\nc.to_js([]).constructor.constructor('return process')()",
      ["failed"],
    ],
    [
      "JavaScript by what all classes reach",
      `import types
seen, found, todo = {}, [], [object]
while todo and len(seen) < 30000:
    o = todo.pop(0)
    if id(o) in seen or isinstance(o, (str, bytes, int, float)): continue
    seen[id(o)] = o
    # A proxy of an object of JavaScript, or a function of the module that makes them.
    if not isinstance(o, type) and type(o).__name__ == "JsProxy": found.append(o)
    if isinstance(o, types.BuiltinFunctionType) and "pyodide_core" in str(o.__module__): found.append(o)
    if isinstance(o, type): todo += type.__subclasses__(o)
    if isinstance(o, dict): todo += list(o.values())
    elif isinstance(o, (list, tuple, set, frozenset)): todo += list(o)
    else:
        for name in dir(o):
            try: todo.append(getattr(o, name))
            except BaseException: pass
assert not found, found`,
      ["passed", "timeout"],
    ],
    ["ctypes", "import ctypes", ["failed"]],
    ["a command", "import os\nos.system('true')", ["failed"]],
    ["a process", "import subprocess\nsubprocess.run(['true'])", ["failed"]],
    ["a fork", "import os\nos.fork()", ["failed"]],
    ["a fork below os", "import posix\nposix.fork()", ["failed"]],
    ["a process by multiprocessing", "import multiprocessing\nmultiprocessing.Process(target=print).start()", ["failed"]],
    ["a thread", "import threading\nthreading.Thread(target=print).start()", ["failed"]],
    ["the host's files", "open('/etc/passwd').read()", ["failed"]],
    [
      "the host's environment",
      "import os\nassert 'SECRET_OF_THE_HOST' not in os.environ and os.environ['HOME'] == '/home/user', sorted(os.environ)",
      ["passed"],
    ],
    ["the network", "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)", ["failed"]],
    ["a page", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')", ["failed"]],
    ["a question to the one who runs it", "input()", ["failed"]],
    [
      "what others will use is changed",
      "import math, builtins, json\nmath.sqrt = lambda x: 7\nbuiltins.len = lambda x: 3\njson.dumps = None",
      ["passed"],
    ],
    ["and is as it was", "import math, json", ["passed"], "assert math.sqrt(4) == 2 and len([1]) == 1 and json.dumps(1) == '1'"],
  ],
};

/**
 * Tries all of a language, or one in `every`; `check(name, ok, found)` hears of each. Behind every one, another program runs, and the host is as
 * it was.
 */
export async function tryEscapes(sandbox, language, check, every = 1) {
  const fine = language === "python" ? ["x = 1", "assert x == 1"] : ["var x = 1", "if (x !== 1) throw 1"];
  for (const [name, code, wanted, tests] of escapes[language].filter((_, i) => i % every === 0)) {
    const found = await sandbox.run({ language, code, tests });
    const next = await sandbox.run({ language, code: fine[0], tests: fine[1] });
    const clean = {}.polluted === undefined && [].push(1) === 1;
    // On a busy machine time may be over before a program fails: it is contained as well.
    const contained = wanted.includes(found.outcome) || (found.outcome === "timeout" && !wanted.includes("passed"));
    check(`${language}: ${name}`, contained && next.outcome === "passed" && clean, { found, next, clean });
  }
}
