// workerd: the suite as a worker, and the edge example with its memory measured.
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "./package.mjs";
import { run, serve, until } from "./process.mjs";

const LIMIT_BYTES = 128 * 1000 * 1000;
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

const binary = () => createRequire(import.meta.url)("workerd").default;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Serves a configuration on a port of its own. Gives { url, memory(), end() }; memory: { now, peak } in bytes, or undefined. */
export async function started(config) {
  const port = await freePort();
  const process = serve(binary(), ["serve", config, `--socket-addr=http=127.0.0.1:${port}`]);
  const url = `http://127.0.0.1:${port}/`;
  const up = await until(
    async () => process.ended || (await fetch(new URL("/up", url), { method: "PUT" }).catch(() => undefined))?.status > 0,
  );
  if (!up || process.ended) {
    await process.end();
    throw new Error(`workerd did not start: ${process.output}`);
  }
  const memory = () => {
    try {
      const status = readFileSync(`/proc/${process.pid}/status`, "utf8");
      const field = (name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)[1]);
      return { now: field("VmRSS"), peak: field("VmHWM") };
    } catch {
      return undefined;
    }
  };
  return { url, memory, end: () => process.end() };
}

/** A configuration like the example's, for other modules. */
export function writeConfig(folder, name, modules) {
  const path = join(folder, `${name}.capnp`);
  const listed = Object.entries(modules).map(([file, kind]) => `(name = "${file}", ${kind} = embed "${file}")`);
  writeFileSync(
    path,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "internet", network = (allow = ["public", "private"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (compatibilityDate = "2026-11-01", modules = [${listed.join(", ")}]);
`,
  );
  return path;
}

/** Bundles a worker with the kernels that it imports; gives its configuration. */
export async function bundled(entry, out, name) {
  const { build } = await import(pathToFileURL(join(root, "test/node_modules/esbuild/lib/main.js")).href);
  await build({
    entryPoints: [entry],
    outfile: join(out, "worker.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    conditions: ["workerd"],
    loader: { ".wasm": "copy" },
    assetNames: "[name]",
    logLevel: "warning",
  });
  return writeConfig(out, name, {
    "worker.js": "esModule",
    "kernels.wasm": "wasm",
    "kernels.relaxed.wasm": "wasm",
    "decide.wasm": "wasm",
    "constrain.wasm": "wasm",
  });
}

async function suite({ project, origin, report }) {
  const config = await bundled(join(project, "worker.mjs"), join(project, "suite-worker"), "suite");
  const worker = await started(config);
  try {
    const response = await fetch(`${worker.url}?url=${encodeURIComponent(`${origin}/stories-q4_0.gguf`)}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`HTTP ${response.status}: ${text.slice(0, 1000)}`);
    for (const result of JSON.parse(text)) report(result);
  } finally {
    await worker.end();
  }
}

/** The events of a stream: { at, name, data }, with the milliseconds at which each arrived. */
async function* eventsOf(response) {
  const begin = performance.now();
  let rest = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + chunk).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const name = /^event: (.*)$/m.exec(event)?.[1] ?? "message";
      yield { at: performance.now() - begin, name, data: JSON.parse(/^data: (.*)$/m.exec(event)[1]) };
    }
  }
}

const textOf = (events) => events.map(({ data }) => data.text ?? "").join("");

async function all(response) {
  const events = [];
  for await (const event of eventsOf(response)) events.push(event);
  return events;
}

