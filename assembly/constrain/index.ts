// The exports of the constraining module. A handle is the address of a kept set; 0 is dead. Nothing here is freed one by one:
// opening another machine takes all back but the vocabulary.
import {
  add,
  beginSet,
  configs,
  endSet,
  flagsOf,
  frames,
  keep,
  mayEnd,
  next,
  openTables,
  ROOM,
  resumeSet,
  returned,
  ruleOf,
  setSize,
  sets,
  startState,
  stepSet,
  TOKENS,
  tokenEdges,
  words,
} from "./machine";
import { listed, maskOf, openMasks } from "./mask";
import { clearFailure, fail, failedAt, failure, OUT_OF_MEMORY, rewind, setLimit, take, top } from "./memory";
import { vocabulary_build as build, bytesOf, hasText, isEnd, lengthOf, tokens } from "./vocabulary";

export { vocabulary_begin, vocabulary_bytes, vocabulary_kinds } from "./vocabulary";

/** What the vocabulary ends at: the tables of a machine begin there. */
let floor: usize = 0;
let tables: usize = 0;
let first: usize = 0;
/** Two sets in the making. */
let here: usize = 0;
let there: usize = 0;
let forcedAt: usize = 0;
const FORCED: i32 = 1024;

export function constrain_abi_version(): i32 {
  return 1;
}

export function memory_limit(bytes: f64): void {
  setLimit(<usize>bytes);
}

/** 0 or a failure. */
export function vocabulary_build(): i32 {
  const status = build();
  here = take((<usize>ROOM) << 4);
  there = take((<usize>ROOM) << 4);
  forcedAt = take(FORCED);
  if (status || !forcedAt) return OUT_OF_MEMORY;
  floor = top;
  return 0;
}

/** Forgets the machine before; room for the tables of another, 0 when there is none. */
export function machine_begin(bytes: i32): usize {
  rewind(floor);
  first = 0;
  tables = take(<usize>bytes);
  return tables;
}

/** The set that a text begins with, 0 and a failure. */
export function machine_open(): usize {
  clearFailure();
  if (openTables(tables) || openMasks()) {
    fail(OUT_OF_MEMORY, 0);
    return 0;
  }
  return (first = begin());
}

function begin(): usize {
  beginSet(here);
  add(startState(), 0);
  const ends = returned;
  const n = endSet(startState());
  return failure ? 0 : keep(here, n, ends);
}

/** Where the mask of a set is, 0 and a failure. */
export function mask(set: usize, space: i32): usize {
  return maskOf(set, space != 0);
}

/** The set in the making that `walk` has come to. */
let place: usize = 0;
let ended: bool = false;
/** Bytes that the last walk took. */
let taken: i32 = 0;

/** Walks `n` bytes at `p`; the size of the set at `place`, 0 where it died (unless `ended`), or after a failure. */
function walk(set: usize, p: usize, n: i32): i32 {
  let size = setSize(set);
  place = configs(set);
  ended = mayEnd(set);
  for (taken = 0; taken < n; taken++) {
    const into = place == here ? there : here;
    size = stepSet(place, size, load<u8>(p + <usize>taken), into);
    place = into;
    ended = returned;
    if (failure || (size == 0 && !ended)) return 0;
  }
  return size;
}

/** Adds to the set at `place` what the token edges of `set` lead to; its size. */
function addTokenEdges(set: usize, token: i32, size: i32): i32 {
  let found = false;
  for (let i = 0; i < setSize(set); i++) {
    const c = configs(set) + ((<usize>i) << 3);
    const state = load<i32>(c);
    const frame = <usize>load<u32>(c, 4);
    if (!(flagsOf(state) & TOKENS)) continue;
    let p = tokenEdges(state);
    for (let pass = 0; pass < 2; pass++) {
      const n = load<i32>(p);
      p += 4;
      for (let end = p + ((<usize>n) << 3); p < end; p += 8) {
        if (pass == 0 ? load<i32>(p) != token : listed(words(load<i32>(p)), token)) continue;
        if (!found) {
          if (place != here && place != there) place = here;
          resumeSet(place, size, ended);
        }
        found = true;
        add(load<i32>(p, 4), frame);
      }
    }
  }
  if (!found) return size;
  size = endSet(0);
  ended = returned;
  return size;
}

/** The set behind a token; 0: the token is not allowed here, or a failure. `space`: a leading space of it is dropped. */
export function advance(set: usize, token: i32, space: i32): usize {
  clearFailure();
  if (<u32>token >= <u32>tokens || set == 0) return 0;
  let size = 0;
  place = here;
  ended = false;
  if (hasText(token)) {
    const skip = space && load<u8>(bytesOf(token)) == 0x20 ? 1 : 0;
    size = walk(set, bytesOf(token) + <usize>skip, lengthOf(token) - skip);
  }
  if (!failure) size = addTokenEdges(set, token, size);
  if (failure) return 0;
  const after = keep(place, size, ended);
  return after || !isEnd(token) || !mayEnd(set) ? after : set;
}

/** The set behind `n` bytes at `p`, as advance() of tokens with these bytes; 0: refused at byte `refused_at()`, or a failure. */
export function advance_bytes(set: usize, p: usize, n: i32): usize {
  clearFailure();
  if (set == 0) return 0;
  const size = walk(set, p, n);
  return failure ? 0 : keep(place, size, ended);
}

export function refused_at(): i32 {
  return taken;
}

/** Room for `n` bytes to advance by; what was taken before it stays. 0: none. */
export function bytes_room(n: i32): usize {
  return take(<usize>n);
}

export function accepting(set: usize): i32 {
  return <i32>(set != 0 && mayEnd(set));
}

export function must_end(set: usize): i32 {
  return <i32>(set != 0 && mayEnd(set) && setSize(set) == 0);
}

/** Bytes that must come next, one after the other, until there is a choice: their number; forced_bytes() says where. */
export function forced(set: usize, most: i32): i32 {
  clearFailure();
  let size = setSize(set);
  let ends = mayEnd(set);
  place = configs(set);
  let n = 0;
  for (let limit = min(most, FORCED); n < limit && !ends; n++) {
    const byte = onlyByte(place, size);
    if (byte < 0) break;
    const into = place == here ? there : here;
    size = stepSet(place, size, <u32>byte, into);
    place = into;
    ends = returned;
    if (failure || (size == 0 && !ends)) break;
    store<u8>(forcedAt + <usize>n, <u8>byte);
  }
  return n;
}

export function forced_bytes(): usize {
  return forcedAt;
}

/** The one byte that the set goes on with; -1: none, several, or tokens beside it. */
function onlyByte(at: usize, size: i32): i32 {
  let found = -1;
  for (let i = 0; i < size; i++) {
    const state = load<i32>(at + ((<usize>i) << 3));
    if (flagsOf(state) & TOKENS) return -1;
    for (let b = 0; b < 256; b++) {
      if (b == found || !next(state, b)) continue;
      if (found >= 0) return -1;
      found = b;
    }
  }
  return found;
}

/** The last call's failure, 0 for none, and the rule that it came from. */
export function failure_code(): i32 {
  return failure;
}

export function failure_rule(): i32 {
  return failedAt ? ruleOf(failedAt) : -1;
}

/** Sets and frames kept so far, and bytes in use. */
export function kept_sets(): i32 {
  return sets;
}

export function kept_frames(): i32 {
  return frames;
}

export function used_bytes(): f64 {
  return <f64>top;
}
