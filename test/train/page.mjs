// examples/train/page in headless Chromium: an adapter and a draft head are trained, other runs of both are stopped, the text with the adapter is what
// was trained, with the head it is as without, and the files that are downloaded work. Needs the packages of test/, and chromium. Prints "N passed, N failed".
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { load } from "../../dist/host/node.js";
import { visit } from "../runtimes/chromium.mjs";
import { startServer } from "../runtimes/server.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
// Inside the checkout, so that the package is found by its own name.
mkdirSync(join(root, "build"), { recursive: true });
const folder = mkdtempSync(join(root, "build/page-"));

/** What a person would do. */
const driver = `
const get = (id) => document.getElementById(id);
const until = async (what) => { while (!what()) await new Promise((done) => setTimeout(done, 20)); };
const text = (bytes) => { let binary = ""; for (const byte of bytes) binary += String.fromCharCode(byte); return btoa(binary); };
const idle = () => !get("train").disabled;
const post = (seen) => fetch("/results", { method: "POST", body: JSON.stringify(seen) });
async function drive() {
  await until(() => get("train"));
  get("updates").value = "5000";
  get("train").click();
  await until(() => /^Update [3-9]/.test(get("status").textContent) || idle());
  const enabled = !get("stop").disabled;
  get("stop").click();
  await until(idle);
  const stopped = get("status").textContent;
  get("updates").value = "40";
  get("train").click();
  await until(() => idle());
  const done = get("status").textContent;
  const adapter = new Uint8Array(await (await fetch(get("download").href)).arrayBuffer());
  get("try").click();
  await until(() => idle());
  const texts = { own: get("with").textContent, plain: get("without").textContent };
  // A head of the same texts.
  get("kind").value = "head";
  get("updates").value = "5000";
  get("train").click();
  await until(() => /^Update [3-9]/.test(get("status").textContent) || idle());
  get("stop").click();
  await until(idle);
  const headStopped = get("status").textContent;
  get("updates").value = "120";
  get("train").click();
  await until(() => idle());
  const head = new Uint8Array(await (await fetch(get("download").href)).arrayBuffer());
  const headDone = get("status").textContent;
  const name = get("download").download;
  get("prompt").value = "Once upon a time there was a robot named Zip.";
  get("try").click();
  await until(() => idle());
  const drafted = { own: get("with").textContent, plain: get("without").textContent, status: get("status").textContent };
  await post({ enabled, stopped, done, ...texts, adapter: text(adapter), hidden: get("download").hidden, headStopped, headDone, name, head: text(head), drafted });
}
addEventListener("error", (event) => post({ error: event.message }));
drive().catch((error) => post({ error: String(error.stack ?? error) }));
`;

let [passed, failed] = [0, 0];
const check = (what, good, more = "") => {
  if (good) passed++;
  else failed++;
  console.log(`${good ? "ok" : "FAILED"}  ${what}${good ? "" : `: ${more}`}`);
};
let server;
try {
  cpSync(join(root, "examples/train/page"), join(folder, "page"), { recursive: true });
  const html = join(folder, "page/index.html");
  writeFileSync(join(folder, "page/drive.js"), driver);
  writeFileSync(html, readFileSync(html, "utf8").replace("</head>", '<script type="module" src="./drive.js"></script></head>'));
  const vite = join(root, "test/node_modules/vite/bin/vite.js");
  execFileSync(process.execPath, [vite, "build", join(folder, "page"), "--logLevel", "warn"], { stdio: "inherit" });
  check("vite builds the page without configuration", true);
  const results = [];
  server = await startServer(join(folder, "page/dist"), { onResult: (result) => results.push(result) });
  await visit(folder, server.origin, () => results.length > 0, 900_000);
  const { error, enabled, stopped, done, own, plain, adapter, hidden } = results[0];
  const { headStopped, headDone, name, head, drafted } = results[0];
  check("nothing fails", error === undefined, error);
  check("a run is stopped, and has an adapter", enabled && /Stopped: \d+ bytes$/.test(stopped), stopped);
  check("a run ends", /^Update 40 of 40: loss 0\.\d+.* Done: \d+ bytes$/.test(done), done);
  check("the text with the adapter is of what was trained", /robot named Zip/.test(own), own);
  check("the text without it is the model's own", plain !== own && !/Zip/.test(plain), plain);
  const bytes = Buffer.from(adapter ?? "", "base64");
  check("the file can be downloaded", hidden === false && bytes.toString("latin1", 0, 4) === "GGUF", String(hidden));
  const model = await load(join(root, "models/stories-q4_0.gguf"), { threads: 1, lora: [{ path: bytes, name: "page" }] });
  const { text } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 40 });
  await model.dispose();
  check("Node gives the same text with it", text === own, `${text} and ${own}`);
  check("a head's run is stopped, and has a head", / Stopped: \d+ bytes$/.test(headStopped), headStopped);
  check("a head's run ends", /^Update 120 of 120: .* Done: \d+ bytes$/.test(headDone) && name === "head.safetensors", headDone);
  check("with the head the text is the same", drafted.own === drafted.plain && drafted.own.length > 20, JSON.stringify(drafted));
  const rate = Number(/([\d.]+) tokens a round/.exec(drafted.status)?.[1]);
  check("it foretells tokens of what it was trained on", rate > 1, drafted.status);
  const eagle = Buffer.from(head ?? "", "base64");
  const names = Object.keys(JSON.parse(eagle.toString("utf8", 8, 8 + Number(eagle.readBigUInt64LE(0))))).filter(
    (key) => key !== "__metadata__",
  );
  check(
    "its tensors have the published names",
    names.includes("fc.weight") && names.includes("layers.0.self_attn.q_proj.weight"),
    names.join(),
  );
  const drafting = await load(join(root, "models/stories-q4_0.gguf"), {
    threads: 1,
    draft: { eagle, adaptive: false, lookup: false },
  });
  const again = await drafting.generate("Once upon a time there was a robot named Zip.", { temperature: 0, maxTokens: 40 });
  await drafting.dispose();
  check("Node gives the same text with the head", again.text === drafted.own, `${again.text} and ${drafted.own}`);
} catch (error) {
  check("the page comes to its end", false, error.stack);
} finally {
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
