// One process at a time works in a run's folder. The lock is a file that says whose it is; what a killed process left is taken over.
import { randomUUID } from "node:crypto";
import { open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { isRecord } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import { makeFolder } from "./node.folder.ts";

const NAME = ".run.lock";

interface Holder {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** What tells this process from another that got its number later; "" where the system does not say. */
  readonly started: string;
}

export interface LockOptions {
  /** Milliseconds between two signs of life; a holder on another host that gives none for four of these is dead. Default 5000. */
  readonly beat?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** When a process began, in ticks since the machine did (Linux), or "". */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The name before it, in parentheses, may hold anything.
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

async function alive({ pid, started }: Holder): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process is one that lives.
    if (codeOf(error) === "ESRCH") return false;
  }
  const now = await startOf(pid);
  return started === "" || now === "" || now === started;
}

/** Who holds it: undefined when there is no file, "broken" when it says nothing (its writer was killed while it wrote). */
async function holderOf(path: string): Promise<Holder | "broken" | undefined> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    const { id, host, pid, started } = isRecord(value) ? value : {};
    const good = typeof id === "string" && typeof host === "string" && typeof started === "string" && Number.isInteger(pid);
    return good ? { id, host, pid: pid as number, started } : "broken";
  } catch {
    return "broken";
  }
}

/** Whether a holder gives a sign of life within four beats. */
async function beats(path: string, beat: number, signal?: AbortSignal): Promise<boolean> {
  const time = () =>
    stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => undefined,
    );
  const first = await time();
  for (let i = 0; i < 8; i++) {
    await sleep(beat / 2, undefined, { signal });
    if ((await time()) !== first) return true;
  }
  return false;
}

/** Removes a lock that was found dead, unless another process did so first and holds it now. */
async function takeAway(path: string, found: Holder | "broken"): Promise<void> {
  const aside = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  await rename(path, aside).catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
  const moved = await holderOf(aside);
  const same = moved === undefined || moved === "broken" || (found !== "broken" && moved.id === found.id);
  if (same) await rm(aside, { force: true });
  else await rename(aside, path);
}

/**
 * Takes the lock of a run's folder, which is made where it is not there; call what it gives at the run's end.
 * Rejects with CpmError "busy" that names the process which holds it; "io"; the signal's reason.
 */
export async function lockRun(folder: string, { beat = 5000, signal }: LockOptions = {}): Promise<() => Promise<void>> {
  const path = join(folder, NAME);
  const mine: Holder = { id: randomUUID(), host: hostname(), pid: process.pid, started: await startOf(process.pid) };
  try {
    await makeFolder(folder);
    for (;;) {
      signal?.throwIfAborted();
      const handle = await open(path, "wx").catch((error: unknown) => {
        if (codeOf(error) === "EEXIST") return undefined;
        throw error;
      });
      if (handle) {
        await handle.writeFile(JSON.stringify(mine)).finally(() => handle.close());
        break;
      }
      const found = await holderOf(path);
      if (found === undefined) continue;
      const lives = found === "broken" || found.host !== mine.host ? await beats(path, beat, signal) : await alive(found);
      if (lives && found !== "broken")
        throw new CpmError(
          "busy",
          `${folder}: process ${found.pid}${found.host === mine.host ? "" : ` on ${found.host}`} is at work in this folder; wait for it, end it, or give another "out"`,
          { file: path, expected: "a folder that no other run uses", found: `process ${found.pid} on ${found.host}` },
        );
      if (!lives) await takeAway(path, found);
    }
  } catch (cause) {
    if (cause instanceof CpmError || signal?.aborted) throw cause;
    const code = codeOf(cause);
    const file = code === "EEXIST" || code === "ENOTDIR";
    const what = file
      ? `${folder}: ${code === "EEXIST" ? "not a folder" : "a file is in the way of this folder"}; give another "out"`
      : `${path}: ${reasonOf(cause)}; check the path and the permissions`;
    throw new CpmError("io", what, { file: file ? folder : path }, { cause });
  }
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, beat);
  timer.unref?.();
  return async () => {
    clearInterval(timer);
    const holder = await holderOf(path).catch(() => undefined);
    if (holder !== undefined && holder !== "broken" && holder.id === mine.id) await rm(path, { force: true });
  };
}
