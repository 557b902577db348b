// A model that finds: two layers of MiniCPM4's shape with weights set by hand. It goes on with what followed where the last key word and the
// last two tokens stood together before, at any distance. Layer 0 tells each token the two before it and the last key word within some 16
// tokens; layer 1 looks for the place that agrees in all three and says the token that stands there.
//   node test/evaluate/retriever.mjs OUT.gguf      (after `npm run build`)
// Rotary positions: theta is 1e16, so frequencies 0..21 form a ladder by which layer 0 tells distances apart (of every distance up to 100,000
// some frequency turns by 1 to 1.8 radians), and from 28 on they turn by less than 0.02 radians in 128k tokens: there meanings are compared.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [HEADS, KV, DIM, HIDDEN, FFN, CONTEXT] = [4, 2, 128, 256, 32, 131072];
const [THETA, LADDER, FLAT, NEAR] = [1e16, 22, 28, [5, 14]];
/** Sharpness of attention: scores of a unit of difference. */
const [SHARP, MATCH, REACH] = [100, 40, 0.6];
const RESIDUAL = 1.4 / Math.sqrt(2);
/** Where in the hidden state what is kept. */
const AT = { one: 0, pad: 1, flag: 2, key: 3, own: 27, said: 51, before: 115, before2: 139, last: 163, out: 187 };
const [CODE, SAID, ONE] = [24, 64, 16];

function generator(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** `count` unit vectors of `size`, no two of which agree by more than `most`. */
function codes(count, size, most, normal) {
  const list = [];
  while (list.length < count) {
    const v = Array.from({ length: size }, normal);
    const norm = Math.hypot(...v);
    const unit = v.map((x) => x / norm);
    if (list.every((other) => other.reduce((sum, x, i) => sum + x * unit[i], 0) <= most)) list.push(unit);
  }
  return list;
}

/** The pieces of a vocabulary that has every word of `texts` as one token, words behind hyphens too, and digits in threes. */
function vocabulary(texts) {
  const scores = new Map();
  const chain = (word) => {
    for (let n = 2; n <= word.length; n++) scores.set(word.slice(0, n), n);
  };
  for (const text of texts)
    for (const [word] of text.matchAll(/-?[A-Za-z]+/g)) chain(word.startsWith("-") ? word : `\u2581${word}`);
  const chars = ["\u2581", ...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))];
  const numbers = [2, 3].flatMap((n) => Array.from({ length: 10 ** n }, (_, i) => [String(i).padStart(n, "0"), n]));
  const list = [
    ...["<unk>", "<s>", "</s>"].map((piece, i) => ({ piece, score: 0, type: i === 0 ? 2 : 3 })),
    ...Array.from({ length: 256 }, (_, b) => ({
      piece: `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`,
      score: 0,
      type: 6,
    })),
    ...chars.map((piece) => ({ piece, score: -1e6, type: 1 })),
    ...[...numbers, ...scores].map(([piece, score]) => ({ piece, score, type: 1 })),
  ];
  return list;
}

class Matrix {
  constructor(rows, cols) {
    this.shape = [rows, cols];
    this.values = new Float32Array(rows * cols);
  }
  set(row, col, value) {
    this.values[row * this.shape[1] + col] = value;
  }
}

/** Rows of q and k as llama.cpp stores them: 2i is i, 2i + 1 is i + DIM / 2 of each head. */
function interleaved(matrix) {
  const [rows, cols] = matrix.shape;
  const out = new Matrix(rows, cols);
  for (let row = 0; row < rows; row++) {
    const r = row % DIM;
    const from = row - r + (r & 1) * (DIM / 2) + (r >> 1);
    out.values.set(matrix.values.subarray(from * cols, (from + 1) * cols), row * cols);
  }
  return out;
}

const ones = (n) => ({ shape: [n], values: new Float32Array(n).fill(1) });
const theta = (f) => THETA ** (-f / (DIM / 2));
/** The j-th dimension of a head that hardly turns. */
const flat = (j) => (j < DIM / 2 - FLAT ? FLAT + j : DIM / 2 + FLAT + j - (DIM / 2 - FLAT));

