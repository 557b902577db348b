// Every @example of the sources compiles against the package as it is published, runs, and prints what it says after "// =>".
// Every example of the guides and the README that is whole (it begins with an import) compiles.
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
// Below the package itself, so that "cpm-wasm" is what package.json exports.
const out = join(root, "build/examples");

interface Example {
  readonly name: string;
  readonly code: string;
  /** Lines that it prints. */
  readonly prints: readonly string[];
}

const named = new Map<string, number>();
function example(file: string, code: string): Example {
  const base = file.replace(/\.\w+$/, "").replaceAll(/\W+/g, "-");
  const count = (named.get(base) ?? 0) + 1;
  named.set(base, count);
  return { name: `${base}-${count}`, code, prints: [...code.matchAll(/^\/\/ => (.*)$/gm)].map((match) => match[1]!) };
}

const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
const examples = sources
  .sort()
  .flatMap((name) =>
    [...readFileSync(join(root, "src", name), "utf8").matchAll(/@example\n\s*\* ```ts\n([\s\S]*?)\n\s*\* ```/g)].map((match) =>
      example(name, match[1]!.replaceAll(/^\s*\* ?/gm, "")),
    ),
  );
const guides = ["README.md", ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"))].flatMap((name) =>
  [
    ...readFileSync(join(root, name === "README.md" ? name : `docs/${name}`), "utf8").matchAll(
      /^```(?:ts|js)\n(import [\s\S]*?)^```$/gm,
    ),
  ].map((match) => example(name, match[1]!)),
);

beforeAll(async () => {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  for (const { name, code } of [...examples, ...guides]) writeFileSync(join(out, `${name}.mts`), `${code}\nexport {};\n`);
  // What the guides name and no package of ours brings.
  writeFileSync(
    join(out, "others.d.ts"),
    'declare module "ai";\ndeclare module "*.gguf" {\n  const bytes: ArrayBuffer;\n  export default bytes;\n}\ndeclare const Deno: { serve(handler: unknown): void };\n',
  );
  const tsconfig = {
    extends: "../../tsconfig.json",
    compilerOptions: {
      rootDir: ".",
      outDir: "js",
      declaration: false,
      noUnusedLocals: false,
      noUnusedParameters: false,
      isolatedModules: false,
      typeRoots: [join(root, "node_modules/@types")],
    },
    include: ["*.mts", "*.d.ts"],
  };
  writeFileSync(join(out, "tsconfig.json"), JSON.stringify(tsconfig));
  await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", out]).catch(
    ({ stdout, message }: { stdout?: string; message: string }) => {
      throw new Error(`the examples do not compile:\n${stdout || message}`);
    },
  );
}, 300_000);

test("the main functions have examples, and the guides too", () => {
  expect(examples.length).toBeGreaterThan(9);
  expect(guides.length).toBeGreaterThan(3);
  for (const { name, prints } of examples) expect(prints, name).not.toEqual([]);
});

test.each(examples)("$name prints what it says", { timeout: 300_000 }, async ({ name, prints }) => {
  const { stdout } = await run(process.execPath, [join(out, "js", `${name}.mjs`)], { cwd: out });
  expect(stdout.trimEnd().split("\n")).toEqual(prints);
});
