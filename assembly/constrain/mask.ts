// Which tokens may come next.
//
// A set's mask is the union of its configurations' masks. What a configuration allows depends on its state and, where a token
// goes on behind the end of the rule, on the stack below it. So the walk over the tries is done once a state, over a stack
// whose lowest frame is open, and kept: the tokens that stay in the rule, and the nodes at which the rule had ended. Behind
// those the walk goes on with the stack as it is. A loop's count matters only near its bounds: far from them the
// walk is done with a frame that stands for any count.
import {
  ACCEPTS,
  add,
  beginSet,
  bodyOf,
  CALLS,
  configs,
  count,
  countOf,
  endSet,
  FAR,
  FREE,
  flagsOf,
  frameOf,
  isCharacter,
  leastOf,
  leave,
  lookAhead,
  loopOf,
  MOST_CONFIGS,
  markFrames,
  mayEnd,
  next,
  parentOf,
  ROOM,
  releaseFrames,
  restOf,
  returned,
  returnOf,
  rowOf,
  setSize,
  stepSet,
  TOKENS,
  tokenEdges,
  words,
} from "./machine";
import { clearFailure, fail, failure, OUT_OF_MEMORY, TOO_MUCH_WORK, take, takeZeroed } from "./memory";
import {
  addSlice,
  clearPlaces,
  endCount,
  endTokens,
  firstOf,
  isEnd,
  longestSafe,
  maskBytes,
  nodes,
  orMask,
  otherRoot,
  safeRoot,
  setBit,
  setPlaces,
  sizeOf,
  tokens,
} from "./vocabulary";

/** Steps of one mask, at most: a grammar that is this ambiguous is refused, not waited for. */
const MOST_WORK: i32 = 12_000_000;
/** Masks that are kept whole, by the set that they belong to; a power of 2. */
const WHOLE: usize = 16;
/** Entries of the table of walks, a power of 2, and bytes for what they found. */
const WALKS: usize = 1024;
const STORE: usize = 3 << 20;

let mask: usize = 0;
let work: i32 = 0;
/** Sets along the path of the walk, one behind the other. */
let stack: usize = 0;
/** Nodes at which the open frame was returned from, while a walk is recorded. */
let ends: usize = 0;
let endsCount: i32 = 0;
let recording: bool = false;

let whole: usize = 0;
let walks: usize = 0;
let storeAt: usize = 0;
let storeTop: usize = 0;
let scratch: usize = 0;

/** Takes room for masks and walks. */
export function openMasks(): i32 {
  stack = take(((<usize>MOST_CONFIGS * 300) << 3) + ((<usize>ROOM) << 3));
  ends = take((<usize>(sizeOf(safeRoot) + sizeOf(otherRoot))) << 2);
  whole = takeZeroed((maskBytes + 16) * WHOLE);
  walks = takeZeroed(WALKS << 4);
  storeAt = take(STORE);
  scratch = take(maskBytes);
  storeTop = storeAt;
  return stack && ends && whole && walks && storeAt && scratch ? 0 : OUT_OF_MEMORY;
}

function setTokens(node: i32): void {
  setPlaces(mask, firstOf(node), firstOf(node + 1));
}

function byteOf(node: i32): u32 {
  return load<u8>(nodes + ((<usize>node) << 3));
}

/** Sets the tokens of a whole subtree but those that end at its root. */
function setBelow(node: i32): void {
  setPlaces(mask, firstOf(node + 1), firstOf(node + sizeOf(node)));
}

/** Walks the subtree of `node` with one configuration that neither ends nor calls. `at`: free room for sets. */
function walkOne(node: i32, state: i32, frame: usize, at: usize): void {
  let p = nodes + ((<usize>node) << 3);
  const end = p + ((<usize>(load<u32>(p) >> 8)) << 3);
  work += <i32>((end - p) >> 3);
  const row = rowOf(state);
  for (p += 8; p < end; ) {
    const head = load<u32>(p);
    const size = head >> 8;
    const t = row ? load<i32>(row + ((<usize>(head & 255)) << 2)) : next(state, head & 255);
    if (t) {
      const flags = flagsOf(t);
      const c = <i32>((p - nodes) >> 3);
      if (flags & (ACCEPTS | CALLS)) {
        beginSet(at);
        add(t, frame);
        arrive(c, at, endSet(t));
      } else if (flags & FREE && c < otherRoot) {
        setPlaces(mask, load<i32>(p, 4), firstOf(c + <i32>size));
      } else {
        setPlaces(mask, load<i32>(p, 4), load<i32>(p, 12));
        if (size > 1) walkOne(c, t, frame, at);
      }
    }
    p += (<usize>size) << 3;
  }
}

