// The order of the house: a file uses only what stands above its folder, and only hosts know a runtime.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { stale } from "../cpp/build.mjs";

const src = fileURLToPath(new URL("../src/", import.meta.url));
const order = [
  "shown.ts",
  "errors.ts",
  "brands.ts",
  "signals.ts",
  "clock.ts",
  "flow.ts",
  "file",
  "wasm",
  "text",
  "model",
  "constrain",
  "decode",
  "engine",
  "hub",
  "port",
  "door",
  "index.ts",
  "chat",
  "server",
  "aisdk",
  "data",
  "convert",
  "quantise",
  "evaluate",
  "train",
  "tunnel",
  "agent",
  "survey",
  "synth",
  "host",
  "cli",
];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => /\.(ts|js)$/.test(name));
const imports: Import[] = files.flatMap((from) => {
  const text = readFileSync(join(src, from), "utf8");
  return [...text.matchAll(/^\s*(?:import|export)\s+(type\s)?(?:[^"';]*?from\s+)?"([^"]+)";?$/gm)].map((match) => {
    const named = /\{([^}]*)\}/.exec(match[0])?.[1];
    const allTypes = named?.split(",").every((name) => name.trim() === "" || name.trim().startsWith("type ")) ?? false;
    return { from, to: match[2]!, typeOnly: match[1] !== undefined || allTypes };
  });
});
const folderOf = (file: string): string => file.split("/")[0]!;
const target = ({ from, to }: Import): string => relative(src, join(src, dirname(from), to));

test("source files were found and their imports read", () => {
  expect(files.length).toBeGreaterThan(50);
  expect(imports.length).toBeGreaterThan(200);
});

test("code and types are imported only from folders above, in the order of the data's way", () => {
  const wrong = imports.filter(
    (i) =>
      i.to.startsWith(".") && !target(i).startsWith("..") && order.indexOf(folderOf(target(i))) > order.indexOf(folderOf(i.from)),
  );
  expect(wrong).toEqual([]);
  for (const file of files) expect(order, file).toContain(folderOf(file));
});

test("only hosts and the command line import a runtime's own modules", () => {
  expect(imports.filter((i) => i.to.startsWith("node:") && !["host", "cli"].includes(folderOf(i.from)))).toEqual([]);
});

test("nobody imports a host but hosts", () => {
  expect(imports.filter((i) => i.to.startsWith(".") && folderOf(target(i)) === "host" && folderOf(i.from) !== "host")).toEqual(
    [],
  );
});

test("the packages imported are the ones that package.json names", () => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(src, "../package.json"), "utf8")) as {
    dependencies: Record<string, string>;
    peerDependencies: Record<string, string>;
  };
  // What is loaded when it is used may also be an optional peer.
  const loaded = files.flatMap((file) =>
    [...readFileSync(join(src, file), "utf8").matchAll(/\bimport\("([^"]+)"\)/g)].map((match) => match[1]!),
  );
  const packages = (names: readonly string[]) =>
    names
      .filter((name) => !/^(\.|#|node:)/.test(name))
      .map((name) =>
        name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/"),
      );
  const used = new Set([
    // Types of an optional peer are used within; the declarations that are published do not name it.
    ...packages(imports.filter((i) => !i.typeOnly).map((i) => i.to)),
    ...packages(imports.filter((i) => i.typeOnly).map((i) => i.to)).filter((name) => !Object.hasOwn(peerDependencies, name)),
    ...packages(loaded).filter((name) => !Object.hasOwn(peerDependencies, name)),
  ]);
  used.delete("cpm-wasm");
  expect([...used].sort()).toEqual(Object.keys(dependencies).sort());
});

/** Folders of cpp/, and whose headers each may include beside its own and those of cpp/ itself. */
const cppOrder: Readonly<Record<string, readonly string[]>> = {
  kernels: [],
  model: ["kernels"],
  quantise: ["kernels", "model"],
  // A record of a step, which operations read.
  grad: ["kernels/scalar.h", "train/program.h"],
  train: ["grad"],
  ".": ["kernels", "model"],
};
/** The layout of the cache's tiles, which attention, compressed keys and their choice read, is with the cache. */
const cppUpward = ["model/kv.h"];

test("C++ includes only what stands above it", () => {
  const cpp = fileURLToPath(new URL("../cpp/", import.meta.url));
  const sources = readdirSync(cpp, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => /\.(cpp|h)$/.test(name) && !name.startsWith("node_modules/"));
  expect(sources.length).toBeGreaterThan(50);
  const wrong = sources.flatMap((from) => {
    const own = dirname(from);
    expect(Object.keys(cppOrder), from).toContain(own);
    const included = [...readFileSync(join(cpp, from), "utf8").matchAll(/^#include "([^"]+)"$/gm)];
    return included
      .map((match) => join(own, match[1]!).replaceAll("\\", "/"))
      .filter((to) => {
        if (dirname(to) === own || dirname(to) === "." || (own === "kernels" && cppUpward.includes(to))) return false;
        return !cppOrder[own]!.some((may) => to === may || to.startsWith(`${may}/`));
      })
      .map((to) => `cpp/${from} includes ${to}`);
  });
  expect(wrong).toEqual([]);
});

test("ARCHITECTURE.md has a row for every kernel, and its paths and definitions are there", () => {
  const root = fileURLToPath(new URL("../", import.meta.url));
  const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  const table = /\n## Kernels by one word\n([\s\S]*?)\n## /.exec(page)![1]!;
  for (const folder of ["kernels", "model", "grad", "train", "quantise"])
    for (const name of readdirSync(join(root, "cpp", folder))) {
      if (!name.endsWith(".cpp") || name === "exports.cpp") continue;
      expect(table, `cpp/${folder}/${name}`).toMatch(new RegExp(`\\b${name.replace(/(_wide)?\.cpp$/, "")}\\b`));
    }
  const sources = readdirSync(join(root, "cpp"), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(cpp|h)$/.test(name) && !name.startsWith("node_modules"))
    .map((name) => readFileSync(join(root, "cpp", name), "utf8"))
    .join("\n");
  for (const [, quoted] of table.matchAll(/`([^` ]+)[^`]*`/g)) {
    if (/^(test|bench)\//.test(quoted!)) expect(existsSync(join(root, quoted!)), quoted).toBe(true);
    const definition = /_ref$/.test(quoted!) && !/^WORD/.test(quoted!);
    if (definition) expect(new RegExp(`\\b${quoted!.replace("*", "\\w+")}\\(`).test(sources), quoted).toBe(true);
  }
});

test("wasm/ was built from the sources beside it", () => {
  expect(stale()).toBeUndefined();
});
