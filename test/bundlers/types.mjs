// The types of the installed package: without lib "dom", under every resolution, and with every check on.
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { root } from "../runtimes/package.mjs";
import { folderOf, must } from "./given.mjs";

const require = createRequire(import.meta.url);
const compilers = {
  "TypeScript 5": join(dirname(require.resolve("typescript/package.json")), "bin/tsc"),
  "the newest TypeScript": join(root, "node_modules/typescript/bin/tsc"),
};

const program = `import { CpmError, load, type Model, type LoadOptions } from "cpm-wasm";
import * as embedded from "cpm-wasm/embedded";
const options: LoadOptions = { contextSize: 64 };
export async function main(): Promise<string> {
  const model: Model = await load("model.gguf", options);
  try {
    for await (const part of model.generate("Once", { maxTokens: 4 })) console.log(part.text);
    return (await embedded.load("x")).info.kernels === undefined ? "" : "x";
  } catch (error) {
    return error instanceof CpmError ? error.code : "";
  }
}
`.replace(
  'return (await embedded.load("x")).info.kernels === undefined ? "" : "x";',
  'return (await (await embedded.load("x")).generate("y")).text;',
);

export async function types({ project, test }) {
  const folder = folderOf(project, "types", { "main.mts": program, "package.json": '{"private":true,"type":"module"}' });
  for (const [name, tsc] of Object.entries(compilers))
    for (const [module, resolution, conditions] of [
      ["node16", "node16", undefined],
      ["nodenext", "nodenext", undefined],
      ["esnext", "bundler", undefined],
      ["esnext", "bundler", ["workerd"]],
    ])
      await test(`${name}, ${resolution}${conditions ? ` under ${conditions}` : ""}: without dom, libraries checked`, async () => {
        const compilerOptions = {
          noEmit: true,
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: false,
          target: "es2022",
          lib: ["es2023", "esnext.disposable"],
          module,
          moduleResolution: resolution,
          types: ["node"],
          typeRoots: [join(root, "node_modules/@types")],
          ...(conditions ? { customConditions: conditions } : {}),
        };
        writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.mts"] }));
        await must(process.execPath, [tsc, "-p", folder], { cwd: folder });
      });
}
