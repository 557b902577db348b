// One machine's tables, as src/constrain/machine.ts writes them, and what grows while it runs: frames of the stack and sets of
// configurations, both immutable and unique, so that equal ones have one address. State 0 is dead.
import { fail, OUT_OF_MEMORY, rewind, TOO_DEEP, TOO_MANY_CONFIGS, take, takeZeroed } from "./memory";

// Words of the header.
const START: usize = 8;
const STATES: usize = 12;
const LOOPS: usize = 16;

/** Words of a state: flags | ranges << 8, where its ranges are, where calls and token edges are, the state whose edges it has otherwise, its rule. */
const STATE_BYTES: usize = 20;
export const ACCEPTS: u32 = 1;
/** Its edges are a row of 256 states. */
const DENSE: u32 = 2;
export const CALLS: u32 = 4;
export const TOKENS: u32 = 8;
/** Safe characters of a JSON string lead back to it. */
export const FREE: u32 = 16;
const EDGES: u32 = 32;
/** The body of this loop is one character of a JSON string. */
const CHARACTER: i32 = 1;

let base: usize = 0;
let states: usize = 0;
let loops: usize = 0;

/** A frame: parent, state to return to, loop (0: none) and how often its body has ended, depth, next in its bucket. */
const FRAME_BYTES: usize = 24;
const BUCKETS: usize = 1 << 14;
let frameBuckets: usize = 0;
let setBuckets: usize = 0;
/** A word for each configuration of a set being made. */
let marks: usize = 0;
/** Frames made since the last mark, for release. */
let lastFrame: usize = 0;
export const DEPTH: i32 = 256;
/** Masks look as far ahead as a token is long. */
export let deepest: i32 = DEPTH;

export function lookAhead(on: bool): void {
  deepest = on ? DEPTH + 256 : DEPTH;
}

export function openTables(at: usize): i32 {
  base = at;
  states = at + ((<usize>load<u32>(at, STATES)) << 2);
  loops = at + ((<usize>load<u32>(at, LOOPS)) << 2);
  frameBuckets = takeZeroed(BUCKETS << 2);
  setBuckets = takeZeroed(BUCKETS << 2);
  marks = take((<usize>ROOM) << 2);
  lastFrame = 0;
  frames = 0;
  sets = 0;
  return frameBuckets && setBuckets && marks ? 0 : OUT_OF_MEMORY;
}

export function startState(): i32 {
  return load<i32>(base, START);
}

function record(state: i32): usize {
  return states + <usize>state * STATE_BYTES;
}

export function flagsOf(state: i32): u32 {
  return load<u32>(record(state));
}

export function ruleOf(state: i32): i32 {
  return load<i32>(record(state), 16);
}

/** The state behind `byte`, 0 when there is none. */
export function next(state: i32, byte: u32): i32 {
  for (let r = record(state); r != states; r = record(load<i32>(r, 12))) {
    const flags = load<u32>(r);
    const edges = base + ((<usize>load<u32>(r, 4)) << 2);
    if (flags & DENSE) return load<i32>(edges + ((<usize>byte) << 2));
    for (let p = edges, end = edges + ((<usize>flags >> 8) << 3); p < end; p += 8) {
      const range = load<u32>(p);
      if (byte < (range & 255)) break;
      if (byte <= range >> 8) return load<i32>(p, 4);
    }
  }
  return 0;
}

/** The row of targets of a state with many edges, 0 of another. */
export function rowOf(state: i32): usize {
  const r = record(state);
  return load<u32>(r) & DENSE ? base + ((<usize>load<u32>(r, 4)) << 2) : 0;
}

/** Where the calls of a state are: count, then (state, return state, loop) each. Token edges follow. */
export function extrasOf(state: i32): usize {
  return base + ((<usize>load<u32>(record(state), 8)) << 2);
}

/** Where its token edges are: count, (token, state) each; count, (words of a set of tokens not taken, state) each. */
export function tokenEdges(state: i32): usize {
  const extras = extrasOf(state);
  return extras + 4 + <usize>load<u32>(extras) * 12;
}

export function words(index: i32): usize {
  return base + ((<usize>index) << 2);
}

// Loops, 16 bytes each, from 1 on: least, most (-1: no bound), start of the body, flags.
function loopAt(loop: i32): usize {
  return loops + ((<usize>(loop - 1)) << 4);
}

export function leastOf(loop: i32): i32 {
  return load<i32>(loopAt(loop));
}

export function mostOf(loop: i32): i32 {
  return load<i32>(loopAt(loop), 4);
}

export function bodyOf(loop: i32): i32 {
  return load<i32>(loopAt(loop), 8);
}

export function isCharacter(loop: i32): bool {
  return (load<i32>(loopAt(loop), 12) & CHARACTER) != 0;
}

export function parentOf(frame: usize): usize {
  return load<u32>(frame);
}

export function returnOf(frame: usize): i32 {
  return load<i32>(frame, 4);
}

export function loopOf(frame: usize): i32 {
  return frame ? load<i32>(frame, 8) : 0;
}

export function countOf(frame: usize): i32 {
  return load<i32>(frame, 12);
}

