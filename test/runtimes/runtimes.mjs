// The runtimes: where their programs are, and what is run on each.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { chromium } from "./chromium.mjs";
import { hub } from "./hub.mjs";
import { root } from "./package.mjs";
import { run } from "./process.mjs";
import { workerd } from "./workerd.mjs";

const bin = (name) => join(root, "test/runtimes/node_modules/.bin", name);
const cores = availableParallelism();

/** Runs a script of the project and reports what it printed; not coming to its end is a failure of its own. */
async function script({ project, report }, prefix, command, args) {
  let count = 0;
  const { code, output, ms } = await run(command, args, {
    cwd: project,
    onObject(result) {
      count++;
      report({ ...result, title: prefix ? `${prefix}: ${result.title}` : result.title });
    },
  });
  if (code !== 0 || count === 0)
    report({
      title: `${prefix || args.join(" ").slice(0, 80)} comes to its end`,
      ok: false,
      ms: Math.round(ms),
      error: `exit code ${code}, ${count} results\n${output}`,
    });
}

const suite = (context, prefix, command, args, surroundings) =>
  script(context, prefix, command, [...args, "script.mjs", JSON.stringify(surroundings)]);

/** A program of the project must exit with 0 by itself, soon, and have printed `pattern`. */
async function ends({ project }, command, args, pattern, limitMs = 120_000) {
  const { code, output, ms } = await run(command, args, { cwd: project, limitMs });
  if (code === null) throw new Error(`it did not end in ${limitMs / 1000} s: ${output}`);
  if (code !== 0 || !pattern.test(output)) throw new Error(`exit code ${code}: ${output}`);
  return `${/\[.*\]/.exec(output)?.[0] ?? "ended"} after ${Math.round(ms)} ms`;
}

/** Models by name. */
const pulls = (context, command, args = []) =>
  hub(context, (given) => script(context, "names", command, [...args, "pull.mjs", ...given]));

/** That the process ends by itself, and that the runtime's example works. */
async function programs(context, command, args, example) {
  await context.test("the process ends by itself after dispose", () =>
    ends(context, command, [...args, "exits.mjs", "dispose"], /now at its end/),
  );
  await context.test("an idle model does not keep the process alive", () =>
    ends(context, command, [...args, "exits.mjs", "leave"], /now at its end/),
  );
  const { prompt, text } = context.expected.greedy[0];
  const start = { test: (output) => output.startsWith(prompt + text.slice(0, 150)) };
  await context.test(`examples/${example} prints the expected text`, () =>
    ends(context, command, [...args, `examples/${example}`, prompt], start),
  );
}

async function node(context, command, relaxedExpected) {
  const surroundings = {
    runtimeName: "node",
    threadsExpected: true,
    workerExpected: true,
    relaxedExpected,
    // The Node that has one has the other.
    memory64Expected: relaxedExpected,
    defaultModel: true,
    url: `${context.origin}/stories-q4_0.gguf`,
  };
  await suite(context, "", command, [], surroundings);
  await script(context, "", command, ["--expose-gc", "lifecycle.mjs"]);
  await pulls(context, command);
  await programs(context, command, [], "node.mjs");
}

async function deno(context) {
  const command = bin("deno");
  const base = ["run", "--no-prompt", "--no-lock", "--cached-only"];
  const relaxed = { runtimeName: "deno", relaxedExpected: true, memory64Expected: true };
  await suite(context, "no permission", command, base, { ...relaxed, threadsExpected: false, workerExpected: false });
  await suite(context, "--allow-read", command, [...base, "--allow-read"], {
    ...relaxed,
    threadsExpected: true,
    workerExpected: true,
    defaultModel: true,
  });
  const file = join(context.project, "node_modules/cpm-wasm/models/stories-q4_0.gguf");
  const one = { ...relaxed, threadsExpected: false, workerExpected: false, defaultModel: true, only: "the model may be" };
  await suite(context, "--allow-read for the model alone", command, [...base, `--allow-read=${file}`], one);
  const host = new URL(context.origin).host;
  const url = {
    ...relaxed,
    threadsExpected: false,
    workerExpected: false,
    url: `${context.origin}/stories-q4_0.gguf`,
    only: "the model may be",
  };
  await suite(context, "--allow-net", command, [...base, `--allow-net=${host}`], url);
  // Links take the right to read and write everywhere; the lock names the host.
  await pulls(context, command, [
    ...base,
    "--allow-read",
    "--allow-write",
    "--allow-net=127.0.0.1",
    "--allow-env",
    "--allow-sys",
  ]);
  await programs(context, command, [...base, "--allow-read"], "deno.ts");
  await context.test("deno check finds the example's types right", async () => {
    const { code, output } = await run(command, ["check", "--no-lock", "examples/deno.ts"], { cwd: context.project });
    if (code !== 0) throw new Error(output);
  });
}