/** The walk has come to `node` with the set just made at `at`. */
function arrive(node: i32, at: usize, n: i32): void {
  if (n == 0 && !returned) return;
  setTokens(node);
  if (sizeOf(node) == 1) return;
  if (returned && recording) {
    store<i32>(ends + ((<usize>endsCount) << 2), node);
    endsCount++;
  }
  if (n > 0) walkSet(node, at, n);
}

function walkSet(node: i32, at: usize, n: i32): void {
  const room = at + ((<usize>n) << 3);
  if (n == 1) {
    const state = load<i32>(at);
    const flags = flagsOf(state);
    if (flags & FREE && node < otherRoot) return setBelow(node);
    return walkOne(node, state, <usize>load<u32>(at, 4), room);
  }
  const end = node + sizeOf(node);
  for (let c = node + 1; c < end; c += sizeOf(c)) {
    work += n;
    if (failure) return;
    const m = stepSet(at, n, byteOf(c), room);
    if (m > 0 || count > 0 || returned) arrive(c, room, m);
  }
  if (work > MOST_WORK) fail(TOO_MUCH_WORK, load<i32>(at));
}

/** Walks all tokens from one configuration; `safe`: the safe tokens are known to be right or wrong already. */
function walkAll(state: i32, frame: usize, safe: bool): void {
  store<i32>(stack, state);
  store<u32>(stack, <u32>frame, 4);
  if (!safe) walkSet(safeRoot, stack, 1);
  walkSet(otherRoot, stack, 1);
}

/** Bytes of a kept walk before its mask: count of ends. */
const HEAD: usize = 16;

/** What `state` allows above an open frame, in the loop `loop` unless it is 0 and far from its bounds: mask, then ends. */
function walkOf(state: i32, loop: i32, back: i32): usize {
  // Key: state, loop, state behind the loop.
  const slot =
    walks +
    (((<usize>((<u32>state * 0x9e3779b1) ^ (<u32>loop * 0x85ebca6b) ^ (<u32>back * 0xc2b2ae35)) >> 12) & (WALKS - 1)) << 4);
  if (load<i32>(slot) == state && load<i32>(slot, 4) == loop && load<i32>(slot, 8) == back && load<u32>(slot, 12))
    return <usize>load<u32>(slot, 12);
  const before = mask;
  mask = scratch;
  memory.fill(mask, 0, maskBytes);
  recording = true;
  endsCount = 0;
  const mark = markFrames();
  let frame: usize = 0;
  if (loop) frame = frameOf(0, back, loop, FAR);
  const free = flagsOf(state) & FREE || (loop && isCharacter(loop) && bodyOf(loop) == state);
  if (free) addSlice(mask, longestSafe);
  walkAll(state, frame, free != 0);
  releaseFrames(mark);
  recording = false;
  mask = before;
  if (failure) return 0;
  const bytes = HEAD + maskBytes + ((((<usize>endsCount) << 2) + 15) & ~(<usize>15));
  if (storeTop + bytes > storeAt + STORE) {
    storeTop = storeAt;
    memory.fill(walks, 0, WALKS << 4);
  }
  // What is larger than the whole store is used from where it was made, once.
  const kept = bytes <= STORE ? storeTop : 0;
  if (!kept) {
    fail(TOO_MUCH_WORK, state);
    return 0;
  }
  storeTop += bytes;
  store<i32>(kept, endsCount);
  memory.copy(kept + HEAD, scratch, maskBytes);
  memory.copy(kept + HEAD + maskBytes, ends, (<usize>endsCount) << 2);
  store<i32>(slot, state);
  store<i32>(slot, loop, 4);
  store<i32>(slot, back, 8);
  store<u32>(slot, <u32>kept, 12);
  return kept;
}