/** The count of a frame that stands for any count far from the bounds. */
export const FAR: i32 = -1;

/** How often the body of the frame's loop may still end, at most 2^30. */
export function restOf(frame: usize): i32 {
  const most = mostOf(loopOf(frame));
  return most < 0 ? 1 << 30 : most - countOf(frame);
}

export let frames: i32 = 0;
export let sets: i32 = 0;

/** The frame with these fields; 0 and a failure when there is no room or it lies too deep. */
export function frameOf(parent: usize, back: i32, loop: i32, count: i32): usize {
  let hash = (<u32>parent >> 2) * 0x9e3779b1;
  hash = (hash ^ <u32>back) * 0x85ebca6b;
  hash = (hash ^ <u32>loop ^ ((<u32>count) << 8)) * 0xc2b2ae35;
  const bucket = frameBuckets + ((<usize>(hash >> 18) & (BUCKETS - 1)) << 2);
  for (let f = <usize>load<u32>(bucket); f; f = <usize>load<u32>(f, 20))
    if (parentOf(f) == parent && returnOf(f) == back && load<i32>(f, 8) == loop && countOf(f) == count) return f;
  const depth = parent ? load<i32>(parent, 16) + 1 : 1;
  if (depth > deepest) {
    fail(TOO_DEEP, back);
    return 0;
  }
  const f = take(FRAME_BYTES + 8);
  if (!f) {
    fail(OUT_OF_MEMORY, back);
    return 0;
  }
  store<u32>(f, <u32>parent);
  store<i32>(f, back, 4);
  store<i32>(f, loop, 8);
  store<i32>(f, count, 12);
  store<i32>(f, depth, 16);
  store<u32>(f, load<u32>(bucket), 20);
  // The bucket and the frame before this one, so that the last ones can be taken back.
  store<u32>(f, <u32>bucket, 24);
  store<u32>(f, <u32>lastFrame, 28);
  store<u32>(bucket, <u32>f);
  lastFrame = f;
  frames++;
  return f;
}

export function markFrames(): usize {
  return lastFrame;
}

/** Takes back the frames made since `mark`; nothing else may have been taken from memory in between. */
export function releaseFrames(mark: usize): void {
  let lowest: usize = 0;
  while (lastFrame != mark) {
    store<u32>(<usize>load<u32>(lastFrame, 24), load<u32>(lastFrame, 20));
    lowest = lastFrame;
    lastFrame = <usize>load<u32>(lastFrame, 28);
    frames--;
  }
  if (lowest) rewind(lowest);
}

// A configuration is 8 bytes: state, frame. Sets that are being made lie in scratch memory of the caller's.
export const MOST_CONFIGS: i32 = 64;
/** Room that a set needs while it is made: states that only call or return are in it, too. */
export const ROOM: i32 = 512;

/** The set being made. */
export let set: usize = 0;
export let count: i32 = 0;
/** A configuration returned from the lowest frame. */
export let returned: bool = false;

export function beginSet(at: usize): void {
  set = at;
  count = 0;
  returned = false;
}

/** Goes on with a set that was ended. */
export function resumeSet(at: usize, n: i32, ends: bool): void {
  set = at;
  count = n;
  returned = ends;
}

function enter(state: i32, frame: usize, loop: i32, n: i32): void {
  const f = frameOf(frame, state, loop, n);
  if (f) add(bodyOf(loop), f);
}

/** The rule or loop body of `frame` has ended. */
export function leave(frame: usize): void {
  if (!frame) {
    returned = true;
    return;
  }
  const loop = load<i32>(frame, 8);
  const back = returnOf(frame);
  const parent = parentOf(frame);
  if (loop == 0) return add(back, parent);
  if (countOf(frame) == FAR) {
    add(back, parent);
    return add(bodyOf(loop), frame);
  }
  const least = leastOf(loop);
  const most = mostOf(loop);
  // Counts that make no difference any more are one.
  const n = most < 0 ? min(countOf(frame) + 1, least) : countOf(frame) + 1;
  if (n >= least) add(back, parent);
  if (most < 0 || n < most) enter(back, parent, loop, n);
}

function has(state: i32, frame: usize): bool {
  for (let p = set, end = set + ((<usize>count) << 3); p < end; p += 8)
    if (load<i32>(p) == state && <usize>load<u32>(p, 4) == frame) return true;
  return false;
}

/** Adds a configuration and all that it comes to without a byte. */
export function add(state: i32, frame: usize): void {
  if (state == 0 || has(state, frame)) return;
  if (count >= ROOM) return fail(TOO_MANY_CONFIGS, state);
  const p = set + ((<usize>count) << 3);
  count++;
  store<i32>(p, state);
  store<u32>(p, <u32>frame, 4);
  const flags = flagsOf(state);
  if (!(flags & (ACCEPTS | CALLS))) return;
  if (flags & ACCEPTS) leave(frame);
  if (!(flags & CALLS)) return;
  const calls = extrasOf(state);
  const n = load<i32>(calls);
  for (let i = 0, c = calls + 4; i < n; i++, c += 12) {
    const back = load<i32>(c, 4);
    const loop = load<i32>(c, 8);
    if (loop) {
      if (leastOf(loop) == 0) add(back, frame);
      enter(back, frame, loop, 0);
    } else if ((flagsOf(back) & (ACCEPTS | CALLS | TOKENS | EDGES)) == ACCEPTS) {
      // What is called last returns to where this returns to.
      add(load<i32>(c), frame);
    } else {
      const f = frameOf(frame, back, 0, 0);
      if (f) add(load<i32>(c), f);
    }
  }
}

