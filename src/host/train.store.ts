// A run's folder on disk.
import { appendFile, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import { reasonOf } from "../shown.ts";
import type { Outputs } from "../train/finish.ts";
import { copyFolder } from "../train/folder.ts";
import type { RunStore } from "../train/store.ts";
import { pathFiles } from "./node.files.ts";
import { makeFolder } from "./node.folder.ts";
import { fileOutput, folderOutput } from "./node.output.ts";

async function within<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CpmError) throw cause;
    const { code } = cause as { code?: string };
    const full = code === "ENOSPC" || code === "EDQUOT";
    const what = full
      ? "the disk is full; make room and run it again: it goes on from the last checkpoint"
      : `${reasonOf(cause)}; check the path and the permissions`;
    throw new CpmError("io", `${path}: ${what}`, { file: path }, { cause });
  }
}

/** A new name lasts once its folder is on the disk. Windows has no such thing. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/** The store in the folder `path`, which is made where it is not there. Half-written files of a killed run are removed. @throws CpmError "io" */
export async function diskStore(path: string): Promise<RunStore> {
  await within(path, () => makeFolder(path));
  const names = () => within(path, () => readdir(path));
  for (const name of await names()) if (/^\..*\.tmp$/.test(name)) await rm(join(path, name), { recursive: true, force: true });
  return {
    name: path,
    async open(name) {
      const files = await pathFiles(join(path, name));
      const source = await files.open(name);
      if (!source) await files.close();
      return source;
    },
    async create(name, size) {
      const output = await fileOutput(join(path, name), { force: true, size });
      return {
        ...output,
        async commit() {
          await output.commit();
          await syncFolder(path);
        },
      };
    },
    append: (name, line) => within(join(path, name), () => appendFile(join(path, name), `${line}\n`)),
    names,
    remove: (name) => within(join(path, name), () => rm(join(path, name), { force: true })),
  };
}

/** Weights by the number of their policy: a folder of model folders, which workers load from. */
export interface PolicyFolder {
  path(policy: number): string;
  /** Writes them, whole or not at all, and removes all but the last two policies. */
  publish(weights: ModelFiles, policy: number, signal?: AbortSignal): Promise<void>;
}

/** Policies in the folder `path`. @throws CpmError "io" */
export function diskPolicies(path: string): PolicyFolder {
  const nameOf = (policy: number) => `policy-${String(policy).padStart(8, "0")}`;
  return {
    path: (policy) => join(path, nameOf(policy)),
    async publish(weights, policy, signal) {
      await within(path, () => makeFolder(path));
      const to = join(path, nameOf(policy));
      await copyFolder(weights, await folderOutput(to, { force: true }), signal);
      const kept = [nameOf(policy), nameOf(policy - 1)];
      for (const name of await within(path, () => readdir(path)))
        if (/^policy-\d+$|^\..*\.tmp$/.test(name) && !kept.includes(name))
          await rm(join(path, name), { recursive: true, force: true });
    },
  };
}

/** Exports by paths; what has their names is replaced. */
export const diskOutputs: Outputs = {
  file: (path, size) => fileOutput(path, { force: true, size }),
  folder: (path, size) => folderOutput(path, { force: true, size }),
};
