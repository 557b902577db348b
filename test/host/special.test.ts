// Only regular files are models: what waits for ever, ends nowhere or acts on being read is refused by kind.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { pathFiles } from "../../src/host/node.files.ts";

const posix = process.platform !== "win32";
const folder = mkdtempSync(join(tmpdir(), "cpm-special-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function refusal(path: string): Promise<CpmError> {
  const files = await pathFiles(path);
  try {
    await files.open(files.entry);
  } catch (error) {
    expect(error).toBeInstanceOf(CpmError);
    return error as CpmError;
  } finally {
    await files.close();
  }
  throw new Error(`${path} was opened`);
}

test.runIf(posix)("pipes, devices, sockets and folders are refused without being opened, through links too", async () => {
  const pipe = join(folder, "model.gguf");
  execFileSync("mkfifo", [pipe]);
  const link = join(folder, "link.gguf");
  symlinkSync(pipe, link);
  const socket = join(folder, "socket.gguf");
  const server = createServer().listen(socket);
  await new Promise((done) => server.once("listening", done));
  try {
    for (const [path, kind] of [
      [pipe, "a pipe"],
      [link, "a pipe"],
      [socket, "a socket"],
      ["/dev/zero", "a device"],
      ["/dev/null", "a device"],
    ] as const) {
      const error = await refusal(path);
      expect(error.code).toBe("io");
      expect(error.message).toContain(`found ${kind}`);
      expect(error.detail.found).toBe(kind);
    }
  } finally {
    await new Promise((done) => server.close(done));
  }
});

test("a folder where a file of the model should be is refused by name", async () => {
  const model = join(folder, "model");
  mkdirSync(join(model, "config.json"), { recursive: true });
  const files = await pathFiles(model);
  await expect(files.open("config.json")).rejects.toThrow(/config\.json: expected a regular file, found a folder/);
  await expect(files.open("absent.json")).resolves.toBeUndefined();
  writeFileSync(join(model, "there.json"), "{}");
  const source = await files.open("there.json");
  expect(source?.size).toBe(2);
  await files.close();
});
