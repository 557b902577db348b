// Where files are written: bytes at places, under a temporary name, and the final name at the end or never.
import { bytesOf, copyOf } from "../../brands.ts";
import { CpmError } from "../../errors.ts";

/** A file that is being written. Nobody else sees it under its name before `commit()`. */
export interface Output {
  /** The final name, for messages. */
  readonly name: string;
  /** Writes all of `bytes` at byte `at`, which may lie beyond what is there. @throws CpmError "io", also where the disk is full. */
  write(at: number, bytes: Uint8Array): Promise<void>;
  /** What was written so far is on the disk when this resolves. */
  sync(): Promise<void>;
  /** Gives the file its final name. Nothing can be written afterwards. @throws CpmError "io" where a file of that name appeared meanwhile. */
  commit(): Promise<void>;
  /** Ends without a file; after `commit()` it does nothing. */
  discard(): Promise<void>;
}

/** A folder that is being written; its name is given to it with all its files, or never. */
export interface OutputFolder {
  readonly name: string;
  /** A file of the folder; its `commit()` gives it its name within the folder that is being written. */
  file(name: string): Promise<Output>;
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** An output in memory: `bytes()` gives it once it is committed. */
export interface MemoryOutput extends Output {
  bytes(): Uint8Array<ArrayBuffer>;
}

export function memoryOutput(name: string): MemoryOutput {
  let held = new Uint8Array(0);
  let length = 0;
  let committed = false;
  return {
    name,
    async write(at, bytes) {
      const end = at + bytes.length;
      if (end > held.length) {
        const larger = new Uint8Array(Math.max(end, 2 * held.length));
        larger.set(held.subarray(0, length));
        held = larger;
      }
      held.set(bytes, at);
      length = Math.max(length, end);
    },
    async sync() {},
    async commit() {
      committed = true;
    },
    async discard() {
      if (!committed) [held, length] = [new Uint8Array(0), 0];
    },
    bytes() {
      if (!committed) throw new CpmError("io", `${name}: the file was not finished`, { file: name });
      return copyOf(held.subarray(0, length));
    },
  };
}

/** Runs `work` and commits the output, or discards it when that throws. */
export async function written<T>(output: Output | OutputFolder, work: () => Promise<T>): Promise<T> {
  try {
    const result = await work();
    await output.commit();
    return result;
  } catch (error) {
    await output.discard().catch(() => {});
    throw error;
  }
}

/** Where the tensors of a file lie, before any of them is written. */
export interface Layout<T extends Placed = Placed> {
  /** The file up to its first tensor, padding included. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, T>;
  /** Bytes of the whole file. */
  readonly size: number;
}

export interface Placed {
  readonly name: string;
  /** From the beginning of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Writes a file's tensors in any order and in pieces; counts what is there. */
export class TensorWriter {
  readonly output: Output;
  readonly layout: Layout;
  /** Bytes written of each tensor that is not whole yet. */
  readonly #missing: Map<string, number>;

  private constructor(output: Output, layout: Layout, done: ReadonlySet<string>) {
    this.output = output;
    this.layout = layout;
    this.#missing = new Map([...layout.tensors.values()].filter(({ name }) => !done.has(name)).map((t) => [t.name, t.bytes]));
  }

  /** Writes the header. `done`: tensors that an earlier run has written into this output. */
  static async begin(output: Output, layout: Layout, done: Iterable<string> = []): Promise<TensorWriter> {
    await output.write(0, layout.header);
    return new TensorWriter(output, layout, new Set(done));
  }

  /**
   * Writes bytes of a tensor, `at` bytes into it. Pieces may not overlap.
   * @throws CpmError "bad-input" for names that the layout does not have and bytes that do not fit the tensor.
   */
  async write(name: string, bytes: ArrayBufferView, at = 0): Promise<void> {
    const place = this.layout.tensors.get(name);
    const left = this.#missing.get(name);
    const fail = (expected: string, found: string): never => {
      throw new CpmError("bad-input", `${this.output.name}: tensor ${name}: expected ${expected}, found ${found}`, {
        file: this.output.name,
        field: name,
        expected,
        found,
      });
    };
    if (!place) return fail("a tensor of the layout", "none of this name");
    const raw = bytesOf(bytes)!;
    if (raw.length === 0) return;
    if (at < 0 || at + raw.length > place.bytes) fail(`at most ${place.bytes} bytes`, `bytes ${at} to ${at + raw.length}`);
    if (left === undefined || raw.length > left) return fail("each byte once", "more bytes than the tensor has");
    await this.output.write(place.offset + at, raw);
    if (raw.length === left) this.#missing.delete(name);
    else this.#missing.set(name, left - raw.length);
  }

  /**
   * Ends the file: gaps are filled with zeros, and the output gets its name.
   * @throws CpmError "bad-input" when bytes of a tensor are missing.
   */
  async finish(): Promise<void> {
    const [missing] = [...this.#missing].filter(([, bytes]) => bytes > 0);
    if (missing)
      throw new CpmError("bad-input", `${this.output.name}: tensor ${missing[0]}: ${missing[1]} bytes were not written`, {
        file: this.output.name,
        field: missing[0],
      });
    const ends = [...this.layout.tensors.values()].map(({ offset, bytes }) => offset + bytes);
    const starts = [...[...this.layout.tensors.values()].map(({ offset }) => offset), this.layout.size];
    for (const [i, end] of ends.entries())
      if (starts[i + 1]! > end) await this.output.write(end, new Uint8Array(starts[i + 1]! - end));
    await this.output.sync();
    await this.output.commit();
  }
}
