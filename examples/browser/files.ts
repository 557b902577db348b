// Files that a person chose or dropped -> a model: one file, a split one, or a folder.
import type { ModelInput } from "cpm-wasm";

/** A file with its path inside what was chosen. */
export interface Chosen {
  readonly path: string;
  readonly file: File;
}

export const chosenOf = (files: FileList): Chosen[] =>
  Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file }));

/** All files of a drop; folders are walked. */
export async function droppedOf(transfer: DataTransfer): Promise<Chosen[]> {
  // Entries are only there until the event's handler first waits.
  const items = Array.from(transfer.items, (item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const found: Chosen[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ path: entry.fullPath.replace(/^\//, ""), file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    // A call gives some of the entries; an empty list is the end.
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const inner of some) await walk(inner);
    }
  };
  for (const { entry, file } of items) {
    if (entry?.isDirectory) await walk(entry);
    // A file is there at once; files that a page made itself have no entry.
    else if (file) found.push({ path: file.name, file });
  }
  return found;
}

/** The model among files, and its name. @throws Error in words when there is none, or more than one. */
export function modelOf(chosen: readonly Chosen[]): {
  readonly name: string;
  readonly bytes: number;
  readonly input: ModelInput;
} {
  const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);
  const config = chosen.find(({ path }) => /(^|\/)config\.json$/.test(path));
  const first = chosen.filter(({ path }) => /\.gguf$/i.test(path) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(path));
  if (!config && first.length === 0)
    throw new Error(
      `There is no model among ${chosen.length === 1 ? "this file" : `these ${chosen.length} files`}: a .gguf file, all parts of a split one, or a folder with config.json.`,
    );
  if (!config && first.length > 1)
    throw new Error(`These are ${first.length} models (${first.map(({ file }) => file.name).join(", ")}); choose one of them.`);
  const entry = first.length === 1 ? first[0]! : config!;
  const beside = chosen.filter(({ path }) => folderOf(path) === folderOf(entry.path));
  const parts =
    entry === config
      ? beside
      : beside.filter(({ file }) => file === entry.file || /-\d{5}-of-\d{5}\.gguf$/i.test(entry.file.name));
  const bytes = parts.reduce((sum, { file }) => sum + file.size, 0);
  const name = entry === config ? folderOf(entry.path) || "folder" : entry.file.name;
  return {
    name: parts.length > 1 ? `${name} (${parts.length} files)` : name,
    bytes,
    input: parts.length === 1 ? entry.file : Object.fromEntries(parts.map(({ file }) => [file.name, file])),
  };
}
