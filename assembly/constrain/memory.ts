// The module's own memory: what is known of the vocabulary, then one machine's tables, then what grows while it runs.

/** First byte above the statics. */
const BASE: usize = 65536;
const PAGE: usize = 65536;

export let top: usize = BASE;
/** Bytes that the memory may grow to. */
export let limit: usize = 256 << 20;

export function setLimit(bytes: usize): void {
  limit = bytes;
}

export function rewind(to: usize): void {
  top = to;
}

/** `bytes` from the top on, aligned to 16; 0 when the limit or the engine refuses. Not cleared. */
export function take(bytes: usize): usize {
  const at = (top + 15) & ~(<usize>15);
  const end = at + bytes;
  if (end < at || end > limit) return 0;
  const have = <usize>memory.size() * PAGE;
  if (end > have) {
    // A quarter more, so that steady growth does not ask for every page.
    const wanted = min(limit, end + (end >> 2));
    if (memory.grow(<i32>((wanted - have + PAGE - 1) / PAGE)) < 0 && memory.grow(<i32>((end - have + PAGE - 1) / PAGE)) < 0)
      return 0;
  }
  top = end;
  return at;
}

export function takeZeroed(bytes: usize): usize {
  const at = take(bytes);
  if (at) memory.fill(at, 0, bytes);
  return at;
}

/** Status codes below 0, as src/wasm/constrain.ts names them. */
export const OUT_OF_MEMORY: i32 = -1;
export const TOO_MANY_CONFIGS: i32 = -2;
export const TOO_DEEP: i32 = -3;
export const TOO_MUCH_WORK: i32 = -4;

/** The first failure of the call that runs, and the state it came from; 0: none. */
export let failure: i32 = 0;
export let failedAt: i32 = 0;

export function fail(code: i32, state: i32): void {
  if (failure) return;
  failure = code;
  failedAt = state;
}

export function clearFailure(): void {
  failure = 0;
  failedAt = 0;
}
