// The project's own lint rules find what they are for, and let pass what is right.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const modules = join(root, "test/node_modules");

const folder = mkdtempSync(join(tmpdir(), "cpm-lint-"));
mkdirSync(join(folder, "src"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function lint(program: string, args: readonly string[], source: string): string {
  writeFileSync(join(folder, "src/sample.ts"), source);
  const env = { ...process.env, PATH: `${join(modules, ".bin")}${delimiter}${process.env["PATH"]}`, NO_COLOR: "1" };
  const { stdout, stderr } = spawnSync(process.execPath, [join(modules, program), ...args], {
    cwd: folder,
    env,
    encoding: "utf8",
  });
  return stdout + stderr;
}

/** A template with a value in it, as source. */
const hole = "`$" + "{value}`";

const unsafeBytes = [
  "export const f = (bytes: Uint8Array) => bytes.slice(1, 2);",
  "export const f = (o: { rawBytes: Uint8Array }) => o.rawBytes.slice();",
  "export const f = (chunk: Uint8Array) => chunk.slice(4);",
  "export const f = (a: Uint8Array) => new DataView(a.buffer);",
  "export const f = (a: Uint8Array) => new Float32Array(a.buffer);",
  "export function f(a: Uint8Array) { return a.buffer; }",
  "export const f = (a: Uint8Array) => { const b = a.buffer; return b; };",
];
const safeBytes = [
  "export const f = (text: string) => text.slice(1, 2);",
  "export const f = (a: Uint8Array) => new DataView(a.buffer, a.byteOffset, a.byteLength);",
  "export const f = (memory: WebAssembly.Memory) => new Uint8Array(memory.buffer);",
  "export const f = (list: number[]) => list.slice();",
];

test("slices of bytes taken for copies and views' whole buffers are errors", () => {
  copyFileSync(join(root, "test/lint/outside-bytes.grit"), join(folder, "outside-bytes.grit"));
  writeFileSync(join(folder, "biome.json"), JSON.stringify({ root: true, plugins: ["./outside-bytes.grit"] }));
  const run = (source: string) => lint("@biomejs/biome/bin/biome", ["lint", "src/sample.ts"], source);
  for (const source of unsafeBytes) expect(run(source), source).toMatch(/slice\(\) of a Buffer|all of the memory/);
  for (const source of safeBytes) expect(run(source), source).not.toMatch(/slice\(\) of a Buffer|all of the memory/);
});

test("what AssemblyScript's runtime would never free, and identity, are errors in assembly/", () => {
  copyFileSync(join(root, "test/lint/assembly.grit"), join(folder, "assembly.grit"));
  writeFileSync(join(folder, "biome.json"), JSON.stringify({ root: true, plugins: ["./assembly.grit"] }));
  const run = (source: string) => lint("@biomejs/biome/bin/biome", ["lint", "src/sample.ts"], source);
  for (const source of [
    "export const f = (): Box => new Box();",
    "export const f = (): StaticArray<i32> => new StaticArray<i32>(4);",
    "export const f = (): i32[] => [1, 2];",
    "export const f = (): Point => ({ x: 1 });",
    `export const f = (value: i32): string => ${hole};`,
  ])
    expect(run(source), source).toMatch(/never frees/);
  for (const source of ["export const f = (a: i32): bool => a === 1;", "export const f = (a: i32): bool => a !== 1;"])
    expect(run(source), source).toMatch(/asks for identity/);
  for (const source of [
    "export function f(at: usize, i: i32): i32 { return load<i32>(at + (i << 2)); }",
    "export function f(a: f64): bool { return a > 1; }",
    "export const WORD = memory.data<u8>([0x3c, 0x2f]);",
  ])
    expect(run(source), source).not.toMatch(/never frees|asks for identity/);
});

test("values of unknown make that become text by themselves are errors", () => {
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { strict: true, target: "ES2022", module: "NodeNext", types: [] }, include: ["src"] }),
  );
  const config = join(root, "test/lint/oxlint.json");
  const run = (source: string) => lint("oxlint/bin/oxlint", ["-c", config, "--type-aware", "src"], source);
  for (const source of [
    "export const f = (value: unknown) => String(value);",
    `export const f = (value: { a: 1 }) => ${hole};`,
    `export const f = (value: unknown) => ${hole};`,
    'export const f = (value: unknown) => "found " + value;',
  ])
    expect(run(source), source).toContain("no-base-to-string");
  for (const source of [
    "export const f = (value: number) => String(value);",
    `export const f = (value: string | bigint) => ${hole};`,
  ])
    expect(run(source), source).toMatch(/Found 0 warnings and 0 errors/);
});
