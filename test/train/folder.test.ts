// A run's folder on disk: one process at a time, and what happens where there is no room.
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterAll, expect, test } from "vitest";
import { lockRun } from "../../src/host/train.lock.ts";
import { diskStore } from "../../src/host/train.store.ts";
import { root } from "./rig.ts";

const home = mkdtempSync(join(tmpdir(), "cpm-folder-"));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});
let made = 0;
const folder = (): string => {
  const path = join(home, String(made++));
  mkdirSync(path);
  return path;
};
const locks = (path: string) => readdirSync(path).filter((name) => name.startsWith(".run.lock"));

/** A process that takes the lock and keeps it; gives its number when it has it. */
async function holder(path: string): Promise<{ child: ChildProcess; pid: number }> {
  const script = `const { lockRun } = await import(${JSON.stringify(`${root}dist/host/train.node.js`)});
    await lockRun(${JSON.stringify(path)}); process.stdout.write("held"); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await new Promise((done, failed) => {
    child.stdout!.once("data", done);
    child.once("exit", () => failed(new Error("the holder ended")));
  });
  return { child, pid: child.pid! };
}

test("a second run in a folder is told which process is at work there, and may begin when that one has ended", async () => {
  const path = folder();
  const release = await lockRun(path);
  await expect(lockRun(path)).rejects.toMatchObject({
    code: "busy",
    message: expect.stringContaining(`process ${process.pid}`) as string,
  });
  await release();
  expect(locks(path)).toEqual([]);
  await (await lockRun(path))();
});

test("a file where the folder would be is said to be one", async () => {
  const path = join(folder(), "out");
  writeFileSync(path, "notes");
  const found = { code: "io", message: `${path}: not a folder; give another "out"` };
  await expect(lockRun(path)).rejects.toMatchObject(found);
  await expect(lockRun(join(path, "run"))).rejects.toMatchObject({
    code: "io",
    message: `${join(path, "run")}: a file is in the way of this folder; give another "out"`,
  });
});

test("what a killed process left is taken over, by one of all who want it", async () => {
  const path = folder();
  const { child, pid } = await holder(path);
  await expect(lockRun(path)).rejects.toMatchObject({ code: "busy", detail: { found: `process ${pid} on ${hostname()}` } });
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGKILL");
  await ended;
  expect(existsSync(join(path, ".run.lock"))).toBe(true);
  const all = await Promise.allSettled([1, 2, 3, 4].map(() => lockRun(path)));
  const won = all.filter((one) => one.status === "fulfilled");
  expect(won).toHaveLength(1);
  for (const one of all) if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "busy" });
  await won[0]!.value();
  expect(locks(path)).toEqual([]);
});

const written = (path: string, changes: object) =>
  writeFileSync(
    join(path, ".run.lock"),
    JSON.stringify({ id: "x", host: hostname(), pid: process.pid, started: "", ...changes }),
  );

test.skipIf(process.platform !== "linux")(
  "another process with the number of a dead one is not taken for it (Linux tells)",
  async () => {
    const path = folder();
    written(path, { started: "1" });
    await (await lockRun(path))();
    written(path, {});
    await expect(lockRun(path)).rejects.toMatchObject({ code: "busy" });
  },
);

test("on another host a holder lives as long as it says so", async () => {
  const path = folder();
  written(path, { host: "elsewhere" });
  let second = 1;
  const sign = setInterval(() => utimesSync(join(path, ".run.lock"), second, second++), 2);
  await expect(lockRun(path, { beat: 40 })).rejects.toMatchObject({
    code: "busy",
    message: expect.stringContaining("on elsewhere") as string,
  });
  clearInterval(sign);
  await (await lockRun(path, { beat: 4 }))();
});

test("a lock that was cut off is no lock, a release removes none but its own, and waiting can be aborted", async () => {
  const path = folder();
  writeFileSync(join(path, ".run.lock"), "{");
  const release = await lockRun(path, { beat: 4 });
  written(path, { id: "another" });
  await release();
  expect(readFileSync(join(path, ".run.lock"), "utf8")).toContain("another");
  written(path, { host: "elsewhere" });
  const reason = new Error("enough");
  await expect(lockRun(path, { beat: 1e6, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("a folder that cannot be is an error with its path", async () => {
  const path = folder();
  writeFileSync(join(path, "file"), "");
  await expect(lockRun(join(path, "file/run"))).rejects.toMatchObject({
    code: "io",
    message: expect.stringContaining(path) as string,
  });
});

test("a checkpoint that the disk has no room for is not begun", async () => {
  const path = folder();
  const store = await diskStore(path);
  await expect(store.create("checkpoint-000000001.ckpt", 2 ** 60)).rejects.toMatchObject({
    code: "io",
    message: expect.stringContaining("are needed") as string,
  });
  expect(readdirSync(path)).toEqual([]);
});

test.skipIf(!existsSync("/dev/full"))("a full disk is told as one, with what to do (needs /dev/full)", async () => {
  const path = folder();
  symlinkSync("/dev/full", join(path, "log.jsonl"));
  const store = await diskStore(path);
  await expect(store.append("log.jsonl", "{}")).rejects.toMatchObject({
    code: "io",
    message: expect.stringContaining("the disk is full; make room and run it again") as string,
  });
});
