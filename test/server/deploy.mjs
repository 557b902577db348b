// The examples of examples/deploy/, as far as one machine can try them: two replicas of `cpm serve` behind a real nginx, sticky and
// round robin, under load and while one replica ends; the worker in workerd; the Deno entry; Kubernetes' and Docker's files held to
// their schemas.
//   node test/server/deploy.mjs
// Prints "N passed, N failed". Needs the built package and nginx; installs its packages on first use.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { install } from "../run.mjs";
import { started } from "../runtimes/workerd.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deploy = join(root, "examples/deploy");
const clients = join(root, "test/clients");
for (const folder of ["test", "test/runtimes", "test/clients"]) install(join(root, folder));
const require = createRequire(join(clients, "package.json"));
const bin = (name) => join(root, "test/runtimes/node_modules/.bin", name);

const counts = { passed: 0, failed: 0 };
async function check(title, work) {
  try {
    const note = await work();
    counts.passed++;
    console.log(`ok     ${title}${note ? ` — ${note}` : ""}`);
  } catch (error) {
    counts.failed++;
    console.log(`FAILED ${title}\n${String(error?.stack ?? error).replace(/^/gm, "         ")}`);
  }
}
function equal(found, wanted, what) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
}

/** A process that serves; `pattern` in its output gives the address. */
function listening(command, args, pattern, options = {}) {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], ...options });
  let log = "";
  const ended = new Promise((resolve) => child.on("close", (code) => resolve(code)));
  const url = new Promise((resolve, reject) => {
    const read = (text) => {
      log += text;
      const match = pattern.exec(log);
      if (match) resolve(match[1]);
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    ended.then(() => reject(new Error(`it ended before it listened: ${log}`)));
  });
  url.catch(() => {});
  const end = () => {
    child.kill("SIGTERM");
    return ended;
  };
  return { url, pid: child.pid, ended, log: () => log, end };
}

const serve = (...more) =>
  listening(
    process.execPath,
    [join(root, "dist/cli/main.js"), "serve", "--port", "0", ...more],
    /^serving .* at (http:\S+)\/v1$/m,
  );
