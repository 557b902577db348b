// Where a quantised model goes, and what a run keeps beside it to be taken up again after a kill.
import { CpmError } from "../errors.ts";
import { type MemoryOutput, memoryOutput, type Output } from "../file/write/output.ts";

/** A file of float32 rows that spill out of the memory. */
export interface Store {
  read(at: number, target: Uint8Array): Promise<void>;
  /** `bytes` are others once this has settled. */
  write(at: number, bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Destination {
  /** For messages. */
  readonly name: string;
  /**
   * The output itself, or with a name a file of the output, which is a folder then. What an earlier run wrote is still in it. `size`: bytes
   * that it will have, so that a disk which is too small can say so before hours of work.
   */
  file(name?: string, size?: number): Promise<Output>;
  store(name: string): Promise<Store>;
  /** What `save` was last given by a run that did not come to its end. */
  load(): Promise<string | undefined>;
  save(state: string): Promise<void>;
  /** Forgets all that an earlier run wrote and kept here. Called before the first file and store. */
  reset(): Promise<void>;
  /** Gives a folder its name, and forgets what was kept. */
  finish(): Promise<void>;
  /** Ends; with `keep` the next run may go on here. */
  end(keep: boolean): Promise<void>;
}

/** Rows in memory, for hosts without files and for tests. */
export function memoryStore(): Store {
  let held = new Uint8Array(0);
  return {
    async read(at, target) {
      target.set(held.subarray(at, at + target.length));
    },
    async write(at, bytes) {
      if (at + bytes.length > held.length) {
        const larger = new Uint8Array(Math.max(at + bytes.length, 2 * held.length));
        larger.set(held);
        held = larger;
      }
      held.set(bytes, at);
    },
    async sync() {},
    async close() {
      held = new Uint8Array(0);
    },
  };
}

export interface MemoryDestination extends Destination {
  /** The files written, by name; "" is a GGUF. @throws CpmError "io" before the run is finished. */
  files(): ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

/** An output in memory. A run that ends early can be taken up with the same destination. */
export function memoryDestination(name = "memory"): MemoryDestination {
  const outputs = new Map<string, MemoryOutput>();
  const stores = new Map<string, Store>();
  let state: string | undefined;
  let finished = false;
  const kept = <T>(map: Map<string, T>, key: string, make: () => T): T => {
    const found = map.get(key) ?? make();
    map.set(key, found);
    return found;
  };
  return {
    name,
    file: async (file = "") => {
      const output = kept(outputs, file, () => memoryOutput(file || name));
      return { ...output, discard: async () => {} };
    },
    store: async (store) => ({ ...kept(stores, store, memoryStore), close: async () => {} }),
    load: async () => state,
    save: async (text) => {
      state = text;
    },
    reset: async () => {
      outputs.clear();
      stores.clear();
      state = undefined;
    },
    finish: async () => {
      finished = true;
      state = undefined;
    },
    end: async (keep) => {
      if (keep) return;
      stores.clear();
      if (!finished) outputs.clear();
    },
    files() {
      if (!finished) throw new CpmError("io", `${name}: the run was not finished`, { file: name });
      return new Map([...outputs].map(([file, output]) => [file, output.bytes()]));
    },
  };
}