async function example({ project, expected, test }) {
  const folder = join(project, "examples/edge");
  let worker;
  await test("the edge example is bundled by its script", async () => {
    const { code, output } = await run(process.execPath, [join(folder, "build.mjs")], { cwd: project });
    if (code !== 0) throw new Error(output);
  });
  const { prompt, tokens, text } = expected.greedy[0];
  const address = () => `${worker.url}?${new URLSearchParams({ prompt, temperature: "0", maxTokens: String(tokens.length) })}`;
  const ask = () => fetch(address());

  const empty = join(folder, "empty");
  writeFileSync(`${empty}.js`, 'export default { fetch: () => new Response("ok") };\n');
  const idle = await started(writeConfig(folder, "empty", { "empty.js": "esModule" }));
  const baseline = idle.memory();
  await idle.end();

  worker = await started(join(folder, "config.capnp"));
  try {
    await test("the edge example streams the expected text as server-sent events", async () => {
      const response = await ask();
      if (response.headers.get("content-type") !== "text/event-stream")
        throw new Error(`content-type: ${response.headers.get("content-type")}`);
      const events = await all(response);
      if (textOf(events) !== text) throw new Error(`expected "${text}", found "${textOf(events)}"`);
      const { name, data } = events.at(-1);
      if (name !== "done" || data.usage.completionTokens !== tokens.length)
        throw new Error(`last event: ${name} ${JSON.stringify(data)}`);
      if (events.length < tokens.length / 2) throw new Error(`only ${events.length} events`);
    });
    await test("events arrive while the model still generates", async () => {
      // A reader that waits for its turn on a busy machine may find all of them at once; one that never sees the first before the last has none.
      for (let time = 1; time <= 20; time++) {
        const events = await all(await ask());
        const [first, last] = [events[0].at, events.at(-1).at];
        const { decodeTokensPerSecond } = events.at(-1).data.timings;
        if (last - first >= 5)
          return `first event after ${first.toFixed(0)} ms, last after ${last.toFixed(0)} ms, ${Math.round(decodeTokensPerSecond)} tokens/s`;
      }
      throw new Error("all events came at once, twenty times");
    });
    await test("POST with JSON works, and bad requests are refused with 400", async () => {
      const post = (body) => fetch(worker.url, { method: "POST", body });
      const events = await all(await post(JSON.stringify({ prompt, temperature: 0, maxTokens: 5 })));
      if (!text.startsWith(textOf(events)) || events.at(-1).data.usage.completionTokens !== 5)
        throw new Error(JSON.stringify(events));
      for (const body of ["{", '{"prompt":"a","temperature":-1}', '{"prompt":"a","maxToken":5}', '{"prompt":7}']) {
        const response = await post(body);
        if (response.status !== 400) throw new Error(`${body}: status ${response.status}, ${await response.text()}`);
        await response.json();
      }
      const long = await all(await post(JSON.stringify({ prompt: "word ".repeat(400) })));
      if (long.at(-1).data.code !== "context-overflow") throw new Error(`a long prompt: ${JSON.stringify(long.at(-1))}`);
    });
    await test("requests at once all get their text, also when one client goes away", async () => {
      const gone = new Promise((resolve, reject) => {
        get(address(), (response) => {
          response.once("data", () => {
            response.destroy();
            resolve();
          });
        }).on("error", reject);
      });
      const others = await Promise.all([1, 2, 3].map(async () => textOf(await all(await ask()))));
      await gone;
      for (const other of others) if (other !== text) throw new Error(`found "${other}"`);
      if (textOf(await all(await ask())) !== text) throw new Error("the request after them got another text");
    });
    await test("the edge example's memory, all of it, stays below 128 MB", async () => {
      const memory = worker.memory();
      if (!memory || !baseline) return "not measured: there is no /proc here";
      const total = memory.peak - baseline.now;
      const shown = `${mebibytes(total)}: the process at its peak ${mebibytes(memory.peak)}, an empty worker's process ${mebibytes(baseline.now)}`;
      if (total > LIMIT_BYTES) throw new Error(shown);
      return shown;
    });
  } finally {
    await worker.end();
  }
}

export async function workerd(context) {
  // The bundler, where the example's script looks for it.
  symlinkSync(join(root, "test/node_modules/esbuild"), join(context.project, "node_modules/esbuild"));
  await suite(context);
  await example(context);
}
