// A line of text to rows of the input matrix, as fastText's Dictionary::getLine: words, character n-grams, word n-grams.
// Words end at space, newline, return, tab, vertical tab, form feed and NUL. Text may come in pieces; hashes of the line's words
// are kept until its end, because the rows of word n-grams come last.
import { BASIS, countWord, find, hashOf, mixed } from "./dictionary";
import { rowsAreFull } from "./rows";

const ENDS: u64 = (1 << 0) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13) | ((<u64>1) << 32);
const EOS = memory.data<u8>([0x3c, 0x2f, 0x73, 0x3e]);
const LABEL = memory.data<u8>([0x5f, 0x5f, 0x6c, 0x61, 0x62, 0x65, 0x6c, 0x5f, 0x5f]);

let words: i32 = 0;
let bucket: u32 = 0;
let ngrams: i32 = 1;
let minn: i32 = 0;
let maxn: i32 = 0;
/** -1: nothing was pruned. */
let pruned: i32 = -1;
let pruneTable: usize = 0;
let pruneMask: u32 = 0;
let eosId: i32 = -1;

let rows: usize = 0;
let room: i32 = 0;
export let rowCount: i32 = 0;
let hashes: usize = 0;
export let hashCount: u32 = 0;
let labels: usize = 0;
let labelRoom: i32 = 0;
export let labelCount: i32 = 0;
export let tokenCount: i32 = 0;
let ended: bool = false;

// Rows gather at `rowsAt` and are handed over whenever `rowRoom` of them have come together, and at the end of a line.
export function line_open(
  rowsAt: usize,
  rowRoom: i32,
  wordCount: i32,
  buckets: u32,
  wordNgrams: i32,
  least: i32,
  most: i32,
): void {
  rows = rowsAt;
  room = rowRoom;
  words = wordCount;
  bucket = buckets;
  ngrams = wordNgrams;
  minn = least;
  maxn = most;
  pruned = -1;
  labels = 0;
  labelRoom = 0;
  eosId = find(EOS, 4, hashOf(EOS, 4));
}

// Labels of a line go to `at`, at most `room` of them.
export function line_labels(at: usize, room: i32): void {
  labels = at;
  labelRoom = room;
}

// `count` pairs (n-gram, row behind the words) at `pairs`, entered into `slots` (a power of two) 8-byte slots at `at`.
export function line_prune(at: usize, slots: u32, pairs: usize, count: i32): void {
  pruned = count;
  pruneTable = at;
  pruneMask = slots - 1;
  memory.fill(at, 0, (<usize>slots) << 3);
  for (let i = 0; i < count; i++) {
    const id = load<i32>(pairs + ((<usize>i) << 3));
    const slot = pruneSlot(id);
    store<i32>(slot, id + 1);
    store<i32>(slot, load<i32>(pairs + ((<usize>i) << 3), 4), 4);
  }
}

function pruneSlot(id: i32): usize {
  let i = (<u32>id * 0x9e3779b1) >> 7;
  while (true) {
    const slot = pruneTable + ((<usize>(i & pruneMask)) << 3);
    const key = load<i32>(slot);
    if (key == 0 || key == id + 1) return slot;
    i++;
  }
}

// Begins a line. hashes: room for as many words as the line may get.
export function line_begin(hashesAt: usize): void {
  hashes = hashesAt;
  hashCount = 0;
  rowCount = 0;
  labelCount = 0;
  tokenCount = 0;
  ended = false;
}

// The hashes kept so far were moved.
export function line_move(hashesAt: usize): void {
  hashes = hashesAt;
}

export function line_words(): u32 {
  return hashCount;
}

// 1: the line came to its end (a newline, or the word </s>).
export function line_ended(): i32 {
  return ended ? 1 : 0;
}

function push(row: i32): void {
  store<i32>(rows + ((<usize>rowCount) << 2), row);
  if (++rowCount == room) {
    rowsAreFull(rows, rowCount);
    rowCount = 0;
  }
}

function pushHash(id: i32): void {
  if (pruned >= 0) {
    if (pruned == 0) return;
    const slot = pruneSlot(id);
    if (load<i32>(slot) == 0) return;
    id = load<i32>(slot, 4);
  }
  push(words + id);
}

