// Folders on disk, for what hosts write.
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder as make } from "../file/write/folder.ts";

/** Makes a folder and what is missing above it. Rejects with the system's error; callers say whose path it was. */
export const makeFolder = (path: string): Promise<void> =>
  make(path, {
    mkdir,
    isFolder: (folder) =>
      stat(folder).then(
        (found) => found.isDirectory(),
        () => false,
      ),
    parent: dirname,
  });
