// The dictionary: words and labels by their bytes. FNV-1a over signed bytes, open addressing, linear probing.
// A slot: hash u32, id + 1 i32, address u32, length u32.

let table: usize = 0;
let mask: u32 = 0;

export const BASIS: u32 = 2166136261;

// One byte more; bytes above 127 count as negative, as fastText's do.
export function mixed(hash: u32, byte: u32): u32 {
  return (hash ^ <u32>(<i32>(byte << 24) >> 24)) * 16777619;
}

export function hashOf(at: usize, length: u32): u32 {
  let h = BASIS;
  for (let i: u32 = 0; i < length; i++) h = mixed(h, load<u8>(at + i));
  return h;
}

// Slots are a power of two, more than there are entries; `slots` 16-byte slots lie at `at`.
export function dictionary_open(at: usize, slots: u32): void {
  table = at;
  mask = slots - 1;
}

export function dictionary_clear(): void {
  memory.fill(table, 0, (<usize>mask + 1) << 4);
}

function same(a: usize, b: usize, length: u32): bool {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) if (load<u64>(a + i) != load<u64>(b + i)) return false;
  for (; i < length; i++) if (load<u8>(a + i) != load<u8>(b + i)) return false;
  return true;
}

// The slot of a word, or the empty one where it belongs.
function slotOf(at: usize, length: u32, hash: u32): usize {
  // Multiplied once more: the low bits alone would cluster.
  let i = (hash * 0x9e3779b1) >> 7;
  while (true) {
    const slot = table + ((<usize>(i & mask)) << 4);
    if (load<i32>(slot, 4) == 0) return slot;
    if (load<u32>(slot) == hash && load<u32>(slot, 12) == length && same(load<u32>(slot, 8), at, length)) return slot;
    i++;
  }
}

// The id of a word, -1 where there is none.
export function find(at: usize, length: u32, hash: u32): i32 {
  return load<i32>(slotOf(at, length, hash), 4) - 1;
}

function put(at: usize, length: u32, hash: u32, id: i32): void {
  const slot = slotOf(at, length, hash);
  store<u32>(slot, hash);
  store<i32>(slot, id + 1, 4);
  store<u32>(slot, <u32>at, 8);
  store<u32>(slot, length, 12);
}

// Enters `count` words that lie at `at`, each ended by NUL, as ids 0 and up; of equal words the last one counts.
export function dictionary_fill(at: usize, count: i32): void {
  for (let id = 0; id < count; id++) {
    let end = at;
    let h = BASIS;
    for (let c = load<u8>(end); c != 0; c = load<u8>(end)) {
      h = mixed(h, c);
      end++;
    }
    put(at, <u32>(end - at), h, id);
    at = end + 1;
  }
}

// --- counting, for training -------------------------------------------------------------------------------------------------

let counts: usize = 0; // f64 by id
let text: usize = 0; // where new words are copied, each ended by NUL
let used: usize = 0;
let entries: i32 = 0;
let tokens: f64 = 0;

export function count_open(countsAt: usize, textAt: usize): void {
  counts = countsAt;
  text = textAt;
  used = 0;
  entries = 0;
  tokens = 0;
}

export function count_entries(): i32 {
  return entries;
}

export function count_bytes(): usize {
  return used;
}

export function count_tokens(): f64 {
  return tokens;
}

// After the table, the words and the counts were moved and entered anew.
export function count_resume(countsAt: usize, textAt: usize, bytes: usize, count: i32): void {
  counts = countsAt;
  text = textAt;
  used = bytes;
  entries = count;
}

export function countWord(at: usize, length: u32, hash: u32): void {
  tokens += 1;
  const slot = slotOf(at, length, hash);
  let id = load<i32>(slot, 4) - 1;
  if (id < 0) {
    const copy = text + used;
    memory.copy(copy, at, length);
    store<u8>(copy + length, 0);
    used += length + 1;
    id = entries++;
    put(copy, length, hash, id);
    store<f64>(counts + ((<usize>id) << 3), 0);
  }
  const place = counts + ((<usize>id) << 3);
  store<f64>(place, load<f64>(place) + 1);
}
