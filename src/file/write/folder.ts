// Folders on disk, made level by level.

/** What making a folder needs of a runtime. */
export interface FolderCalls {
  /** Makes one folder, none above it. */
  readonly mkdir: (path: string) => Promise<unknown>;
  readonly isFolder: (path: string) => Promise<boolean>;
  /** The folder that a path lies in; of a root, the root. */
  readonly parent: (path: string) => string;
}

/**
 * Makes `path` and what is missing above it. Node's own recursive mkdir tries for ever where a file system says "no such folder" of a
 * folder whose parent is there, as /proc does; here each level is tried twice.
 *
 * Rejects with the runtime's error of the level that could not be made.
 */
export async function makeFolder(path: string, calls: FolderCalls): Promise<void> {
  try {
    await calls.mkdir(path);
    return;
  } catch (error) {
    // It is there, or has just been made by another process, whatever the system calls that.
    if (await calls.isFolder(path)) return;
    const above = calls.parent(path);
    if ((error as { code?: unknown }).code !== "ENOENT" || above === path) throw error;
    await makeFolder(above, calls);
  }
  await calls.mkdir(path).catch(async (error: unknown) => {
    if (!(await calls.isFolder(path))) throw error;
  });
}
