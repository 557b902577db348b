// What the rows share: a page's program, folders, commands, and looking at what came out.
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { visit } from "../runtimes/chromium.mjs";
import { run } from "../runtimes/process.mjs";
import { isolation, startServer } from "../runtimes/server.mjs";

const require = createRequire(import.meta.url);

/** The script behind a package's command. */
export const bin = (name, command = name) => {
  const manifest = require.resolve(`${name}/package.json`);
  const { bin: found } = require(manifest);
  return join(dirname(manifest), typeof found === "string" ? found : found[command]);
};

/** Writes files by name into a folder of the project; gives the folder. */
export function folderOf(project, name, files) {
  const folder = join(project, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

/** Runs a command; throws with its output when it fails. Gives the output. */
export async function must(command, args, options) {
  const { code, output } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: exit code ${code}\n${output}`);
  return output;
}

/** A program for pages: generates with the model at `model` (an expression) and posts what it saw. `entry`: what it imports. */
export const pageProgram = (entry, model, { prompt, tokens }) => `import * as cpm from "${entry}";
const post = (result) => fetch("/results", { method: "POST", body: JSON.stringify(result) });
try {
  const model = await cpm.load(${model}, { threads: crossOriginIsolated ? 2 : "auto" });
  const { text } = await model.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
  const near = await cpm.load(${model}, { worker: false });
  const { text: again } = await near.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
  await post({ text, again, threads: model.info.threads });
} catch (error) {
  await post({ name: error?.name, code: error?.code, message: String(error?.message ?? error) });
}
`;

export const html = (script) =>
  `<!doctype html><html><head><meta charset="utf-8"><title>t</title></head><body><script type="module" src="${script}"></script></body></html>\n`;

/** Serves `folder`, opens its page in Chromium and gives what the page posted. */
export async function opened(project, folder, headers = isolation, path = "/") {
  const results = [];
  const server = await startServer(folder, { headers, onResult: (result) => results.push(result) });
  try {
    await visit(project, server.origin + path, () => results.length > 0, 40_000);
    return results[0];
  } finally {
    await server.close();
  }
}

/** What a page that works has posted; a note for the report. */
export function works(seen, expected, threads = 2) {
  if (seen.text !== expected.text || seen.again !== expected.text || seen.threads !== threads)
    throw new Error(`expected the text "${expected.text}" twice and ${threads} threads, found ${JSON.stringify(seen)}`);
  return `generated ${expected.tokens.length} tokens twice, in a worker of ${threads} threads and in the page's own`;
}

/** What a page that cannot work has posted: a CpmError that says what to do. */
export function refused(seen, code, pattern) {
  if (seen.name !== "CpmError" || seen.code !== code || !pattern.test(seen.message))
    throw new Error(`expected a CpmError "${code}" that says ${pattern}, found ${JSON.stringify(seen)}`);
  return seen.message.slice(0, 100);
}