/** Sets of more configurations are looked through for needless ones. */
const FEW: i32 = 4;

/** Whether `a` differs from `b` by a higher count alone, where both may leave the loop: then it allows nothing that `b` does not. */
function slower(a: usize, b: usize): bool {
  const loop = loopOf(a);
  return (
    loop != 0 &&
    loop == loopOf(b) &&
    parentOf(a) == parentOf(b) &&
    returnOf(a) == returnOf(b) &&
    countOf(b) >= leastOf(loop) &&
    countOf(a) > countOf(b)
  );
}

/** Drops configurations of loops that have gone round more often than another; how many are left. */
function withoutSlower(n: i32): i32 {
  let kept = 0;
  for (let i = 0; i < n; i++) {
    const p = set + ((<usize>i) << 3);
    const frame = <usize>load<u32>(p, 4);
    let needless = false;
    for (let j = 0; j < n && !needless; j++) {
      const q = set + ((<usize>j) << 3);
      needless = load<i32>(q) == load<i32>(p) && slower(frame, <usize>load<u32>(q, 4));
    }
    // Marked for now: others are still compared with it.
    store<i32>(marks + ((<usize>i) << 2), <i32>needless);
  }
  for (let i = 0; i < n; i++) {
    if (load<i32>(marks + ((<usize>i) << 2))) continue;
    store<u64>(set + ((<usize>kept) << 3), load<u64>(set + ((<usize>i) << 3)));
    kept++;
  }
  return kept;
}

/** Ends the set being made: leaves configurations that can take something; their number, 0 also after a failure. */
export function endSet(state: i32): i32 {
  let n = 0;
  for (let i = 0; i < count; i++) {
    const p = set + ((<usize>i) << 3);
    if (!(flagsOf(load<i32>(p)) & (EDGES | TOKENS))) continue;
    const to = set + ((<usize>n) << 3);
    n++;
    if (to != p) store<u64>(to, load<u64>(p));
  }
  if (n > FEW) n = withoutSlower(n);
  if (n > MOST_CONFIGS) {
    fail(TOO_MANY_CONFIGS, state);
    return 0;
  }
  count = n;
  return n;
}

/** The set behind `byte`, made at `into`; its size. */
export function stepSet(from: usize, n: i32, byte: u32, into: usize): i32 {
  beginSet(into);
  let some = 0;
  for (let p = from, end = from + ((<usize>n) << 3); p < end; p += 8) {
    const t = next(load<i32>(p), byte);
    if (!t) continue;
    some = t;
    add(t, <usize>load<u32>(p, 4));
  }
  return some ? endSet(some) : 0;
}

/**
 * A kept set: next in its bucket, size, whether the text may end here; then the configurations, least first, so that equal
 * sets are one. Returns its address, 0 for the empty set that may not end or after a failure.
 */
export function keep(at: usize, n: i32, ends: bool): usize {
  if (n == 0 && !ends) return 0;
  for (let i = 1; i < n; i++) {
    const x = load<u64>(at + ((<usize>i) << 3));
    let j = i;
    while (j > 0 && load<u64>(at + ((<usize>(j - 1)) << 3)) > x) {
      store<u64>(at + ((<usize>j) << 3), load<u64>(at + ((<usize>(j - 1)) << 3)));
      j--;
    }
    store<u64>(at + ((<usize>j) << 3), x);
  }
  let hash: u32 = ends ? 0x9e3779b1 : 0;
  const bytes = (<usize>n) << 3;
  for (let i: usize = 0; i < bytes; i += 4) hash = (hash ^ load<u32>(at + i)) * 0x01000193 + (hash >> 15);
  const bucket = setBuckets + ((<usize>(hash ^ (hash >> 14)) & (BUCKETS - 1)) << 2);
  for (let s = <usize>load<u32>(bucket); s; s = <usize>load<u32>(s))
    if (load<i32>(s, 4) == n && load<i32>(s, 8) == <i32>ends && memory.compare(s + 16, at, bytes) == 0) return s;
  const s = take(16 + bytes);
  if (!s) {
    fail(OUT_OF_MEMORY, n ? load<i32>(at) : 0);
    return 0;
  }
  store<u32>(s, load<u32>(bucket));
  store<i32>(s, n, 4);
  store<i32>(s, <i32>ends, 8);
  memory.copy(s + 16, at, bytes);
  store<u32>(bucket, <u32>s);
  sets++;
  return s;
}

export function setSize(kept: usize): i32 {
  return load<i32>(kept, 4);
}

export function mayEnd(kept: usize): bool {
  return load<i32>(kept, 8) != 0;
}

export function configs(kept: usize): usize {
  return kept + 16;
}