const chat = (prompt, extra = {}) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ messages: [{ role: "user", content: prompt }], temperature: 0, max_tokens: 16, ...extra }),
});
const answer = async (response) => {
  const body = await response.json();
  if (!response.ok) throw new Error(`status ${response.status}: ${JSON.stringify(body)}`);
  return body.choices[0].message.content;
};

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** nginx with the example's configuration on free ports; `sticky` false leaves its hash line out. */
async function nginx(replicas, sticky) {
  const folder = mkdtempSync(join(tmpdir(), "cpm-nginx-"));
  mkdirSync(join(folder, "tmp"));
  const port = await freePort();
  let text = readFileSync(join(deploy, "nginx.conf"), "utf8");
  const swap = (from, to) => {
    if (!text.includes(from)) throw new Error(`nginx.conf has no ${from}`);
    text = text.replaceAll(from, to);
  };
  swap("127.0.0.1:8080", `127.0.0.1:${port}`);
  swap("127.0.0.1:8081", new URL(replicas[0]).host);
  swap("127.0.0.1:8082", new URL(replicas[1]).host);
  if (!sticky) swap("hash $http_authorization$remote_addr consistent;", "");
  writeFileSync(join(folder, "nginx.conf"), `daemon off;\n${text}`);
  const child = spawn("nginx", ["-p", folder, "-c", join(folder, "nginx.conf")], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    log += text;
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const up = await fetch(`${url}/health`).catch(() => undefined);
    if (up?.ok) break;
    if (tries > 200 || child.exitCode !== null) throw new Error(`nginx does not answer: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return {
    url,
    async end() {
      child.kill("SIGQUIT");
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

const completions = async (url) => {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/cpm_requests_total\{route="\/chat\/completions",status="200"\} (\d+)/.exec(text)?.[1] ?? 0);
};

if (spawnSync("nginx", ["-v"]).error) console.log("nginx: not tested, it is not installed");
else {
  const replicas = [serve(), serve()];
  const urls = await Promise.all(replicas.map((replica) => replica.url));
  const prompts = Array.from({ length: 8 }, (_, i) => `Tell me of ${["a dog", "the sea", "a tree", "two cats"][i % 4]} (${i}).`);
  const expected = [];
  for (const prompt of prompts) expected.push(await answer(await fetch(`${urls[0]}/v1/chat/completions`, chat(prompt))));
  for (const sticky of [true, false])
    await check(
      `two replicas behind nginx, ${sticky ? "sticky" : "round robin"}: every answer is right under load, streams pass at once`,
      async () => {
        const front = await nginx(urls, sticky);
        try {
          const before = await Promise.all(urls.map(completions));
          const asked = Array.from({ length: 40 }, (_, i) => i % prompts.length);
          const texts = await Promise.all(
            asked.map(async (i) => answer(await fetch(`${front.url}/v1/chat/completions`, chat(prompts[i])))),
          );
          equal(
            texts,
            asked.map((i) => expected[i]),
            "answers",
          );
          const after = await Promise.all(urls.map(completions));
          const shares = after.map((n, i) => n - before[i]);
          if (sticky)
            equal(
              [...shares].sort((a, b) => a - b),
              [0, 40],
              "requests by replica",
            );
          else if (Math.min(...shares) < 15) throw new Error(`round robin gave ${shares}`);
          const response = await fetch(`${front.url}/v1/chat/completions`, chat(prompts[0], { stream: true, max_tokens: 64 }));
          let reads = 0;
          for await (const _ of response.body) reads++;
          if (reads < 5) throw new Error(`a stream of 64 tokens came in ${reads} pieces`);
          return `requests by replica ${shares.join(" and ")}, a stream in ${reads} pieces`;
        } finally {
          await front.end();
        }
      },
    );
  await check("a replica that ends finishes what it has, and nginx goes on with the other", async () => {
    const front = await nginx(urls, false);
    try {
      const running = prompts.map(async (prompt) => answer(await fetch(`${front.url}/v1/chat/completions`, chat(prompt))));
      const ended = replicas[1].end();
      equal(await Promise.all(running), expected, "answers while a replica ended");
      equal(await ended, 0, "exit code");
      for (const [i, prompt] of prompts.entries())
        equal(
          await answer(await fetch(`${front.url}/v1/chat/completions`, chat(prompt))),
          expected[i],
          "answer of the replica that is left",
        );
    } finally {
      await front.end();
      await replicas[0].end();
    }
  });
}

/** The examples' folder where their imports resolve to this package as built. */
function project() {
  const folder = mkdtempSync(join(tmpdir(), "cpm-deploy-"));
  mkdirSync(join(folder, "node_modules/cpm-wasm"), { recursive: true });
  for (const name of ["dist", "wasm", "models", "package.json"])
    cpSync(join(root, name), join(folder, "node_modules/cpm-wasm", name), { recursive: true });
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const name of Object.keys(dependencies))
    cpSync(join(root, "node_modules", name), join(folder, "node_modules", name), { recursive: true });
  cpSync(join(root, "test/node_modules/esbuild"), join(folder, "node_modules/esbuild"), { recursive: true });
  cpSync(join(root, "test/node_modules/@esbuild"), join(folder, "node_modules/@esbuild"), { recursive: true });
  cpSync(deploy, join(folder, "deploy"), { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  return folder;
}

/** Serves the embedded model with ranges, as a bucket does. */
async function bucket() {
  const bytes = readFileSync(join(root, "models/stories-q4_0.gguf"));
  const server = createServer((request, response) => {
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (!match)
      return response
        .writeHead(200, { "content-length": bytes.length, "accept-ranges": "bytes" })
        .end(request.method === "HEAD" ? undefined : bytes);
    const [from, to] = [Number(match[1]), match[2] === "" ? bytes.length - 1 : Math.min(Number(match[2]), bytes.length - 1)];
    response
      .writeHead(206, { "content-length": to - from + 1, "content-range": `bytes ${from}-${to}/${bytes.length}` })
      .end(bytes.subarray(from, to + 1));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/model.gguf`,
    end: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  };
}

const folder = project();
const store = await bucket();
const direct = serve();
const wanted = await answer(await fetch(`${await direct.url}/v1/chat/completions`, chat("Tell me of a dog.")));
await direct.end();
await check("the worker in workerd reads its model from a URL, asks for its key, answers", async () => {
  const built = spawnSync(process.execPath, [join(folder, "deploy/build.mjs")], { encoding: "utf8", cwd: folder });
  equal(built.status, 0, built.stderr);
  process.env["MODEL_URL"] = store.url;
  process.env["API_KEY"] = "secret";
  const worker = await started(join(folder, "deploy/out/worker.capnp"));
  try {
    equal((await fetch(`${worker.url}v1/models`)).status, 401, "status without a key");
    const asked = chat("Tell me of a dog.");
    asked.headers.authorization = "Bearer secret";
    equal(await answer(await fetch(`${worker.url}v1/chat/completions`, asked)), wanted, "answer");
  } finally {
    await worker.end();
  }
});
await check("the Deno entry answers", async () => {
  const port = await freePort();
  const env = { ...process.env, MODEL_URL: store.url, PORT: String(port), HOST: "127.0.0.1", API_KEY: "", NO_COLOR: "1" };
  const args = ["run", "--allow-read", "--allow-net", "--allow-env", "--node-modules-dir=manual", join(folder, "deploy/deno.ts")];
  const server = listening(bin("deno"), args, /(http:\/\/\S+)/, { cwd: folder, env });
  try {
    await server.url;
    equal(await answer(await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, chat("Tell me of a dog."))), wanted, "answer");
  } finally {
    await server.end();
  }
});
await store.end();
rmSync(folder, { recursive: true });

