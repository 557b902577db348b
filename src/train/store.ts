// Where a run keeps what it must not lose: shards, checkpoints, its log.
import { bytesSource } from "../file/bytes.ts";
import type { Source } from "../file/source.ts";
import { memoryOutput, type Output } from "../file/write/output.ts";

export interface RunStore {
  /** For messages. */
  readonly name: string;
  /** A file, undefined when there is none. The caller closes it. */
  open(name: string): Promise<Source | undefined>;
  /** A file that appears whole when it is committed, in place of one of that name, or never. `size`: bytes, where they are known. */
  create(name: string, size?: number): Promise<Output>;
  /** Appends a line to a file. */
  append(name: string, line: string): Promise<void>;
  names(): Promise<readonly string[]>;
  remove(name: string): Promise<void>;
}

/** A store in memory: on pages, and for tests. */
export function memoryStore(name = "memory"): RunStore & { readonly files: Map<string, Uint8Array<ArrayBuffer>> } {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    name,
    files,
    async open(file) {
      const bytes = files.get(file);
      return bytes && bytesSource(file, bytes);
    },
    async create(file) {
      const output = memoryOutput(file);
      return {
        ...output,
        async commit() {
          await output.commit();
          files.set(file, output.bytes());
        },
      };
    },
    async append(file, line) {
      const [old, more] = [files.get(file) ?? new Uint8Array(0), new TextEncoder().encode(`${line}\n`)];
      const both = new Uint8Array(old.length + more.length);
      both.set(old);
      both.set(more, old.length);
      files.set(file, both);
    },
    names: async () => [...files.keys()],
    async remove(file) {
      files.delete(file);
    },
  };
}

/** A text of the store. */
export async function storedText(store: RunStore, name: string): Promise<string | undefined> {
  const source = await store.open(name);
  if (!source) return undefined;
  try {
    return new TextDecoder().decode(await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

export async function storeText(store: RunStore, name: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  const output = await store.create(name, bytes.length);
  await output.write(0, bytes);
  await output.sync();
  await output.commit();
}
