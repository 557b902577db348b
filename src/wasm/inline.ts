// Modules that travel as text in the script itself, so that no bundler can leave them behind: wasm/NAME.wasm.js has the bytes of
// wasm/NAME.wasm in base64 (src/build.mjs writes it).
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";

/** The bytes of a text in base64. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Compiles a module. Throws CpmError "unsupported" where a content security policy forbids that, and "engine-failed" for bytes that
 * are not the module `name`.
 */
export async function compileModule(name: string, bytes: BufferSource): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    const why = reasonOf(cause);
    if (
      cause instanceof WebAssembly.CompileError &&
      !/content security policy|unsafe-eval|\bCSP\b|disallowed by embedder/i.test(why)
    )
      throw new CpmError(
        "engine-failed",
        `${name}.wasm: ${why}; what was read is not this package's module (a page of the server instead, perhaps): serve or install it again`,
        { file: `${name}.wasm` },
        { cause },
      );
    throw new CpmError(
      "unsupported",
      `${name}.wasm: this page or worker may not compile WebAssembly (${why}); add 'wasm-unsafe-eval' to script-src in its Content-Security-Policy`,
      { file: `${name}.wasm` },
      { cause },
    );
  }
}

/** The module `name` from the text of wasm/NAME.wasm.js: compiled when it is first asked for, and once. Throws as compileModule does. */
export function inlined(name: string, text: string): () => Promise<WebAssembly.Module> {
  let module: Promise<WebAssembly.Module> | undefined;
  return () => (module ??= compileModule(name, bytesOf(text)));
}
