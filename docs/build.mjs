// The guides and the API reference as a site: `npm run docs` writes build/docs/, without a network once the packages are there.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../test/run.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = join(here, "../build/docs");
install(here);
// What package.json exports, as sources.
const { exports } = JSON.parse(readFileSync(join(here, "../package.json"), "utf8"));
const typesOf = (entry) => (typeof entry === "string" ? undefined : (entry.types ?? typesOf(entry.node ?? entry.default)));
const entries = Object.entries(exports)
  .filter(([name]) => name !== "./embedded")
  .map(([, entry]) => typesOf(entry.node ?? entry))
  .filter((types) => types !== undefined)
  .map((types) => join(here, "..", types.replace("dist/", "src/").replace(/\.d\.ts$/, ".ts")));
const typedoc = [
  join(here, "node_modules/typedoc/bin/typedoc"),
  ...["--options", join(here, "typedoc.json"), "--logLevel", "Warn"],
  ...entries.flatMap((entry) => ["--entryPoints", entry]),
];
const { status } = spawnSync(process.execPath, typedoc, { cwd: here, stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

// Every link and picture inside the site leads to a file of the site.
const pages = readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".html"));
const broken = pages.flatMap((page) =>
  [...readFileSync(join(out, page), "utf8").matchAll(/\s(?:href|src)="([^"#?]+)/g)]
    .map((match) => decodeURI(match[1].replaceAll("&amp;", "&")))
    .filter((link) => !/^[a-z]+:/i.test(link))
    .map((link) => join(out, dirname(page), link))
    .filter((file) => !existsSync(file))
    .map((file) => `${page}: ${relative(out, file)}`),
);
for (const line of broken) console.error(`broken link: ${line}`);
console.log(`${pages.length} pages in ${relative(process.cwd(), out) || out}, ${broken.length} broken links`);
process.exitCode = broken.length ? 1 : 0;
