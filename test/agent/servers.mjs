// The agent against MCP servers as they are published, of both generations of the protocol, and the conformance runner's client
// scenarios, offline. Prints "N passed, N failed".
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connectServers, runTools } from "../../dist/host/agent.node.js";
import { install } from "../run.mjs";

const here = dirname(fileURLToPath(import.meta.url));
install(here);
const modules = join(here, "node_modules/@modelcontextprotocol");
const folder = mkdtempSync(join(tmpdir(), "cpm-servers-"));
let [passed, failed] = [0, 0];

async function check(name, work) {
  try {
    await work();
    passed++;
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}

const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1 };
const call = (name, input = {}) => ({ id: name, name, arguments: JSON.stringify(input), input });
/** A model that says these lines: a list is calls. */
function script(...lines) {
  return {
    chat() {
      const line = lines.shift() ?? "end";
      const answer = Promise.resolve({
        text: "",
        reasoning: "",
        tokens: [],
        usage,
        finishReason: "stop",
        ...(typeof line === "string" ? { text: line } : { toolCalls: line }),
      });
      return Object.assign(answer, { async *[Symbol.asyncIterator]() {} });
    },
  };
}
const ask = [{ role: "user", content: "Go" }];
const results = ({ steps }) => steps.flatMap((step) => step.results);
const everything = { command: process.execPath, args: [join(modules, "server-everything/dist/index.js"), "stdio"] };
const filesystem = { command: process.execPath, args: [join(modules, "server-filesystem/dist/index.js"), folder] };

await check("server-everything: tools listed, structured content, images by name, bad arguments told", async () => {
  const servers = await connectServers({ everything });
  assert.equal(servers.list[0].protocol, "2025-11-25");
  assert.ok(servers.list[0].tools.length >= 13);
  const model = script([
    call("echo", { message: "hi" }),
    call("get-sum", { a: 2, b: 40 }),
    call("get-structured-content", { location: "New York" }),
    call("get-tiny-image"),
    call("get-resource-links", { count: 2 }),
    call("get-sum", { a: "two" }),
  ]);
  const [echo, sum, structured, image, links, wrong] = results(await runTools(model, ask, { servers }));
  await servers.close();
  assert.equal(echo.text, "Echo: hi");
  assert.match(sum.text, /42/);
  assert.deepEqual(Object.keys(JSON.parse(structured.text)), ["temperature", "conditions", "humidity"]);
  assert.match(image.text, /\[image, image\/png, \d+ bytes, not shown\]/);
  assert.match(links.text, /\[resource "[^"]+" at "[^"]+"/);
  assert.ok(wrong.isError);
});

await check(
  "server-filesystem: a file written with approval is read and listed; without approval nothing is written",
  async () => {
    const path = join(folder, "note.txt");
    const steps = () =>
      script(
        [call("write_file", { path, content: "first\nsecond" })],
        [call("read_text_file", { path }), call("list_directory", { path: folder })],
      );
    const denied = results(await runTools(steps(), ask, { servers: { filesystem } }));
    assert.equal(denied[0].error.failure, "denied");
    assert.throws(() => readFileSync(path));
    const asked = [];
    const made = results(await runTools(steps(), ask, { servers: { filesystem }, approve: ({ tool }) => asked.push(tool) > 0 }));
    assert.deepEqual(asked, ["write_file"]);
    assert.equal(readFileSync(path, "utf8"), "first\nsecond");
    assert.equal(made[1].text, "first\nsecond");
    assert.match(made[2].text, /\[FILE\] note\.txt/);
  },
);

await check("two servers with tools of one name: both are offered, by their servers' names", async () => {
  const servers = await connectServers({ a: filesystem, b: filesystem });
  const model = script([call("a_list_allowed_directories"), call("b_list_allowed_directories")]);
  const [a, b] = results(await runTools(model, ask, { servers }));
  await servers.close();
  assert.ok(a.text.includes(folder) && b.text.includes(folder));
});

/** A server of the newest revision over Streamable HTTP. */
async function modern() {
  const { McpServer, createMcpHandler } = await import("@modelcontextprotocol/server");
  const { z } = await import("zod");
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: "modern", version: "1" });
    server.registerTool(
      "add",
      { description: "Adds", inputSchema: z.object({ a: z.number(), b: z.number() }), annotations: { readOnlyHint: true } },
      async ({ a, b }) => ({ content: [{ type: "text", text: `${a + b}` }] }),
    );
    return server;
  });
  const http = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length ? { body: Buffer.concat(chunks) } : {};
    const answer = await handler.fetch(
      new Request(`http://127.0.0.1${request.url}`, { method: request.method, headers: request.headers, ...body }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body) for await (const chunk of answer.body) response.write(chunk);
    response.end();
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${http.address().port}/mcp`, http };
}

await check("the protocol's newest revision over Streamable HTTP, and the one before it from the same server", async () => {
  const { url, http } = await modern();
  try {
    for (const [protocol, spoken] of [
      ["auto", /^2026-07-28$/],
      ["legacy", /^2025-/],
      [{ pin: "2026-07-28" }, /^2026-07-28$/],
    ]) {
      const servers = await connectServers({ modern: { url } }, { protocol });
      assert.match(servers.list[0].protocol, spoken);
      const [sum] = results(await runTools(script([call("add", { a: 2, b: 3 })]), ask, { servers }));
      assert.equal(sum.text, "5");
      await servers.close();
    }
  } finally {
    http.closeAllConnections();
    http.close();
  }
});

await check("the example's worker in workerd: tools of a server over Streamable HTTP, a model at an endpoint", async () => {
  install(join(here, ".."));
  install(join(here, "../runtimes"));
  const { started, writeConfig } = await import("../runtimes/workerd.mjs");
  const { build } = createRequire(join(here, "../package.json"))("esbuild");
  const entry = join(folder, "entry.ts");
  const worker = join(here, "../../examples/agent/worker.ts");
  writeFileSync(
    entry,
    `import worker from ${JSON.stringify(worker)};
export default { fetch: (r: Request) => r.method === "PUT" ? new Response("up") : worker.fetch(r, JSON.parse(r.headers.get("x-env")!)) };`,
  );
  const { metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    metafile: true,
    format: "esm",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*"],
    outfile: join(folder, "worker.mjs"),
    alias: { "cpm-wasm/agent": join(here, "../../dist/agent/index.js") },
    nodePaths: [join(here, "../../node_modules")],
    logLevel: "error",
  });
  const [{ bytes }] = Object.values(metafile.outputs);
  console.log(`the worker with the MCP client: ${bytes} bytes, minified`);
  const { url, http } = await modern();
  let asked = 0;
  const lines = [
    { tool_calls: [{ id: "1", type: "function", function: { name: "add", arguments: '{"a":20,"b":22}' } }] },
    { content: "It is 42." },
  ];
  const endpoint = createServer((_, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ choices: [{ message: lines[asked++], finish_reason: "stop" }] }));
  });
  await new Promise((resolve) => endpoint.listen(0, "127.0.0.1", resolve));
  const running = await started(writeConfig(folder, "worker", { "worker.mjs": "esModule" }));
  try {
    const env = { MODEL_URL: `http://127.0.0.1:${endpoint.address().port}/v1`, MODEL: "m", MCP_URL: url };
    const response = await fetch(running.url, { method: "POST", body: "20 + 22?", headers: { "x-env": JSON.stringify(env) } });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    const { text: said, messages } = JSON.parse(text);
    assert.equal(said, "It is 42.");
    assert.equal(messages[1].content, "42");
  } finally {
    await running.end();
    for (const server of [http, endpoint]) {
      server.closeAllConnections();
      server.close();
    }
  }
});

