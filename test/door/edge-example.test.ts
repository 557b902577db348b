// The edge worker of examples/: a client that goes away ends its generation, also while its prompt is computed.
import { readFileSync } from "node:fs";
import { transformSync } from "esbuild";
import { expect, onTestFinished, test, vi } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { doors, slowModel } from "../support/door.ts";

interface Worker {
  readonly default: {
    fetch(request: Request, env: unknown, context: { waitUntil(work: Promise<unknown>): void }): Promise<Response>;
  };
}

/** Shares of prompts computed so far. */
const prefilled: number[] = [];

/** The example as JavaScript, over a slow model instead of the package's own. */
async function example(): Promise<Worker["default"]> {
  const source = readFileSync(new URL("../../examples/edge-worker.ts", import.meta.url), "utf8");
  const { code } = transformSync(source, { loader: "ts", format: "esm" });
  const imports = /^import .* from "cpm-wasm.*";\n/gm;
  expect(code.match(imports)).toHaveLength(2);
  const body = `const { CpmError, load } = globalThis.edgeParts; const bytes = new ArrayBuffer(0);\n${code.replace(imports, "")}`;
  const load = async () => {
    const model = await doors["in the caller's thread"].load(slowModel, { threads: 1, contextSize: 2048, batchSize: 16 });
    onTestFinished(() => model.dispose());
    const onPrefill = (done: number, total: number) => prefilled.push(done / total);
    return {
      generate: (...[prompt, options]: Parameters<typeof model.generate>) => model.generate(prompt, { ...options, onPrefill }),
    };
  };
  vi.stubGlobal("edgeParts", { CpmError, load });
  onTestFinished(() => void vi.unstubAllGlobals());
  const worker = (await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(body)}`)) as Worker;
  return worker.default;
}

test("a client that leaves during the prompt frees the model for the next one", async () => {
  const worker = await example();
  const kept: Promise<unknown>[] = [];
  const context = { waitUntil: (work: Promise<unknown>) => void kept.push(work) };
  const ask = (body: object, signal?: AbortSignal) =>
    worker.fetch(
      new Request("http://edge/", { method: "POST", body: JSON.stringify(body), ...(signal ? { signal } : {}) }),
      {},
      context,
    );
  const long = await ask({ prompt: "abc ".repeat(300), maxTokens: 400 });
  const reader = long.body!.getReader();
  const reading = reader.read();
  await new Promise((resolve) => setImmediate(resolve));
  await reader.cancel();
  expect(await reading).toMatchObject({ done: true });
  // What the request was kept alive for ends, without an answer of 400 tokens having been made.
  const ends = await Promise.all(kept.map((work) => work.then((result) => result)));
  expect(ends.at(-1), "the generation's end: its failure was caught").toBeUndefined();
  expect(Math.max(0, ...prefilled), "share of the prompt that was computed").toBeLessThan(0.5);
  const next = await (await ask({ prompt: "abc", maxTokens: 3, temperature: 0 })).text();
  expect(next).toContain("event: done");
  expect(await (await ask({ prompt: 7 })).json()).toHaveProperty("error");
});
