// XXH64 (Collet, specification 0.1.1) over bytes that come in pieces of whole stripes.
const P1: u64 = 11400714785074694791;
const P2: u64 = 14029467366897019727;
const P3: u64 = 1609587929392839161;
const P4: u64 = 9650029242287828579;
const P5: u64 = 2870177450012600261;

// State, u64 words: v1 v2 v3 v4, bytes so far, seed.
export function hash_begin(state: usize, seed: u64): void {
  store<u64>(state, seed + P1 + P2);
  store<u64>(state, seed + P2, 8);
  store<u64>(state, seed, 16);
  store<u64>(state, seed - P1, 24);
  store<u64>(state, 0, 32);
  store<u64>(state, seed, 40);
}

function round(v: u64, lane: u64): u64 {
  return rotl<u64>(v + lane * P2, 31) * P1;
}

// Bytes [at, at + length): a multiple of 32.
export function hash_stripes(state: usize, at: usize, length: usize): void {
  let v1 = load<u64>(state);
  let v2 = load<u64>(state, 8);
  let v3 = load<u64>(state, 16);
  let v4 = load<u64>(state, 24);
  for (const end = at + length; at < end; at += 32) {
    v1 = round(v1, load<u64>(at));
    v2 = round(v2, load<u64>(at, 8));
    v3 = round(v3, load<u64>(at, 16));
    v4 = round(v4, load<u64>(at, 24));
  }
  store<u64>(state, v1);
  store<u64>(state, v2, 8);
  store<u64>(state, v3, 16);
  store<u64>(state, v4, 24);
  store<u64>(state, load<u64>(state, 32) + length, 32);
}

function merge(h: u64, v: u64): u64 {
  return (h ^ round(0, v)) * P1 + P4;
}

// The last bytes, fewer than 32; the hash.
export function hash_end(state: usize, at: usize, length: usize): u64 {
  const before = load<u64>(state, 32);
  const v1 = load<u64>(state);
  const v2 = load<u64>(state, 8);
  const v3 = load<u64>(state, 16);
  const v4 = load<u64>(state, 24);
  let h: u64;
  if (before > 0) {
    h = rotl<u64>(v1, 1) + rotl<u64>(v2, 7) + rotl<u64>(v3, 12) + rotl<u64>(v4, 18);
    h = merge(merge(merge(merge(h, v1), v2), v3), v4);
  } else h = load<u64>(state, 40) + P5;
  h += before + length;
  const end = at + length;
  for (; at + 8 <= end; at += 8) h = rotl<u64>(h ^ round(0, load<u64>(at)), 27) * P1 + P4;
  if (at + 4 <= end) {
    h = rotl<u64>(h ^ (<u64>load<u32>(at) * P1), 23) * P2 + P3;
    at += 4;
  }
  for (; at < end; at++) h = rotl<u64>(h ^ (<u64>load<u8>(at) * P5), 11) * P1;
  h = (h ^ (h >> 33)) * P2;
  h = (h ^ (h >> 29)) * P3;
  return h ^ (h >> 32);
}