async function bun(context) {
  const surroundings = {
    runtimeName: "bun",
    threadsExpected: true,
    workerExpected: true,
    relaxedExpected: true,
    defaultModel: true,
    url: `${context.origin}/stories-q4_0.gguf`,
  };
  await suite(context, "", bin("bun"), [], surroundings);
  await pulls(context, bin("bun"));
  await programs(context, bin("bun"), [], "bun.ts");
}

/** What is in the tarball, and whether TypeScript finds the types behind every condition. */
async function packaged(context) {
  const { files, tarballBytes, unpackedBytes, project, test } = context;
  await test("the tarball has what the package needs and nothing else", () => {
    const allowed =
      /^(dist\/.+\.(js|d\.ts)|dist\/licences\.txt|dist\/web\/[\w./-]+\.(html|css|svg|json|webmanifest)|wasm\/.+\.(wasm|wasm\.js|json)|models\/(README\.md|stories-q4_0\.gguf)|docs\/[\w-]+\.md|docs\/pictures\/[\w-]+\.(png|svg)|examples\/.+|bench\/RESULTS\.md|package\.json|[A-Z]+\.md|LICENSE)$/;
    const wrong = files.filter((file) => !allowed.test(file));
    if (wrong.length) throw new Error(`not expected: ${wrong.join(", ")}`);
    const { exports, main, browser, types, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const leaves = (entry) => (typeof entry === "string" ? [entry] : Object.values(entry).flatMap(leaves));
    const named = leaves([exports, main, browser, types, bin]).filter((file) => !file.includes("*"));
    const missing = named.filter((file) => !files.includes(file.slice(2)));
    if (missing.length) throw new Error(`exports name missing files: ${missing.join(", ")}`);
    // Half of it is the embedded model; what wings bring lies beside the core and is read when it is used.
    // The story model is 2.3 MB of it, kernels in the forms of each kind of machine 1.5 MB.
    if (tarballBytes > 5_500_000) throw new Error(`${tarballBytes} bytes`);
    return `${files.length} files, ${(tarballBytes / 1e6).toFixed(2)} MB packed, ${(unpackedBytes / 1e6).toFixed(2)} MB unpacked`;
  });
  await test("what README and the packed pages link to is in the tarball", () => {
    const broken = files
      .filter((file) => file.endsWith(".md"))
      .flatMap((file) =>
        [...readFileSync(join(root, file), "utf8").matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)].flatMap(([, link]) => {
          const path = join(dirname(file), link).replace(/\/$/, "");
          return files.some((known) => known === path || known.startsWith(`${path}/`)) ? [] : [`${file}: ${link}`];
        }),
      );
    if (broken.length) throw new Error(broken.join("\n"));
  });
  await test("installing the tarball warns of nothing", async () => {
    const folder = join(project, "fresh");
    mkdirSync(folder);
    writeFileSync(join(folder, "package.json"), '{"private":true}');
    const tarball = join(project, `cpm-wasm-${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version}.tgz`);
    const { code, output } = await run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", tarball], {
      cwd: folder,
    });
    if (code !== 0 || /warn/i.test(output)) throw new Error(output);
    const { code: help, output: said } = await run("npx", ["--no-install", "cpm-wasm", "--help"], { cwd: folder });
    if (help !== 0 || !/chat/.test(said)) throw new Error(said);
  });
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const common = [
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--lib",
    "es2023,esnext.disposable,dom,dom.iterable,dom.asynciterable",
    "--typeRoots",
    join(root, "node_modules/@types"),
  ];
  const cases = [
    {
      name: "the page, for bundlers",
      args: ["--module", "esnext", "--moduleResolution", "bundler", "--types", "", "examples/browser/main.ts"],
    },
    {
      name: "the edge worker, under the condition workerd",
      args: [
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
        "--customConditions",
        "workerd",
        "--types",
        "",
        "examples/edge-worker.ts",
        "examples/edge/modules.d.ts",
      ],
    },
    {
      name: "the Bun script, under the condition bun",
      args: [
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
        "--customConditions",
        "bun",
        "--types",
        "node",
        "examples/bun.ts",
      ],
    },
    { name: "the Node script", args: ["--module", "nodenext", "--allowJs", "--checkJs", "--types", "node", "examples/node.mjs"] },
  ];
  for (const { name, args } of cases)
    await test(`TypeScript finds the types of the installed package right: ${name}`, async () => {
      const { code, output } = await run(process.execPath, [tsc, ...common, ...args], { cwd: project });
      if (code !== 0) throw new Error(output);
    });
}

const node20 = process.versions.node.startsWith("20.");

export const runtimes = {
  package: { name: "package", run: packaged },
  node20: {
    name: node20 ? "Node 20" : `Node ${process.versions.node.split(".")[0]} (this one; Node 20 is not what runs this)`,
    run: (context) => node(context, process.execPath, Number(process.versions.node.split(".")[0]) >= 22),
  },
  node26: { name: "Node 26", run: (context) => node(context, bin("node"), true) },
  deno: { name: "Deno", run: deno },
  bun: { name: "Bun", run: bun },
  workerd: { name: "workerd", run: workerd },
  chromium: { name: "Chromium", run: (context) => chromium({ ...context, cores }) },
};
