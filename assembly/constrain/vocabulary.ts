// The vocabulary as two flat tries in one array, and sets of tokens that masks are made from.
//
// A node is 8 bytes: byte | (nodes of its subtree, itself included) << 8, and the index of its first token in `tokens`, which
// is in the order of the tokens' bytes. Nodes lie in depth-first order, so children of i begin at i + 1, and the tokens
// that end at i are those from its first one to that of node i + 1: any number of tokens may share their bytes.
// The first trie holds tokens that are whole characters of a JSON string's body, none of which needs an escape ("safe");
// the second one all others that have bytes.
import { OUT_OF_MEMORY, take, takeZeroed } from "./memory";

/** Sets of safe tokens are kept up to this length; the last set is that of all. */
const LONGEST: i32 = 64;

export let tokens: i32 = 0;
/** Bytes of a mask: a bit a token, rounded up to 16 bytes. */
export let maskBytes: usize = 0;
export let nodes: usize = 0;
/** Roots of the tries; neither is a token's. */
export let safeRoot: i32 = 0;
export let otherRoot: i32 = 0;
export let sorted: usize = 0;
let offsets: usize = 0;
let kinds: usize = 0;
let blob: usize = 0;
/** Code points of each safe token, by place in `sorted`. */
let lengths: usize = 0;
let safeTokens: i32 = 0;
/** Code points of the longest safe token. */
export let longestSafe: i32 = 0;
/** Masks of safe tokens with at most k code points, 1 <= k < LONGEST, and of all; made when first asked for. */
let slices: usize = 0;
let sliceMade: usize = 0;
/** Tokens that end a text. */
export let endTokens: usize = 0;
export let endCount: i32 = 0;

/** Bits of a token's kind, given with the vocabulary. */
const NO_TEXT: u32 = 1; // also of tokens longer than 255 bytes
const ENDS: u32 = 2;

/** Room for `count` tokens of `bytes` bytes: where offsets (count + 1) u32, kinds (count) u8 and bytes go, one behind the other. */
export function vocabulary_begin(count: i32, bytes: i32): usize {
  tokens = count;
  maskBytes = ((<usize>count + 127) >> 7) << 4;
  offsets = take((<usize>count + 1) << 2);
  kinds = take(<usize>count);
  blob = take(<usize>bytes);
  return blob ? offsets : 0;
}

export function vocabulary_kinds(): usize {
  return kinds;
}

export function vocabulary_bytes(): usize {
  return blob;
}

export function bytesOf(token: i32): usize {
  return blob + load<u32>(offsets + ((<usize>token) << 2));
}

export function lengthOf(token: i32): i32 {
  return load<i32>(offsets + ((<usize>token) << 2), 4) - load<i32>(offsets + ((<usize>token) << 2));
}

/** Whether a token stands for bytes of text. */
export function hasText(token: i32): bool {
  return !(load<u8>(kinds + <usize>token) & NO_TEXT) && lengthOf(token) > 0;
}

export function isEnd(token: i32): bool {
  return (load<u8>(kinds + <usize>token) & ENDS) != 0;
}

/** Length of the whole safe character at `p`, 0 when there is none before `end`. */
function safeCharacter(p: usize, end: usize): i32 {
  const a = <u32>load<u8>(p);
  if (a < 0x80) return a >= 0x20 && a != 0x22 && a != 0x5c ? 1 : 0;
  const n = a >= 0xf0 ? 4 : a >= 0xe0 ? 3 : 2;
  if (a < 0xc2 || a > 0xf4 || p + <usize>n > end) return 0;
  const b = <u32>load<u8>(p, 1);
  const low: u32 = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
  const high: u32 = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
  if (b < low || b > high) return 0;
  for (let i = 2; i < n; i++) if ((load<u8>(p + <usize>i) & 0xc0) != 0x80) return 0;
  // The ends of lines that expressions' "." leaves out.
  return a == 0xe2 && b == 0x80 && load<u8>(p, 2) >> 1 == 0x54 ? 0 : n;
}

/** Code points of a token whose characters are all safe; -1 of another. */
function safeLength(token: i32): i32 {
  let p = bytesOf(token);
  const end = p + <usize>lengthOf(token);
  let count = 0;
  while (p < end) {
    const n = safeCharacter(p, end);
    if (n == 0) return -1;
    p += <usize>n;
    count++;
  }
  return count;
}

function at(i: i32): i32 {
  return load<i32>(sorted + ((<usize>i) << 2));
}

function setAt(i: i32, token: i32): void {
  store<i32>(sorted + ((<usize>i) << 2), token);
}

/** Byte `depth` of the token at place i; -1 behind its end. */
function key(i: i32, depth: i32): i32 {
  const token = at(i);
  return depth < lengthOf(token) ? <i32>load<u8>(bytesOf(token) + <usize>depth) : -1;
}

function swap(i: i32, j: i32): void {
  const t = at(i);
  setAt(i, at(j));
  setAt(j, t);
}

