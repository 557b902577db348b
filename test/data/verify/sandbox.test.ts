// JavaScript in its sandbox: programs with tests, and whatever a program may try. Python's are in programs.mjs.
import { afterAll, expect, test } from "vitest";
import { createSandbox } from "../../../dist/host/verify.node.js";
import { programOf, type SandboxResult, verifyCode } from "../../../src/data/verify/code.ts";

const sandbox = createSandbox({ timeMs: 1500 });
afterAll(() => sandbox.close());
const run = (code: string, tests?: string): Promise<SandboxResult> => sandbox.run({ language: "javascript", code, tests });

test("a program passes with its tests, or fails by the exception", async () => {
  const code = "function add(a, b) { return a + b } console.log('ready')";
  expect(await run(code, "if (add(1, 2) !== 3) throw new Error('wrong')")).toEqual({ outcome: "passed", output: "ready\n" });
  expect(await run(code, "if (add(1, 2) !== 4) throw new Error('wrong')")).toMatchObject({
    outcome: "failed",
    error: "Error: wrong",
  });
  expect(await run("let x = ;")).toMatchObject({ outcome: "failed", error: expect.stringMatching(/^SyntaxError/) });
  const response = "Here:\n```js\nconst f = (x) => x * 2;\n```\nand so on";
  expect(programOf({ response })).toEqual({ language: "javascript", code: "const f = (x) => x * 2;\n" });
  expect(await verifyCode({ response, tests: "if (f(2) !== 4) throw 1" }, sandbox)).toEqual({ ok: true, reasons: [] });
  expect((await verifyCode({ response, tests: ["if (f(2) !== 5) throw 1"] }, sandbox)).ok).toBe(false);
  expect((await verifyCode({ response: " " }, sandbox)).reasons).toEqual(["code: there is no program"]);
});

test("promises are waited for, and one that is never settled is told", async () => {
  expect((await run("var p = Promise.resolve(2)", "p.then((x) => { if (x !== 2) throw new Error('no') })")).outcome).toBe(
    "passed",
  );
  expect((await run("Promise.reject(new Error('late'))")).outcome).toBe("failed");
  expect((await run("new Promise(() => {})")).outcome).toBe("failed");
});

test("endless loops, endless memory, deep calls and slow patterns are stopped, and the next program runs", async () => {
  expect((await run("for (;;);")).outcome).toBe("timeout");
  expect((await run("/(a+)+$/.test('a'.repeat(40) + 'b')")).outcome).toBe("timeout");
  expect(["memory", "timeout"]).toContain((await run("const a = []; for (;;) a.push(new Array(1e6).fill(1))")).outcome);
  expect((await run("function f() { f() } f()")).outcome).toBe("failed");
  expect((await run("new ArrayBuffer(4 * 2 ** 30)")).outcome).not.toBe("passed");
  expect((await run("while (true) print('x'.repeat(1000))")).output.length).toBeLessThanOrEqual(10_001);
  expect((await run("1")).outcome).toBe("passed");
});

test("nothing of the host is there, and nothing stays for the next program", async () => {
  const names = "process require fetch XMLHttpRequest WebSocket Deno Bun std os setTimeout importScripts navigator";
  const all = `for (const n of ${JSON.stringify(names.split(" "))}) if (typeof globalThis[n] !== "undefined") throw new Error(n)`;
  expect(await run(all)).toMatchObject({ outcome: "passed" });
  expect((await run("import('node:fs')")).outcome).toBe("failed");
  expect(
    (await run("print.constructor.constructor('return typeof process')() === 'undefined' || (() => { throw 1 })()")).outcome,
  ).toBe("passed");
  expect((await run("Object.prototype.polluted = 1; Array.prototype.push = () => 7; globalThis.left = 1")).outcome).toBe(
    "passed",
  );
  expect(
    (await run("if (({}).polluted || [].push(1) !== 1 || typeof left !== 'undefined') throw new Error('left')")).outcome,
  ).toBe("passed");
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
});

test("an abort stops the program; a closed sandbox runs none", async () => {
  const stop = new AbortController();
  const endless = sandbox.run({ language: "javascript", code: "for (;;);" }, stop.signal);
  stop.abort(new Error("enough"));
  await expect(endless).rejects.toThrow("enough");
  const other = createSandbox();
  await other.close();
  await expect(other.run({ language: "javascript", code: "1" })).rejects.toMatchObject({ code: "closed" });
});
