// Linear memory: planned as a whole, taken in aligned pieces, given back by mark and release.
import { CpmError, PROCESS_LIMITS } from "../errors.ts";

export const PAGE = 65536;
/** 4 GiB less one page: the last byte stays addressable by 32-bit arithmetic. */
export const MAX_BYTES = 4294967296 - PAGE;
/** What engines give a 64-bit memory: 16 GiB, less one page. */
export const MAX_BYTES_64 = 2 ** 34 - PAGE;
export const ALIGN = 64;

export const align = (bytes: number, unit = ALIGN): number => Math.ceil(bytes / unit) * unit;

/** "1.53 GiB", for messages. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 3) {
    bytes /= 1024;
    unit++;
  }
  return `${unit === 0 ? bytes : bytes.toPrecision(3)} ${units[unit]}`;
}

/** A memory of 64-bit addresses counts pages in BigInts, which the types of TypeScript do not know. */
interface Descriptor64 {
  readonly address: "i64";
  readonly initial: bigint;
  readonly maximum: bigint;
  readonly shared: boolean;
}

/**
 * Creates a memory of at least `bytes`; `memory64`: of 64-bit addresses. Throws "out-of-memory" when the runtime cannot give
 * that much.
 */
export function createMemory(bytes: number, shared: boolean, memory64 = false): WebAssembly.Memory {
  const initial = Math.ceil(bytes / PAGE);
  if (bytes > (memory64 ? MAX_BYTES_64 : MAX_BYTES)) throw tooMuch(bytes, memory64);
  // A shared memory reserves its maximum at once; where that is refused, one without room for more sessions is tried.
  for (const maximum of [memory64 ? 262144 : 65536, initial]) {
    try {
      if (!memory64) return new WebAssembly.Memory({ initial, maximum, shared });
      const wide: Descriptor64 = { address: "i64", initial: BigInt(initial), maximum: BigInt(maximum), shared };
      return new WebAssembly.Memory(wide as unknown as WebAssembly.MemoryDescriptor);
    } catch (error) {
      if (maximum === initial) throw tooMuch(bytes, memory64, error);
    }
  }
  throw tooMuch(bytes, memory64);
}

function tooMuch(bytes: number, memory64: boolean, cause?: unknown): CpmError {
  const [limit, bits] = memory64
    ? [MAX_BYTES_64, "64-bit WebAssembly can have (16 GiB)"]
    : [MAX_BYTES, "32-bit WebAssembly can address (4 GiB)"];
  const what = `this model needs ${formatBytes(bytes)} of memory in all, more than ${bytes > limit ? bits : "this runtime gives"}`;
  const todo = bytes > limit ? "" : `, and ${PROCESS_LIMITS}`;
  return new CpmError(
    "out-of-memory",
    `${what}; use a smaller contextSize, kvType "q8", or a smaller model${todo}`,
    {},
    { cause },
  );
}

/** Pieces of a memory from `base` up. Only the caller frees. Pieces given back are zeroed when taken again. */
export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly #memory64: boolean;
  readonly #most: number;
  #top: number;
  #highest: number;
  readonly #holes: { at: number; bytes: number }[] = [];

  /** `most`: bytes that the memory may grow to; one that is larger already does not grow. */
  constructor(memory: WebAssembly.Memory, base: number, memory64 = false, most = Number.POSITIVE_INFINITY) {
    this.memory = memory;
    this.#most = most;
    this.#memory64 = memory64;
    this.#top = align(base);
    this.#highest = this.#top;
  }

  /** Bytes in use from address 0, holes included. */
  get used(): number {
    return this.#top;
  }

  /** `bytes` zeroed bytes, aligned to 64. Grows the memory when it must. */
  take(bytes: number): number {
    bytes = align(Math.max(bytes, 1));
    const hole = this.#holes.findIndex((h) => h.bytes >= bytes);
    if (hole >= 0) {
      const { at, bytes: size } = this.#holes[hole]!;
      if (size === bytes) this.#holes.splice(hole, 1);
      else this.#holes[hole] = { at: at + bytes, bytes: size - bytes };
      new Uint8Array(this.memory.buffer, at, bytes).fill(0);
      return at;
    }
    const at = this.#top;
    const missing = at + bytes - this.memory.buffer.byteLength;
    if (missing > 0) {
      const pages = Math.ceil(missing / PAGE);
      if (this.memory.buffer.byteLength + pages * PAGE > this.#most)
        throw new CpmError(
          "out-of-memory",
          `${formatBytes(bytes)} more would exceed maxMemoryBytes ${formatBytes(this.#most)}; close other sessions, use a smaller contextSize, or raise maxMemoryBytes`,
          { field: "maxMemoryBytes" },
        );
      try {
        this.memory.grow((this.#memory64 ? BigInt(pages) : pages) as number);
      } catch (cause) {
        const what = `${formatBytes(bytes)} more memory was refused (${formatBytes(this.memory.buffer.byteLength)} in use)`;
        throw new CpmError("out-of-memory", `${what}; close other sessions or use a smaller contextSize`, {}, { cause });
      }
    }
    this.#top = at + bytes;
    // Fresh memory is zero already; only what was used before must be cleared.
    if (at < this.#highest) new Uint8Array(this.memory.buffer, at, Math.min(bytes, this.#highest - at)).fill(0);
    this.#highest = Math.max(this.#highest, this.#top);
    return at;
  }

  /** Gives a piece back. */
  free(at: number, bytes: number): void {
    this.#holes.push({ at, bytes: align(Math.max(bytes, 1)) });
    this.#holes.sort((a, b) => a.at - b.at);
    for (let i = 1; i < this.#holes.length; ) {
      const [before, hole] = [this.#holes[i - 1]!, this.#holes[i]!];
      if (before.at + before.bytes === hole.at) {
        before.bytes += hole.bytes;
        this.#holes.splice(i, 1);
      } else i++;
    }
    const last = this.#holes.at(-1);
    if (last && last.at + last.bytes === this.#top) {
      this.#top = last.at;
      this.#holes.pop();
    }
  }
}
