// Sessions that were never computed: what a long context costs does not depend on what is in it.
const HEADER_BYTES = 32;
const CHECKSUM_WORD = 5;

/** A saved session of `length` tokens, in the form of `saved` (which holds at least 32). */
export function madeUp(saved, length, contextSize, { layers, kvHeads, headDim, vocab }, kvType) {
  const tile = kvType === "q8" ? Math.ceil(headDim / 4) * 128 + 128 : headDim * 32 * (kvType === "f32" ? 4 : 2);
  const bytes = new Uint8Array(HEADER_BYTES + 4 * length + layers * kvHeads * 2 * (length / 32) * tile);
  bytes.set(saved.subarray(0, HEADER_BYTES));
  const words = new Int32Array(bytes.buffer);
  words[3] = contextSize;
  for (let i = 0; i < length; i++) words[HEADER_BYTES / 4 + i] = (i * 7919) % Math.min(vocab, 4096);
  // Real tiles of the saved session, in another order each time.
  const real = saved.subarray(HEADER_BYTES + 4 * words[4]);
  words[4] = length;
  const tiles = real.length / tile;
  for (let at = HEADER_BYTES + 4 * length, i = 0; at < bytes.length; at += tile, i++)
    bytes.set(real.subarray(((i * 31) % tiles) * tile, (((i * 31) % tiles) + 1) * tile), at);
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < words.length; i++) if (i !== CHECKSUM_WORD) hash = Math.imul(hash ^ words[i], 0x01000193);
  words[CHECKSUM_WORD] = hash;
  return bytes;
}
