// Next: a route handler and a client component, in production and in development, with Turbopack and (--all) with webpack.
import { cpSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { visit } from "../runtimes/chromium.mjs";
import { serve, until } from "../runtimes/process.mjs";
import { isolation, startServer } from "../runtimes/server.mjs";
import { bin, folderOf, must, works } from "./given.mjs";

const files = ({ prompt, tokens }, config) => ({
  "package.json": '{"private":true,"type":"module"}',
  "next.config.mjs": config,
  "app/layout.js": "export default ({ children }) => <html><body>{children}</body></html>;\n",
  "app/page.js": 'import { Story } from "./story.js";\nexport default () => <Story />;\n',
  "app/story.js": `"use client";
import { defaultModel, load } from "cpm-wasm";
import { useEffect, useState } from "react";
async function story(options) {
  const model = await load(defaultModel, options);
  const { text } = await model.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
  return { text, threads: model.info.threads };
}
export function Story() {
  const [text, setText] = useState("");
  useEffect(() => {
    const to = new URLSearchParams(location.search).get("to");
    const post = (result) => fetch(to, { method: "POST", mode: "no-cors", body: JSON.stringify(result) });
    (async () => {
      const { text, threads } = await story({ threads: 2 });
      const { text: again } = await story({ worker: false });
      setText(text);
      await post({ text, again, threads });
    })().catch((error) => post({ name: error?.name, code: error?.code, message: String(error?.message ?? error) }));
  }, []);
  return <p>{text}</p>;
}
`,
  "app/api/route.js": `import { defaultModel, load } from "cpm-wasm";
export const dynamic = "force-dynamic";
export async function GET() {
  try {
    const model = await load(defaultModel, { threads: 2 });
    const { text } = await model.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
    const { threads } = model.info;
    await model.dispose();
    return Response.json({ text, threads });
  } catch (error) {
    return Response.json({ name: error?.name, code: error?.code, message: String(error?.message ?? error) });
  }
}
`,
});

/** What must be configured: the package stays out of the server's bundle; the headers are for threads. */
const CONFIG = `export default {
  serverExternalPackages: ["cpm-wasm"],
  headers: async () => [
    { source: "/:path*", headers: ${JSON.stringify(Object.entries(isolation).map(([key, value]) => ({ key, value })))} },
  ],
};
`;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Other rows leave a NODE_ENV behind; Next sets its own. */
const quiet = (mode) => ({ NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: mode });

async function served({ project, here, expected }, folder, args) {
  const port = await freePort();
  const next = serve(process.execPath, [bin("next"), ...args, "--hostname", "127.0.0.1", "--port", String(port)], {
    cwd: folder,
    env: quiet(args[0] === "dev" ? "development" : "production"),
  });
  const results = [];
  const taker = await startServer(here, { onResult: (result) => results.push(result) });
  try {
    const origin = `http://127.0.0.1:${port}`;
    const response = await until(async () => next.ended || (await fetch(`${origin}/api`).catch(() => undefined)), 90_000);
    if (!response || next.ended) throw new Error(next.output);
    const route = await response.text();
    if (JSON.parse(route).text !== expected.text) throw new Error(`route handler: ${route.slice(0, 600)}\n${next.output}`);
    const to = encodeURIComponent(`${taker.origin}/results`);
    await visit(project, `${origin}/?to=${to}`, () => results.length > 0, 60_000);
    return `route handler: ${JSON.parse(route).threads} threads; client component: ${works(results[0], expected)}`;
  } finally {
    await next.end();
    await taker.close();
  }
}

export async function next(context) {
  const { project, expected, test, all } = context;
  for (const bundler of all ? ["turbopack", "webpack"] : ["turbopack"]) {
    const folder = folderOf(project, `next-${bundler}`, files(expected, CONFIG));
    cpSync(join(project, "node_modules"), join(folder, "node_modules"), { recursive: true });
    const built = await test(`production, with ${bundler}`, async () => {
      await must(process.execPath, [bin("next"), "build", `--${bundler}`], {
        cwd: folder,
        env: quiet("production"),
        limitMs: 240_000,
      });
      return served(context, folder, ["start"]);
    });
    if (built || all) await test(`development, with ${bundler}`, () => served(context, folder, ["dev", `--${bundler}`]));
  }
}
