// Builds the chat page into dist/web: types, then Vite. Installs its packages on first use. Needs the built package.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../test/run.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const web = join(root, "web");
install(web);
for (const args of [
  [join(root, "node_modules/typescript/bin/tsc"), "-p", web],
  [join(web, "node_modules/vite/bin/vite.js"), "build", "--config", join(web, "vite.config.mjs"), "--logLevel", "warn"],
]) {
  const { status } = spawnSync(process.execPath, args, { cwd: web, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
