// A quantised model on disk. Beside OUT lies the hidden folder .OUT.quantising with what has been written so far, the activations that
// spill, and how far the run came; it goes when OUT has its name.
import { type FileHandle, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { CpmError } from "../errors.ts";
import type { Output, OutputFolder } from "../file/write/output.ts";
import type { Destination, Store } from "../quantise/destination.ts";
import { reasonOf } from "../shown.ts";
import { makeFolder } from "./node.folder.ts";
import { checkFree, checkReplaced, fileOutput, folderOutput } from "./node.output.ts";

async function within<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CpmError) throw cause;
    const { code } = cause as { code?: string };
    const full = code === "ENOSPC" || code === "EDQUOT";
    const what = full ? "the disk is full; make room and run it again" : reasonOf(cause);
    throw new CpmError("io", `${path}: ${what}`, { file: path }, { cause });
  }
}

function diskStore(path: string, handle: FileHandle): Store {
  return {
    read: (at, target) =>
      within(path, async () => {
        for (let done = 0; done < target.length; ) {
          const { bytesRead } = await handle.read(target, done, target.length - done, at + done);
          if (bytesRead === 0) throw new CpmError("io", `${path}: the file is shorter than it was`, { file: path });
          done += bytesRead;
        }
      }),
    write: (at, bytes) =>
      within(path, async () => {
        for (let done = 0; done < bytes.length; )
          done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      }),
    sync: () => within(path, () => handle.datasync()),
    close: () => handle.close(),
  };
}

/**
 * The destination at `path`, of a file or a folder that is made from `source`. @throws CpmError "io" when something has that name and `force` is
 * not given, or may not be replaced even so; when its folder is not there or cannot be written; "bad-input" where `source` would be replaced.
 */
export async function diskDestination(
  path: string,
  force = false,
  kind: "file" | "folder" = "file",
  source?: string,
): Promise<Destination> {
  const out = resolve(path);
  const checkName = () => {
    if (/\.gguf$/i.test(out))
      throw new CpmError("bad-input", `${path}: a folder of safetensors is written; give a folder's name`, { file: path });
  };
  if (kind === "folder") checkName();
  await checkReplaced(out, kind, source, force);
  await checkFree(out, { force });
  const work = join(dirname(out), `.${basename(out)}.quantising`);
  await within(path, () => makeFolder(work));
  const outputs: Output[] = [];
  const stores: Store[] = [];
  let folder: OutputFolder | undefined;
  const state = join(work, "state.json");
  return {
    name: path,
    async file(name, size) {
      if (name !== undefined) checkName();
      // Of a run that is taken up some bytes are there already.
      const begun = await stat(join(work, name === undefined ? "out" : `${name}.part`)).catch(() => undefined);
      if (size !== undefined && !begun) await checkFree(out, { force, size });
      if (name !== undefined) folder ??= await folderOutput(out, { force, temporary: join(work, "files") });
      const output =
        name === undefined
          ? await fileOutput(out, { force, temporary: join(work, "out") })
          : await fileOutput(join(work, "files", name), { force: true, temporary: join(work, `${name}.part`) });
      outputs.push(output);
      return output;
    },
    async store(name) {
      const file = join(work, name);
      const handle = await within(file, () =>
        open(file, "a")
          .then((made) => made.close())
          .then(() => open(file, "r+")),
      );
      const store = diskStore(file, handle);
      stores.push(store);
      return store;
    },
    load: () => readFile(state, "utf8").catch(() => undefined),
    save: (text) =>
      within(state, async () => {
        await writeFile(`${state}.new`, text);
        await rename(`${state}.new`, state);
      }),
    reset: () =>
      within(work, async () => {
        // What is neither file nor folder is not ours.
        for (const entry of await readdir(work, { withFileTypes: true }))
          if (entry.isFile() || entry.isDirectory()) await rm(join(work, entry.name), { recursive: true, force: true });
      }),
    async finish() {
      await folder?.commit();
    },
    async end(keep) {
      for (const output of outputs.splice(0)) await output.discard();
      for (const store of stores.splice(0)) await store.close();
      if (!keep) await rm(work, { recursive: true, force: true });
    },
  };
}
