// The lanes that a pool of threads consists of, each with a stack in the shared memory.
import { STACK_BYTES } from "../model/plan.ts";
import type { EngineHost } from "../wasm/host.ts";
import type { Lane } from "../wasm/lane.ts";
import type { Arena } from "../wasm/memory.ts";

/** Lanes for `count` threads: the caller's own is lane 0, unless the host has another thread lead. */
export function laneList(host: Pick<EngineHost, "leads">, module: WebAssembly.Module, arena: Arena, count: number): Lane[] {
  const first = host.leads ? 0 : 1;
  return Array.from({ length: count - first }, (_, i) => ({
    module,
    memory: arena.memory,
    index: i + first,
    stackTop: arena.take(STACK_BYTES) + STACK_BYTES,
  }));
}