/** Adds what one configuration allows. */
function addConfig(state: i32, frame: usize): void {
  const loop = loopOf(frame);
  let below = frame;
  let back = 0;
  if (loop) {
    const rest = restOf(frame);
    if (countOf(frame) < leastOf(loop) || rest < 256) {
      const safe = isCharacter(loop) && bodyOf(loop) == state;
      if (safe) addSlice(mask, rest);
      return walkAll(state, frame, safe);
    }
    below = parentOf(frame);
    back = returnOf(frame);
  }
  const walk = walkOf(state, loop, back);
  if (!walk) return;
  orMask(mask, walk + HEAD);
  const n = load<i32>(walk);
  if (n == 0 || below == 0) return;
  // The stack as it is behind the end of the rule.
  const list = walk + HEAD + maskBytes;
  beginSet(stack);
  leave(below);
  const m = endSet(state);
  if (m == 0) return;
  for (let i = 0; i < n && !failure; i++) {
    walkSet(load<i32>(list + ((<usize>i) << 2)), stack, m);
    if (work > MOST_WORK) fail(TOO_MUCH_WORK, state);
  }
}

/** Adds what token edges allow. */
function addTokenEdges(state: i32): void {
  let p = tokenEdges(state);
  for (let n = load<i32>(p), i = 0; i < n; i++) setBit(mask, load<i32>(p + ((<usize>i) << 3), 4));
  p += 4 + ((<usize>load<u32>(p)) << 3);
  for (let n = load<i32>(p), i = 0; i < n; i++) {
    const list = words(load<i32>(p + ((<usize>i) << 3), 4));
    for (let t = 0; t < tokens; t++) if (!listed(list, t)) setBit(mask, t);
  }
}

/** Whether a token may not be taken for "any but those": the list is in rising order, and end tokens only end. */
export function listed(list: usize, token: i32): bool {
  if (isEnd(token)) return true;
  let low = 0,
    high = load<i32>(list);
  while (low < high) {
    const middle = (low + high) >> 1;
    const t = load<i32>(list + ((<usize>middle) << 2), 4);
    if (t == token) return true;
    if (t < token) low = middle + 1;
    else high = middle;
  }
  return false;
}

/** Tokens of a space more: those that begin with a space are decided on without it. */
function afterSpace(kept: usize): void {
  const n = setSize(kept);
  for (let trie = 0; trie < 2; trie++) {
    const root = trie ? otherRoot : safeRoot;
    for (let c = root + 1; c < root + sizeOf(root); c += sizeOf(c)) {
      if (byteOf(c) != 0x20) continue;
      clearPlaces(mask, firstOf(c), firstOf(c + sizeOf(c)));
      memory.copy(stack, configs(kept), (<usize>n) << 3);
      setTokens(c);
      if (sizeOf(c) > 1 && n > 0) walkSet(c, stack, n);
    }
  }
}

/** Address of the mask of a kept set, until the next call; 0 after a failure. `space`: a leading space of the token is dropped. */
export function maskOf(kept: usize, space: bool): usize {
  const slot = whole + ((kept >> 4) & (WHOLE - 1)) * (maskBytes + 16);
  mask = slot + 16;
  if (load<u32>(slot) == <u32>kept && !space) return mask;
  store<u32>(slot, 0);
  memory.fill(mask, 0, maskBytes);
  clearFailure();
  work = 0;
  lookAhead(true);
  const mark = markFrames();
  const n = setSize(kept);
  const list = configs(kept);
  for (let i = 0; i < n && !failure; i++) {
    const p = list + ((<usize>i) << 3);
    addConfig(load<i32>(p), <usize>load<u32>(p, 4));
  }
  if (space && !failure) afterSpace(kept);
  for (let i = 0; i < n; i++) {
    const state = load<i32>(list + ((<usize>i) << 3));
    if (flagsOf(state) & TOKENS) addTokenEdges(state);
  }
  releaseFrames(mark);
  lookAhead(false);
  if (failure) return 0;
  if (mayEnd(kept)) for (let i = 0; i < endCount; i++) setBit(mask, load<i32>(endTokens + ((<usize>i) << 2)));
  if (!space) store<u32>(slot, <u32>kept);
  return mask;
}