await check("the builds for inference hold nothing of the agent and the survey", async () => {
  const { build } = createRequire(join(here, "../package.json"))("esbuild");
  for (const entry of ["host/edge.js", "host/browser.js"]) {
    const { metafile } = await build({
      entryPoints: [join(here, "../../dist", entry)],
      bundle: true,
      minify: true,
      metafile: true,
      write: false,
      format: "esm",
      outdir: folder,
      external: ["node:*"],
      loader: { ".wasm": "empty", ".gguf": "empty" },
      logLevel: "error",
    });
    const foreign = Object.keys(metafile.inputs).filter((name) =>
      /modelcontextprotocol|orama|dist\/(?:agent|survey)\//.test(name),
    );
    assert.deepEqual(foreign, []);
    console.log(`${entry}: ${Math.max(...Object.values(metafile.outputs).map(({ bytes }) => bytes))} bytes, minified`);
  }
});

// The runner needs a newer Node than this package: the one that other tests install.
const [major] = process.versions.node.split(".").map(Number);
const node = major >= 22 ? process.execPath : join(here, "../runtimes/node_modules/node/bin/node");
if (major < 22) install(join(here, "../runtimes"));
const timed = process.argv.includes("--timed");
if (!timed) console.log("not tested: the runner's scenario sse-retry, which measures time (--timed runs it)");
for (const scenario of ["initialize", "tools_call", ...(timed ? ["sse-retry"] : [])])
  await check(`conformance runner, client scenario ${scenario}`, async () => {
    const client = `${process.execPath} ${join(here, "conformance.mjs")}`;
    const args = [
      join(modules, "conformance/dist/index.js"),
      "client",
      "--command",
      client,
      "--scenario",
      scenario,
      "--timeout",
      "120000",
    ];
    const { stdout, stderr } = await promisify(execFile)(node, args, { cwd: folder, timeout: 200_000 });
    assert.match(stdout + stderr, /Failed: 0|0 failed|PASSED/i, stdout + stderr);
  });

rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
