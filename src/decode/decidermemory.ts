// Where the deciding module works: in the engine's memory, or, where that is a 64-bit one, in a small memory of its own.
import { Arena, PAGE } from "../wasm/memory.ts";

export interface DeciderMemory {
  readonly memory: WebAssembly.Memory;
  /** A zeroed region. */
  take(bytes: number): number;
  /** Gives a region back. */
  free(at: number, bytes: number): void;
  /** The address, in `memory`, of `count` logits that lie at `at` in the engine's memory: there, or copied for this one use. */
  logits(at: number, count: number): number;
}

export const engineMemory = (arena: Arena): DeciderMemory => ({
  memory: arena.memory,
  take: (bytes) => arena.take(bytes),
  free: (at, bytes) => arena.free(at, bytes),
  logits: (at) => at,
});

/** AssemblyScript compiles for 32-bit memories only: a row of logits is copied before it is decided on, 4 bytes a token. */
export function ownMemory(arena: Arena, vocab: number): DeciderMemory {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
  const own = new Arena(memory, PAGE);
  const row = own.take(4 * vocab);
  return {
    memory,
    take: (bytes) => own.take(bytes),
    free: (at, bytes) => own.free(at, bytes),
    logits(at, count) {
      new Float32Array(memory.buffer, row, count).set(new Float32Array(arena.memory.buffer, at, count));
      return row;
    },
  };
}
