// Modules as text are the modules beside them; what cannot be compiled says so.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { bytesOf, compileModule, inlined } from "../../src/wasm/inline.ts";

const folder = new URL("../../wasm/", import.meta.url);
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".wasm"))
  .map((name) => name.slice(0, -".wasm".length));

const text = async (name: string): Promise<string> =>
  ((await import(new URL(`${name}.wasm.js`, folder).href)) as { default: string }).default;

test("every module but those for 64-bit memory has a text of the same bytes, and there are no others", async () => {
  const texts = readdirSync(folder).filter((name) => name.endsWith(".js"));
  expect(texts.sort()).toEqual(
    names
      .filter((name) => !name.includes("64"))
      .map((name) => `${name}.wasm.js`)
      .sort(),
  );
  for (const file of texts) {
    const name = file.slice(0, -".wasm.js".length);
    expect(Buffer.compare(Buffer.from(bytesOf(await text(name))), readFileSync(new URL(`${name}.wasm`, folder))), file).toBe(0);
  }
});

test("a module is compiled when asked for, once", async () => {
  const compile = vi.spyOn(WebAssembly, "compile");
  try {
    const module = inlined("constrain", await text("constrain"));
    expect(compile).not.toHaveBeenCalled();
    expect(await module()).toBe(await module());
    expect(compile).toHaveBeenCalledTimes(1);
    expect(WebAssembly.Module.exports(await module()).map(({ name }) => name)).toContain("constrain_abi_version");
  } finally {
    compile.mockRestore();
  }
});

test("bytes of something else are refused by name", async () => {
  const failure = await compileModule("data", new TextEncoder().encode("<!doctype html>")).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(CpmError);
  expect(failure).toMatchObject({ code: "engine-failed", detail: { file: "data.wasm" } });
});

test("a content security policy's refusal names the directive to add", async () => {
  const said = [
    // Chromium 140, Firefox 143, Node with code generation from strings disallowed.
    "WebAssembly.compile(): Compiling or instantiating WebAssembly module violates the following Content Security policy directive because neither 'wasm-eval' nor 'unsafe-eval' is an allowed source",
    "call to WebAssembly.compile() blocked by CSP",
    "WebAssembly.compile(): Wasm code generation disallowed by embedder",
  ];
  for (const message of said) {
    const compile = vi.spyOn(WebAssembly, "compile").mockRejectedValue(new WebAssembly.CompileError(message));
    try {
      await expect(compileModule("kernels", new Uint8Array())).rejects.toMatchObject({
        name: "CpmError",
        code: "unsupported",
        message: expect.stringContaining("wasm-unsafe-eval"),
      });
    } finally {
      compile.mockRestore();
    }
  }
});
