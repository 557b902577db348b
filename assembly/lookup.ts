// Prompt lookup: an index of the pairs of tokens of a text, to find where its end occurred before.
// State, i32 words: [capacity, mask, count, at], tokens (capacity), before (capacity), heads (mask + 1).
// heads[hash of the pair that ends at i] is the last such i and before[i] the one before it, both + 1 so that zeros
// are empty. Adding or dropping a token is O(1); a search looks at no more than WALK places.
const CAPACITY: usize = 0;
const MASK: usize = 4;
const COUNT: usize = 8;
const AT: usize = 12;
const HEADER: usize = 16;

const WALK: i32 = 24;
const MOST: i32 = 16;

function headsFor(capacity: i32): i32 {
  let heads = 64;
  while (heads < capacity) heads <<= 1;
  return heads;
}

export function lookup_bytes(capacity: i32): usize {
  return HEADER + ((<usize>(2 * capacity + headsFor(capacity))) << 2);
}

// Empties the index; state: lookup_bytes(capacity).
export function lookup_open(state: usize, capacity: i32): void {
  memory.fill(state, 0, lookup_bytes(capacity));
  store<i32>(state, capacity, CAPACITY);
  store<i32>(state, headsFor(capacity) - 1, MASK);
}

function tokenAt(state: usize, i: i32): u32 {
  return load<u32>(state + ((<usize>i) << 2), HEADER);
}

function beforeOf(state: usize, i: i32): usize {
  return state + HEADER + ((<usize>(load<i32>(state, CAPACITY) + i)) << 2);
}

// Where the head of the pair that ends at i lies; i > 0.
function headOf(state: usize, i: i32): usize {
  const pair = ((<u64>tokenAt(state, i - 1)) << 32) | <u64>tokenAt(state, i);
  const hash = <i32>((pair * 0x9e3779b97f4a7c15) >> 33) & load<i32>(state, MASK);
  return state + HEADER + ((<usize>(2 * load<i32>(state, CAPACITY) + hash)) << 2);
}

// Adds a token; their number afterwards, which stays as it is when the index is full.
export function lookup_push(state: usize, token: i32): i32 {
  const count = load<i32>(state, COUNT);
  if (count == load<i32>(state, CAPACITY)) return count;
  store<i32>(state + ((<usize>count) << 2), token, HEADER);
  store<i32>(state, count + 1, COUNT);
  if (count > 0) {
    const head = headOf(state, count);
    store<i32>(beforeOf(state, count), load<i32>(head));
    store<i32>(head, count + 1);
  }
  return count + 1;
}

// Drops all tokens from `count` on.
export function lookup_truncate(state: usize, count: i32): void {
  for (let i = load<i32>(state, COUNT) - 1; i >= count; i--) {
    if (i > 0) store<i32>(headOf(state, i), load<i32>(beforeOf(state, i)));
    store<i32>(state, i, COUNT);
  }
}

// Finds the earlier place whose tokens agree longest, backwards, with the end of the text; the latest of equals.
// Returns how many agree (2 ... MOST; 0: none). lookup_at() is the index of the token that followed there.
// `other` >= 0: only places where another token than that followed.
export function lookup_find(state: usize, other: i32): i32 {
  const last = load<i32>(state, COUNT) - 1;
  if (last < 2) return 0;
  let best = 0;
  let walk = WALK;
  for (let i = load<i32>(beforeOf(state, last)) - 1; i > 0 && walk > 0; i = load<i32>(beforeOf(state, i)) - 1, walk--) {
    if (<i32>tokenAt(state, i + 1) == other) continue;
    const most = min(i + 1, MOST);
    let n = 0;
    while (n < most && tokenAt(state, i - n) == tokenAt(state, last - n)) n++;
    if (n < 2 || n <= best) continue;
    best = n;
    store<i32>(state, i + 1, AT);
    if (n == MOST) break;
  }
  return best;
}

export function lookup_at(state: usize): i32 {
  return load<i32>(state, AT);
}