/** The tensors by their GGUF names. `keys`: words (without a space before them) that count as key words. */
function weights(pieces, keys) {
  const normal = generator(7);
  const named = new Map(keys.map((key, i) => [`\u2581${key}`, i]));
  const keyCodes = codes(keys.length, CODE, 0.6, normal);
  const own = codes(pieces.length, CODE, 0.93, normal);
  const said = codes(pieces.length, SAID, 0.7, normal);
  const embed = new Matrix(pieces.length, HIDDEN);
  const output = new Matrix(pieces.length, HIDDEN);
  for (let t = 0; t < pieces.length; t++) {
    const key = named.get(pieces[t].piece);
    embed.set(t, AT.one, ONE);
    // All tokens have one length, so that the norm changes none of what follows.
    if (key === undefined) embed.set(t, AT.pad, Math.SQRT2);
    else {
      embed.set(t, AT.flag, 1);
      keyCodes[key].forEach((x, i) => {
        embed.set(t, AT.key + i, x);
      });
    }
    own[t].forEach((x, i) => {
      embed.set(t, AT.own + i, x);
    });
    said[t].forEach((x, i) => {
      embed.set(t, AT.said + i, x);
      output.set(t, AT.out + i, 40 * x);
    });
  }
  /** What the norm multiplies a token's codes by. */
  const scale = Math.sqrt(HIDDEN / (ONE * ONE + 4));
  const unit = 1 / scale;
  /** q·k / sqrt(DIM) = strength where both are written with this factor. */
  const factor = (strength) => Math.sqrt(strength * Math.sqrt(DIM)) * unit;

  const layer0 = {
    q: new Matrix(HEADS * DIM, HIDDEN),
    k: new Matrix(KV * DIM, HIDDEN),
    v: new Matrix(KV * DIM, HIDDEN),
    o: new Matrix(HIDDEN, HEADS * DIM),
  };
  const constant = factor(SHARP) / ONE;
  for (const [head, distance] of [
    [0, 1],
    [1, 2],
  ])
    for (let f = 0; f < LADDER; f++) {
      layer0.q.set(head * DIM + f, AT.one, constant * Math.cos(distance * theta(f)));
      layer0.q.set(head * DIM + DIM / 2 + f, AT.one, -constant * Math.sin(distance * theta(f)));
    }
  for (let f = 0; f < LADDER; f++) layer0.k.set(f, AT.one, constant);
  for (let f = NEAR[0]; f <= NEAR[1]; f++) {
    layer0.q.set(2 * DIM + f, AT.one, constant);
    layer0.k.set(DIM + f, AT.one, constant);
  }
  layer0.q.set(2 * DIM + flat(0), AT.one, (factor(SHARP) * REACH) / ONE);
  layer0.k.set(DIM + flat(0), AT.flag, factor(SHARP));
  // Values are codes of length 1, written behind the embedding's scale of 12.
  for (let i = 0; i < CODE; i++) {
    layer0.v.set(i, AT.own + i, unit);
    layer0.v.set(DIM + i, AT.key + i, unit);
    for (const [head, to] of [
      [0, AT.before],
      [1, AT.before2],
      [2, AT.last],
    ])
      layer0.o.set(to + i, head * DIM + i, 12 / RESIDUAL);
  }

  const layer1 = {
    q: new Matrix(HEADS * DIM, HIDDEN),
    k: new Matrix(KV * DIM, HIDDEN),
    v: new Matrix(KV * DIM, HIDDEN),
    o: new Matrix(HIDDEN, HEADS * DIM),
  };
  for (let i = 0; i < CODE; i++) {
    const parts = [
      [flat(i), AT.last, AT.last, factor(2 * MATCH)],
      [flat(CODE + i), AT.own, AT.before, factor(MATCH)],
      [flat(2 * CODE + i), AT.before, AT.before2, factor(MATCH)],
    ];
    for (const [dim, query, key, strength] of parts) {
      for (let head = 0; head < HEADS; head++) layer1.q.set(head * DIM + dim, query + i, strength);
      for (let head = 0; head < KV; head++) layer1.k.set(head * DIM + dim, key + i, strength);
    }
  }
  for (let i = 0; i < SAID; i++) {
    for (let head = 0; head < KV; head++) layer1.v.set(head * DIM + i, AT.said + i, unit);
    for (let head = 0; head < HEADS; head++) layer1.o.set(AT.out + i, head * DIM + i, 12 / RESIDUAL / HEADS);
  }
  const block = (l, { q, k, v, o }) => [
    [`blk.${l}.attn_norm.weight`, ones(HIDDEN)],
    [`blk.${l}.attn_q.weight`, interleaved(q)],
    [`blk.${l}.attn_k.weight`, interleaved(k)],
    [`blk.${l}.attn_v.weight`, v],
    [`blk.${l}.attn_output.weight`, o],
    [`blk.${l}.ffn_norm.weight`, ones(HIDDEN)],
    [`blk.${l}.ffn_gate.weight`, new Matrix(FFN, HIDDEN)],
    [`blk.${l}.ffn_up.weight`, new Matrix(FFN, HIDDEN)],
    [`blk.${l}.ffn_down.weight`, new Matrix(HIDDEN, FFN)],
  ];
  return [
    ["token_embd.weight", embed],
    ["output_norm.weight", ones(HIDDEN)],
    ["output.weight", output],
    ...block(0, layer0),
    ...block(1, layer1),
  ];
}

