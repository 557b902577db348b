// What is shipped as one script, run in a page of headless Chromium and in workerd.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { started } from "../runtimes/workerd.mjs";
import { chromiumFlags } from "./chromium.mjs";

/** The DOM, as text, of a page in `folder` that runs `script`. */
export function domOf(folder, script, timeout) {
  writeFileSync(
    join(folder, "page.html"),
    `<!doctype html><meta charset="utf-8"><body></body><script>${script.replaceAll("</script", "<\\/script")}</script>`,
  );
  const args = [
    ...chromiumFlags,
    `--virtual-time-budget=${timeout}`,
    `--user-data-dir=${join(folder, "profile")}`,
    "--dump-dom",
    `file://${folder}/page.html`,
  ];
  return execFileSync(process.env.CHROMIUM ?? "chromium", args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout,
  });
}

/** What `worker.js` in `folder` answers in workerd, with the module `wasm` beside it. */
export async function answerOf(folder, wasm) {
  writeFileSync(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [(name = "worker.js", esModule = embed "worker.js"), (name = "${wasm}", wasm = embed "${wasm}")],
);
`,
  );
  const server = await started(join(folder, "config.capnp"));
  try {
    return await (await fetch(server.url)).text();
  } finally {
    await server.end();
  }
}
