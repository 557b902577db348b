// Headless Chromium: the suite and the browser example, built by Vite without configuration, with threads and without.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromiumFlags } from "../support/chromium.mjs";
import { root } from "./package.mjs";
import { run, serve, until } from "./process.mjs";
import { isolation, resultTaker, startServer } from "./server.mjs";

const NAMES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const vite = join(root, "test/node_modules/vite/bin/vite.js");
const modes = [
  { isolated: true, name: "on a cross-origin isolated page" },
  { isolated: false, name: "on a page without isolation" },
];

function chromiumPath() {
  const path = process.env.CHROMIUM ?? NAMES.find((name) => existsSync(name));
  if (!path) throw new Error("no Chromium found; install the package chromium, or name one in the variable CHROMIUM");
  return path;
}

let profiles = 0;

/** Opens a page in a browser of its own until `ended()` is true. */
export async function visit(project, url, ended, limitMs) {
  const browser = serve(chromiumPath(), [...chromiumFlags, `--user-data-dir=${join(project, `profile-${profiles++}`)}`, url]);
  try {
    await until(() => ended() || browser.ended, limitMs);
    if (!ended())
      throw new Error(
        `the page did not come to its end ${browser.ended ? "before the browser did" : `in ${limitMs / 1000} s`}: ${browser.output.slice(-2000)}`,
      );
  } finally {
    await browser.end();
  }
}

async function viteBuild(folder) {
  const { code, output } = await run(process.execPath, [vite, "build", folder, "--logLevel", "warn"], { cwd: folder });
  if (code !== 0) throw new Error(output);
  return join(folder, "dist");
}

/** Serves a folder for the time of `use`, and hands over what its pages post. */
async function served(folder, isolated, use) {
  const results = [];
  const server = await startServer(folder, { headers: isolated ? isolation : {}, onResult: (result) => results.push(result) });
  try {
    return await use(server.origin, results);
  } finally {
    await server.close();
  }
}

async function suite({ project, report, test, cores }) {
  let built;
  await test("vite build bundles the package without configuration", async () => {
    built = await viteBuild(join(project, "pages/suite"));
  });
  if (!built) return;
  for (const { isolated, name } of modes)
    await test(`the suite comes to its end ${name}`, () =>
      served(built, isolated, async (origin, results) => {
        const surroundings = {
          runtimeName: "chromium",
          threadsExpected: isolated,
          autoThreads: isolated ? cores : 1,
          workerExpected: true,
          relaxedExpected: true,
          memory64Expected: true,
        };
        const query = new URLSearchParams({ surroundings: JSON.stringify(surroundings) });
        let seen = 0;
        const ended = () => {
          for (; seen < results.length && !results[seen].end; seen++)
            report({ ...results[seen], title: `${isolated ? "isolated" : "not isolated"}: ${results[seen].title}` });
          return results[seen]?.end === true;
        };
        await visit(project, `${origin}/?${query}`, ended, 90_000);
      }));
}

/** The example, with a script beside its own that drives it as a person would and posts what is seen. */
function drivenExample(project) {
  const folder = join(project, "driven-example");
  cpSync(join(project, "examples/browser"), folder, { recursive: true });
  cpSync(join(project, "pages/drive.js"), join(folder, "drive.js"));
  const html = readFileSync(join(folder, "index.html"), "utf8");
  // Beside the page: a model to drop.
  mkdirSync(join(folder, "public"), { recursive: true });
  cpSync(join(root, "models/stories-q4_0.gguf"), join(folder, "public/stories.gguf"));
  writeFileSync(join(folder, "index.html"), html.replace("</head>", '<script type="module" src="./drive.js"></script></head>'));
  return folder;
}

/** What the page says where nothing was chosen, nothing is there, something is stopped, and a file is dropped. */
function checkSteps({ error, steps, finished, status }) {
  const right =
    error === "" &&
    finished === "length" &&
    /^Done: 64 tokens/.test(status) &&
    /^Choose a model first/.test(steps.nothingChosen) &&
    steps.textThen === "" &&
    /none\.gguf/.test(steps.missing) &&
    steps.enterAlone === "Generate" &&
    steps.stopped === "Stopped|" &&
    steps.percent &&
    steps.dropped === "stories.gguf, 2.3 MB true" &&
    !steps.jumped;
  if (!right) throw new Error(`the page behaved otherwise: ${JSON.stringify({ error, finished, status, steps })}`);
}

async function example({ project, expected, test }) {
  const { text } = expected.greedy[0];
  let built;
  await test("vite build bundles the browser example without configuration", async () => {
    built = await viteBuild(drivenExample(project));
  });
  if (!built) return;
  for (const { isolated, name } of modes)
    await test(`the built example generates the expected text ${name}`, () =>
      served(built, isolated, async (origin, results) => {
        await visit(project, origin, () => results.length > 0, 30_000);
        const [seen] = results;
        checkSteps(seen);
        if (seen.text !== text) throw new Error(`expected the text "${text}", found ${JSON.stringify(seen)}`);
        if (seen.isolated !== (isolated ? "yes" : "no")) throw new Error(`isolated: ${seen.isolated}`);
        if (!isolated && (seen.threads !== "1" || !seen.note.includes("cross-origin")))
          throw new Error(`without isolation: ${JSON.stringify(seen)}`);
        return `${seen.speed}, ${seen.threads} ${seen.threads === "1" ? "thread" : "threads"}, ${seen.variant}, ${seen.memory}`;
      }));
}

/** Vite's dev server bundles dependencies in advance and loses their workers, unless the package is excluded from that. */
async function devServer({ project, expected, test }) {
  await test("vite dev serves the browser example, with the package in optimizeDeps.exclude", async () => {
    const { createServer } = await import(pathToFileURL(join(root, "test/node_modules/vite/dist/node/index.js")).href);
    const results = [];
    const server = await createServer({
      root: join(project, "driven-example"),
      configFile: false,
      logLevel: "warn",
      optimizeDeps: { exclude: ["cpm-wasm"] },
      server: { host: "127.0.0.1", headers: isolation },
      plugins: [
        {
          name: "results",
          configureServer: ({ middlewares }) =>
            void middlewares.use(
              "/results",
              resultTaker((result) => results.push(result)),
            ),
        },
      ],
    });
    try {
      await server.listen();
      const [url] = server.resolvedUrls.local;
      await visit(project, url, () => results.length > 0, 30_000);
      if (results[0].text !== expected.greedy[0].text) throw new Error(JSON.stringify(results[0]));
    } finally {
      await server.close();
    }
  });
}

export async function chromium(context) {
  await suite(context);
  await example(context);
  await devServer(context);
}