/** Puts places [begin, end) in the order of the tokens' bytes from `depth` on: quicksort by one byte at a time. */
function sort(begin: i32, end: i32, depth: i32): void {
  while (end - begin > 1) {
    const pivot = key((begin + end) >> 1, depth);
    let low = begin,
      high = end;
    for (let i = begin; i < high; ) {
      const k = key(i, depth);
      if (k < pivot) swap(i++, low++);
      else if (k > pivot) swap(i, --high);
      else i++;
    }
    sort(begin, low, depth);
    if (pivot >= 0) sort(low, high, depth + 1);
    begin = high;
  }
}

/** Nodes of the trie over places [begin, end), whose tokens agree in `depth` bytes; writes them from `node` on unless it is < 0. */
function build(begin: i32, end: i32, depth: i32, node: i32): i32 {
  let i = begin;
  while (i < end && lengthOf(at(i)) == depth) i++;
  let size = 1;
  while (i < end) {
    const k = key(i, depth);
    let j = i + 1;
    while (j < end && key(j, depth) == k) j++;
    size += build(i, j, depth + 1, node < 0 ? -1 : node + size);
    i = j;
  }
  if (node >= 0) {
    const byte = depth == 0 ? 0 : <u32>load<u8>(bytesOf(at(begin)) + <usize>(depth - 1));
    store<u32>(nodes + ((<usize>node) << 3), byte | ((<u32>size) << 8));
    store<i32>(nodes + ((<usize>node) << 3), begin, 4);
  }
  return size;
}

/** Builds the tries and sets; 0 or a failure. */
export function vocabulary_build(): i32 {
  sorted = take((<usize>tokens) << 2);
  lengths = take(<usize>tokens);
  endTokens = take((<usize>tokens) << 2);
  if (!endTokens || !sorted || !lengths) return OUT_OF_MEMORY;
  let safe = 0,
    other = 0;
  endCount = 0;
  for (let t = 0; t < tokens; t++) {
    if (isEnd(t)) {
      store<i32>(endTokens + ((<usize>endCount) << 2), t);
      endCount++;
    }
    if (!hasText(t)) continue;
    if (safeLength(t) > 0) setAt(safe++, t);
    else other++;
  }
  let place = safe;
  for (let t = 0; t < tokens; t++) if (hasText(t) && safeLength(t) <= 0) setAt(place++, t);
  safeTokens = safe;
  sort(0, safe, 0);
  sort(safe, safe + other, 0);
  longestSafe = 1;
  for (let i = 0; i < safe; i++) {
    const n = safeLength(at(i));
    longestSafe = max(longestSafe, n);
    store<u8>(lengths + <usize>i, <u8>n);
  }
  const safeNodes = build(0, safe, 0, -1);
  const count = safeNodes + build(safe, safe + other, 0, -1);
  nodes = take((<usize>count + 1) << 3);
  slices = take(maskBytes * <usize>LONGEST);
  sliceMade = takeZeroed(<usize>LONGEST + 1);
  if (!nodes || !slices || !sliceMade) return OUT_OF_MEMORY;
  safeRoot = 0;
  otherRoot = safeNodes;
  build(0, safe, 0, safeRoot);
  build(safe, safe + other, 0, otherRoot);
  store<u32>(nodes + ((<usize>count) << 3), 1 << 8);
  store<i32>(nodes + ((<usize>count) << 3), safe + other, 4);
  return 0;
}

export function sizeOf(node: i32): i32 {
  return <i32>(load<u32>(nodes + ((<usize>node) << 3)) >> 8);
}

export function firstOf(node: i32): i32 {
  return load<i32>(nodes + ((<usize>node) << 3), 4);
}

export function setBit(mask: usize, token: i32): void {
  const word = mask + ((<usize>token >> 5) << 2);
  store<u32>(word, load<u32>(word) | ((<u32>1) << (token & 31)));
}

/** Sets the bits of the tokens at places [begin, end) of the order. */
export function setPlaces(mask: usize, begin: i32, end: i32): void {
  for (let i = begin; i < end; i++) setBit(mask, at(i));
}

export function clearPlaces(mask: usize, begin: i32, end: i32): void {
  for (let i = begin; i < end; i++) {
    const word = mask + ((<usize>at(i) >> 5) << 2);
    store<u32>(word, load<u32>(word) & ~((<u32>1) << (at(i) & 31)));
  }
}

export function orMask(into: usize, from: usize): void {
  for (let i: usize = 0; i < maskBytes; i += 16) v128.store(into + i, v128.or(v128.load(into + i), v128.load(from + i)));
}

function setShort(mask: usize, most: i32): void {
  for (let i = 0; i < safeTokens; i++) if (<i32>load<u8>(lengths + <usize>i) <= most) setBit(mask, at(i));
}

/** Adds the safe tokens of at most `most` code points. */
export function addSlice(into: usize, most: i32): void {
  const k = most >= longestSafe ? LONGEST : most;
  if (k > LONGEST || (k == LONGEST && most < longestSafe)) return setShort(into, most);
  const mask = slices + maskBytes * <usize>(k - 1);
  if (!load<u8>(sliceMade + <usize>k)) {
    memory.fill(mask, 0, maskBytes);
    setShort(mask, k == LONGEST ? 255 : k);
    store<u8>(sliceMade + <usize>k, 1);
  }
  orMask(into, mask);
}