/** Little-endian bytes that grow. */
class Writer {
  #parts = [];
  #length = 0;
  raw(bytes) {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return this;
  }
  u32 = (...values) => this.raw(new Uint8Array(new Uint32Array(values).buffer));
  u64 = (...values) => this.raw(new Uint8Array(new BigUint64Array(values.map(BigInt)).buffer));
  f32 = (...values) => this.raw(new Uint8Array(new Float32Array(values).buffer));
  text = (value) => {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).raw(bytes);
  };
  pad = () => this.raw(new Uint8Array((32 - (this.#length % 32)) % 32));
  bytes() {
    const out = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

/**
 * The model's file. `keys`: key words; `texts`: texts whose words become tokens.
 * @param {{ keys: readonly string[], texts: readonly string[] }} options
 * @returns {Uint8Array}
 */
export function retriever({ keys, texts }) {
  const pieces = vocabulary([...texts, keys.join(" ")]);
  const tensors = weights(pieces, keys);
  const own = (name) => `minicpm.${name}`;
  const [u32, f32, text] = [(v) => [4, (w) => w.u32(v)], (v) => [6, (w) => w.f32(v)], (v) => [8, (w) => w.text(v)]];
  const list = (type, items, put) => [9, (w) => items.reduce((out, item) => put(out, item), w.u32(type).u64(items.length))];
  const metadata = [
    ["general.architecture", text("minicpm")],
    ["general.name", text("retriever")],
    [own("block_count"), u32(2)],
    [own("context_length"), u32(CONTEXT)],
    [own("embedding_length"), u32(HIDDEN)],
    [own("feed_forward_length"), u32(FFN)],
    [own("attention.head_count"), u32(HEADS)],
    [own("attention.head_count_kv"), u32(KV)],
    [own("attention.key_length"), u32(DIM)],
    [own("attention.value_length"), u32(DIM)],
    [own("attention.layer_norm_rms_epsilon"), f32(1e-6)],
    [own("rope.dimension_count"), u32(DIM)],
    [own("rope.freq_base"), f32(THETA)],
    [own("vocab_size"), u32(pieces.length)],
    [own("embedding_scale"), f32(12)],
    [own("residual_scale"), f32(RESIDUAL)],
    [own("logit_scale"), f32(1)],
    ["tokenizer.ggml.model", text("llama")],
    ["tokenizer.ggml.tokens", list(8, pieces, (w, { piece }) => w.text(piece))],
    ["tokenizer.ggml.scores", list(6, pieces, (w, { score }) => w.f32(score))],
    ["tokenizer.ggml.token_type", list(5, pieces, (w, { type }) => w.u32(type))],
    ["tokenizer.ggml.bos_token_id", u32(1)],
    ["tokenizer.ggml.eos_token_id", u32(2)],
    ["tokenizer.ggml.unknown_token_id", u32(0)],
    ["tokenizer.ggml.add_bos_token", [7, (w) => w.raw(new Uint8Array([1]))]],
  ];
  const w = new Writer().u32(0x46554747, 3).u64(tensors.length, metadata.length);
  for (const [key, [type, write]] of metadata) write(w.text(key).u32(type));
  let next = 0;
  for (const [name, { shape, values }] of tensors) {
    w.text(name)
      .u32(shape.length)
      .u64(...[...shape].reverse())
      .u32(0)
      .u64(next);
    next += Math.ceil((4 * values.length) / 32) * 32;
  }
  w.pad();
  for (const [, { values }] of tensors) w.raw(new Uint8Array(values.buffer)).pad();
  return w.bytes();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { nouns, adjectives, hay } = await import("../../dist/evaluate/long/words.js");
  const { needleTexts, Random } = await import("../../dist/evaluate/index.js");
  const plan = { key: "word", value: "word", others: 0, queries: 1, values: 1, hay };
  const texts = ["number", "word", "uuid"].map((value) => {
    const { text, lead } = needleTexts({ ...plan, value }, new Random(0, "words")).make(10);
    return `${text} ${lead}`;
  });
  const words = [...adjectives, ...nouns.map((noun) => `-${noun}`)].join(" ");
  writeFileSync(process.argv[2] ?? "retriever.gguf", retriever({ keys: nouns, texts: [...texts, words] }));
}
