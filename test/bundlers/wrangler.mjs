// Wrangler, offline: it bundles (deploy --dry-run) and runs its bundle in the workerd that it brings (dev).
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { root } from "../runtimes/package.mjs";
import { serve, until } from "../runtimes/process.mjs";
import { bin, folderOf, must } from "./given.mjs";

/** Wrangler runs on Node 22 and newer. */
const node26 = join(root, "test/runtimes/node_modules/.bin/node");

const worker = (model, { prompt, tokens }) => `import * as cpm from "cpm-wasm";
${model.import ?? ""}
export default {
  async fetch() {
    try {
      const model = await cpm.load(${model.name});
      const { text } = await model.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
      return Response.json({ text });
    } catch (error) {
      return Response.json({ name: error.name, code: error.code, message: error.message });
    }
  },
};
`;

const config = (rules) => `name = "t"
main = "worker.js"
compatibility_date = "2026-01-01"
send_metrics = false
${rules}`;

const RULE = 'rules = [{ type = "Data", globs = ["**/*.gguf"], fallthrough = true }]\n';
const quiet = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CI: "1" };

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answer(folder) {
  const port = await freePort();
  const args = [
    bin("wrangler"),
    "dev",
    "--ip",
    "127.0.0.1",
    "--port",
    String(port),
    "--inspector-port",
    "0",
    "--show-interactive-dev-session=false",
  ];
  const server = serve(node26, args, { cwd: folder, env: quiet });
  try {
    const response = await until(
      async () => server.ended || (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)),
      60_000,
    );
    if (!response || server.ended) throw new Error(server.output);
    return await response.json();
  } finally {
    await server.end();
  }
}

export async function wrangler({ project, expected, test }) {
  const folder = folderOf(project, "wrangler", {
    "wrangler.toml": config(RULE),
    "worker.js": worker({ import: 'import bytes from "cpm-wasm/models/stories-q4_0.gguf";', name: "bytes" }, expected),
  });
  await test("deploy --dry-run bundles the worker and its modules", async () => {
    const output = await must(node26, [bin("wrangler"), "deploy", "--dry-run", "--outdir", "out"], {
      cwd: folder,
      env: quiet,
    });
    const made = readdirSync(join(folder, "out"));
    for (const name of ["kernels.wasm", "kernels.relaxed.wasm", "decide.wasm", "constrain.wasm", "stories-q4_0.gguf"])
      if (!made.some((file) => file.endsWith(name))) throw new Error(`${name} is not among ${made.join(", ")}`);
    return /Total Upload.*/.exec(output)?.[0];
  });
  await test("dev runs it, with the model as a data module", async () => {
    const seen = await answer(folder);
    if (seen.text !== expected.text) throw new Error(JSON.stringify(seen));
  });
  const bare = folderOf(project, "wrangler-bare", {
    "wrangler.toml": config(""),
    "worker.js": worker({ name: "cpm.defaultModel" }, expected),
  });
  await test("defaultModel without the rule for it says which line to add", async () => {
    const seen = await answer(bare);
    if (seen.name !== "CpmError" || !/globs = \["\*\*\/\*\.gguf"\]/.test(seen.message)) throw new Error(JSON.stringify(seen));
    return join(seen.code, "");
  });
}