await check("kubernetes.yaml is what Kubernetes' schemas say, and the check can tell", async () => {
  const { parseAllDocuments } = await import(pathToFileURL(require.resolve("yaml")).href);
  const kinds = {
    Secret: ["v1", "Secret"],
    Service: ["v1", "Service"],
    Deployment: ["apps/v1", "Deployment"],
    HorizontalPodAutoscaler: ["autoscaling/v2", "HorizontalPodAutoscaler"],
  };
  const documents = parseAllDocuments(readFileSync(join(deploy, "kubernetes.yaml"), "utf8")).map((document) => document.toJS());
  equal(documents.map(({ kind }) => kind).sort(), Object.keys(kinds).sort(), "kinds");
  const validate = async (document) => {
    const [module, name] = kinds[document.kind];
    const models = await import(pathToFileURL(join(clients, "node_modules/kubernetes-models", module, "index.js")).href);
    new models[name](document).validate();
  };
  for (const document of documents) {
    await validate(document);
    const broken = structuredClone(document);
    broken.metadata.name = 7;
    if (
      await validate(broken).then(
        () => true,
        () => false,
      )
    )
      throw new Error(`${document.kind}: a wrong document passed`);
  }
  const deployment = documents.find(({ kind }) => kind === "Deployment");
  equal(deployment.spec.selector.matchLabels, deployment.spec.template.metadata.labels, "labels");
});
await check("Dockerfile: no warning, its flags are the command's", async () => {
  const { validate } = require("dockerfile-utils");
  const text = readFileSync(join(deploy, "Dockerfile"), "utf8");
  equal(
    validate(text).map(({ message }) => message),
    [],
    "problems",
  );
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  if (!text.includes(`cpm-wasm@${version}`)) throw new Error(`the image installs another version than ${version}`);
  const help = spawnSync(process.execPath, [join(root, "dist/cli/main.js"), "serve", "--help"], { encoding: "utf8" }).stdout;
  for (const file of ["Dockerfile", "kubernetes.yaml"])
    for (const [flag] of readFileSync(join(deploy, file), "utf8").matchAll(/(?<=")--[a-z][a-z-]+(?=")/g))
      if (flag !== "--interval" && !help.includes(flag)) throw new Error(`${file}: cpm serve has no ${flag}`);
  if (!existsSync(join(deploy, "wrangler.toml"))) throw new Error("no wrangler.toml");
});
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed ? 1 : 0;
