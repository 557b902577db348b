// Runs the built command as a person or a script does.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect } from "vitest";

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const main = join(root, "dist/cli/main.js");
export const story = join(root, "models/stories-q4_0.gguf");

export interface Outcome {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** A running command and how it will end. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves once what was written so far is as wanted, or the command has ended. */
  until(wanted: (out: string, err: string) => boolean): Promise<void>;
  readonly ended: Promise<Outcome>;
}

const running = new Set<ChildProcessWithoutNullStreams>();
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
});

export function start(args: readonly string[], command = [process.execPath, main]): Running {
  const child = spawn(command[0]!, [...command.slice(1), ...args], { cwd: root, env: { ...process.env, NO_COLOR: "1" } });
  running.add(child);
  let [out, err] = ["", ""];
  /** Looks again whenever something happened. */
  let look: () => void = () => {};
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    look();
  });
  child.stdin.on("error", () => {});
  const ended = once(child, "close").then(([status]) => {
    running.delete(child);
    look();
    return { status: status as number | null, out, err };
  });
  const until = (wanted: (out: string, err: string) => boolean) =>
    new Promise<void>((resolve) => {
      look = () => (wanted(out, err) || !running.has(child)) && resolve();
      look();
    });
  return { child, until, ended };
}

export function cpm(args: readonly string[], input = "", command?: string[]): Promise<Outcome> {
  const { child, ended } = start(args, command);
  child.stdin.end(input);
  return ended;
}

/** The object that a command prints with --json; its stdout holds nothing else, its stderr nothing at all. */
export async function json<T>(args: readonly string[]): Promise<T> {
  const { status, out, err } = await cpm([...args, "--json"]);
  expect({ args, status, err }).toEqual({ args, status: 0, err: "" });
  expect(out).toMatch(/^\{.*\}\n$/);
  return JSON.parse(out) as T;
}

/** A folder for this file's tests, removed after them. */
export function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), "cpm-cli-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Zstandard of bytes in raw blocks: what any encoder may write. */
export function rawZstd(bytes: Buffer): Buffer {
  // Magic, a frame header with a content size of 4 bytes and a window of 8 MiB, the size.
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x68, 0, 0, 0, 0]);
  head.writeUInt32LE(bytes.length, 6);
  const parts: Buffer[] = [head];
  for (let at = 0; at < bytes.length; at += 65536) {
    const block = bytes.subarray(at, at + 65536);
    const last = at + 65536 >= bytes.length ? 1 : 0;
    const size = Buffer.alloc(3);
    size.writeUIntLE((block.length << 3) | last, 0, 3);
    parts.push(size, block);
  }
  return Buffer.concat(parts);
}