// Character n-grams of "<word>"; the bytes beside the word are the caller's to lend.
function subwords(begin: usize, end: usize): void {
  const first = begin - 1;
  const last = end + 1;
  const before = load<u8>(first);
  const behind = load<u8>(end);
  store<u8>(first, 0x3c);
  store<u8>(end, 0x3e);
  for (let i = first; i < last; i++) {
    if ((load<u8>(i) & 0xc0) == 0x80) continue;
    let h = BASIS;
    let j = i;
    for (let n = 1; j < last && n <= maxn; n++) {
      h = mixed(h, load<u8>(j++));
      while (j < last && (load<u8>(j) & 0xc0) == 0x80) h = mixed(h, load<u8>(j++));
      if (n >= minn && !(n == 1 && (i == first || j == last))) pushHash(<i32>(h % bucket));
    }
  }
  store<u8>(first, before);
  store<u8>(end, behind);
}

export function isLabel(begin: usize, length: u32): bool {
  return length >= 9 && load<u64>(begin) == load<u64>(LABEL) && load<u8>(begin, 8) == 0x5f;
}

function word(begin: usize, end: usize, hash: u32, isEos: bool): void {
  const length = <u32>(end - begin);
  const id = isEos ? eosId : find(begin, length, hash);
  tokenCount++;
  if (id >= 0 ? id < words : !isLabel(begin, length)) {
    if (id >= 0) push(id);
    if (maxn > 0 && !isEos) subwords(begin, end);
    if (ngrams > 1) store<u32>(hashes + ((<usize>hashCount) << 2), hash);
    hashCount++;
  } else if (id >= 0) {
    if (labelCount < labelRoom) store<i32>(labels + ((<usize>labelCount) << 2), id - words);
    labelCount++;
  }
}

// A word that was looked up before: its row (-1: none) and its hash.
export function knownWord(id: i32, hash: u32): void {
  if (id >= 0) push(id);
  if (ngrams > 1) store<u32>(hashes + ((<usize>hashCount) << 2), hash);
  hashCount++;
}

// Whether </s> is the word at `begin`; the word </s>, which ends the line.
export function isEnd(begin: usize, length: usize): bool {
  return length == 4 && load<u32>(begin) == load<u32>(EOS);
}

export function wordCount(): i32 {
  return words;
}

export function endLine(): void {
  newline();
  ended = true;
}

export function separates(c: u32): bool {
  return c <= 32 && ((ENDS >> c) & 1) != 0;
}

function newline(): void {
  word(EOS, EOS + 4, hashOf(EOS, 4), true);
}

/**
 * Takes words from the bytes at [at, end) until the line ends; gives how many bytes were used up. A word that reaches the end of the
 * bytes waits for more of them unless these are the last.
 */
export function line_take(at: usize, end: usize, last: i32): usize {
  let p = at;
  while (p < end) {
    let c: u32 = load<u8>(p);
    if (separates(c)) {
      p++;
      if (c != 10) continue;
      newline();
      ended = true;
      break;
    }
    const begin = p;
    let h = BASIS;
    do {
      h = mixed(h, c);
      p++;
      if (p == end) break;
      c = load<u8>(p);
    } while (!separates(c));
    if (p == end && !last) return begin - at;
    const isEos = p - begin == 4 && load<u32>(begin) == load<u32>(EOS);
    word(begin, p, h, isEos);
    // What ends a word goes with it, but a newline is a word of its own.
    if (p < end && c != 10) p++;
    if (isEos) {
      ended = true;
      break;
    }
  }
  return p - at;
}

// Ends the line: rows of its word n-grams, then whatever waits. n: rows so far are counted by whoever takes them.
export function line_finish(): void {
  if (ngrams > 1 && bucket > 0)
    for (let i: u32 = 0; i < hashCount; i++) {
      let h = <u64>(<i64>load<i32>(hashes + ((<usize>i) << 2)));
      const stop = min<u32>(hashCount, i + <u32>ngrams);
      for (let j = i + 1; j < stop; j++) {
        h = h * 116049371 + <u64>(<i64>load<i32>(hashes + ((<usize>j) << 2)));
        pushHash(<i32>(h % <u64>bucket));
      }
    }
  if (rowCount > 0) rowsAreFull(rows, rowCount);
  rowCount = 0;
}

// Counts the words of a text for a dictionary; bytes used up.
export function count_take(at: usize, end: usize, last: i32): usize {
  let p = at;
  while (p < end) {
    let c: u32 = load<u8>(p);
    if (separates(c)) {
      p++;
      if (c == 10) countWord(EOS, 4, hashOf(EOS, 4));
      continue;
    }
    const begin = p;
    let h = BASIS;
    do {
      h = mixed(h, c);
      p++;
      if (p == end) break;
      c = load<u8>(p);
    } while (!separates(c));
    if (p == end && !last) return begin - at;
    countWord(begin, <u32>(p - begin), h);
    if (p < end && c != 10) p++;
  }
  return p - at;
}
