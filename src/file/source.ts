// Random-access bytes, wherever they lie.
import { untilAborted } from "../signals.ts";

/** A file that can be read in ranges. Reads past `size` are an "io" CpmError, never short. */
export interface Source {
  /** For messages: a path, URL or file name. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Reads bytes [offset, offset + length). The result is the caller's to keep. */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Fills `target` from `offset`: no copy in between where the runtime can do that. */
  readInto?(target: Uint8Array, offset: number, signal?: AbortSignal): Promise<void>;
  /** Tells what will be read next, in this order: a source may fetch it ahead. Other reads work as ever. */
  willRead?(ranges: readonly { readonly offset: number; readonly length: number }[]): void;
  close(): Promise<void>;
}

/** The files a model consists of: one GGUF, its split siblings, or a Hugging Face folder. */
export interface ModelFiles {
  /** What the user named: a file name, or "" for a folder. */
  readonly entry: string;
  /** A sibling's whole path or address, for messages; secrets are left out. */
  where?(name: string): string;
  /** Opens a sibling by name; undefined when it does not exist. Sources are closed by `close()`. */
  open(name: string, signal?: AbortSignal): Promise<Source | undefined>;
  close(): Promise<void>;
}

/** How messages name a file. */
export const whereIs = (files: ModelFiles, name: string): string => files.where?.(name) ?? name;

/** The same files, whose opens and reads end with the signal's reason once it is aborted, whether a source looks at it or not. */
export function abortable(files: ModelFiles, signal: AbortSignal): ModelFiles {
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    signal.throwIfAborted();
    const value = await untilAborted(work(), signal);
    signal.throwIfAborted();
    return value;
  };
  return {
    entry: files.entry,
    ...(files.where ? { where: (name: string) => files.where!(name) } : {}),
    open: (name) =>
      guard(async () => {
        const source = await files.open(name, signal);
        if (!source) return undefined;
        const { readInto } = source;
        return {
          name: source.name,
          size: source.size,
          read: (offset, length) => guard(() => source.read(offset, length, signal)),
          ...(readInto
            ? { readInto: (target: Uint8Array, offset: number) => guard(() => readInto.call(source, target, offset, signal)) }
            : {}),
          ...(source.willRead ? { willRead: (ranges: Parameters<typeof source.willRead>[0]) => source.willRead!(ranges) } : {}),
          close: () => source.close(),
        };
      }),
    close: () => files.close(),
  };
}
