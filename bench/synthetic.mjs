// Writes a GGUF of random weights in the shape of a MiniCPM4 model, or of another family's, with a vocabulary of real size, for speed measurements.
//   node bench/synthetic.mjs q4_0|tq2_0|f16 [--shape 0.5b|8b|qwen3-0.6b|llama3.2-1b|gemma3-1b] [--embedding q6_k|q8_0|q4_0|f16] [--layers N] [--seed S] [--out FILE]
// Types of the output matrix and the embedding are those that llama.cpp's quantiser would choose: a tied embedding is Q6_K beside
// Q4_0 and TQ2_0 linears (an untied output is Q6_K too, the embedding beside it Q4_0, or Q4_K where we write Q4_0 for TQ2_0).
// Rows of Gemma 3 1B are no multiple of 256, so its embedding is Q8_0 as there. --embedding q4_0 gives the smaller file that some prototypes measured.
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { aligned, ggufHeader, rawKeys } from "./lib/gguf.mjs";
import { generator, randomWeights, typeOf } from "./lib/random.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const VOCABULARY = join(here, "../../shared/data/minicpm4/minicpm4-vocab.gguf");
const VOCAB = 73448;
// Published in MiniCPM4's config.json as both short and long factors (head_dim 64 and 128).
const FACTORS_64 = [
  1.0004360675811768, 1.0668443441390991, 1.1631425619125366, 1.3025742769241333, 1.5040205717086792, 1.7941505908966064,
  2.2101221084594727, 2.802666664123535, 3.6389970779418945, 4.804192543029785, 6.39855432510376, 8.527148246765137,
  11.277542114257812, 14.684998512268066, 18.69317054748535, 23.13019371032715, 27.72362518310547, 32.1606559753418,
  36.168827056884766, 39.57627868652344, 42.32667541503906, 44.45526885986328, 46.04962921142578, 47.21482849121094,
  48.05115509033203, 48.64370346069336, 49.05967712402344, 49.34980392456055, 49.551246643066406, 49.69068145751953,
  49.78697967529297, 49.85338592529297,
];
const FACTORS_128 = [
  0.9977997200264581, 1.014658295992452, 1.0349680404997148, 1.059429246056193, 1.0888815016813513, 1.1243301355211495,
  1.166977103606075, 1.2182568066927284, 1.2798772354275727, 1.3538666751582975, 1.4426259039919596, 1.5489853358570191,
  1.6762658237220625, 1.8283407612492941, 2.0096956085876183, 2.225478927469756, 2.481536379650452, 2.784415934557119,
  3.1413289096347365, 3.560047844772632, 4.048719380066383, 4.615569542115128, 5.2684819496549835, 6.014438591970396,
  6.858830049237097, 7.804668263503327, 8.851768731513417, 9.99600492938444, 11.228766118181639, 12.536757560834843,
  13.902257701387796, 15.303885189125953, 16.717837610115794, 18.119465097853947, 19.484965238406907, 20.792956681060105,
  22.02571786985731, 23.16995406772833, 24.217054535738416, 25.16289275000465, 26.007284207271347, 26.753240849586767,
  27.40615325712662, 27.973003419175363, 28.461674954469114, 28.880393889607006, 29.237306864684626, 29.540186419591297,
  29.79624387177199, 30.01202719065413, 30.193382037992453, 30.34545697551969, 30.47273746338473, 30.579096895249787,
  30.66785612408345, 30.741845563814174, 30.80346599254902, 30.85474569563567, 30.897392663720595, 30.932841297560394,
  30.962293553185553, 30.986754758742034, 31.007064503249293, 31.02392307921529,
];
const SHAPES = {
  "0.5b": { layers: 24, hidden: 1024, ffn: 4096, heads: 16, kvHeads: 2, headDim: 64, eps: 1e-5, tied: true, factors: FACTORS_64 },
  "8b": {
    layers: 32,
    hidden: 4096,
    ffn: 16384,
    heads: 32,
    kvHeads: 2,
    headDim: 128,
    eps: 1e-6,
    tied: false,
    factors: FACTORS_128,
  },
  // Source: the published config.json files.
  "qwen3-0.6b": {
    family: "qwen3",
    layers: 28,
    hidden: 1024,
    ffn: 3072,
    heads: 16,
    kvHeads: 8,
    headDim: 128,
    eps: 1e-6,
    tied: true,
    vocab: 151936,
    theta: 1e6,
    context: 40960,
    headNorms: true,
  },
  "llama3.2-1b": {
    family: "llama",
    layers: 16,
    hidden: 2048,
    ffn: 8192,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    eps: 1e-5,
    tied: true,
    vocab: 128256,
    theta: 500000,
    context: 131072,
    divisors: llama3Divisors(64, 500000, { factor: 32, low: 1, high: 4, original: 8192 }),
  },
  "gemma3-1b": {
    family: "gemma3",
    layers: 26,
    hidden: 1152,
    ffn: 6912,
    heads: 4,
    kvHeads: 1,
    headDim: 256,
    eps: 1e-6,
    tied: true,
    vocab: 262144,
    theta: 1e6,
    context: 32768,
    headNorms: true,
    postNorms: true,
    window: 512,
    embedding: "q8_0",
  },
};

/** Llama 3.1's scaling of each pair's frequency, as divisors. */
function llama3Divisors(dim, theta, { factor, low, high, original }) {
  return Array.from({ length: dim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * theta ** ((2 * i) / dim);
    if (wave < original / high) return 1;
    if (wave > original / low) return factor;
    const s = (original / wave - low) / (high - low);
    return 1 / ((1 - s) / factor + s);
  });
}
// general.file_type as llama.cpp counts them.
const FILE_TYPES = { f16: 1, q4_0: 2, tq2_0: 37 };

/** The shape's tensors: { name, dims innermost first, type, std (of weights) or value (constant) or factors }. */
function tensorsOf(shape, linear, embedding) {
  const { layers, hidden, ffn, heads, kvHeads, headDim, vocab = VOCAB } = shape;
  const q = heads * headDim;
  const kv = kvHeads * headDim;
  // What the layers add is about 20 times the embedding, so that they decide the logits and not the last token, which a tied
  // head would repeat for ever; scores have a standard deviation near 2, logits (by the last norm's gain) near 2.5.
  const head = shape.tied ? embedding : linear === "f16" ? "f16" : "q6_k";
  const std = 0.03;
  const gain = (2.5 * (hidden / 256)) / (Math.sqrt(hidden) * std);
  const norm = (name, value) => ({ name, dims: [hidden], type: "f32", value });
  const matrix = (name, inner, outer, grow = 2) => ({ name, dims: [inner, outer], type: linear, std: grow / Math.sqrt(inner) });
  const list = [
    { name: "token_embd.weight", dims: [hidden, vocab], type: embedding, std },
    norm("output_norm.weight", gain),
    ...(shape.tied ? [] : [{ name: "output.weight", dims: [hidden, vocab], type: head, std }]),
  ];
  for (let i = 0; i < layers; i++) {
    list.push(
      norm(`blk.${i}.attn_norm.weight`, 1),
      norm(`blk.${i}.ffn_norm.weight`, 1),
      matrix(`blk.${i}.attn_q.weight`, hidden, q, 1.5),
      matrix(`blk.${i}.attn_k.weight`, hidden, kv, 1.5),
      matrix(`blk.${i}.attn_v.weight`, hidden, kv),
      matrix(`blk.${i}.attn_output.weight`, q, hidden),
      matrix(`blk.${i}.ffn_gate.weight`, hidden, ffn),
      matrix(`blk.${i}.ffn_up.weight`, hidden, ffn),
      matrix(`blk.${i}.ffn_down.weight`, ffn, hidden),
    );
  }
  const perHead = (name) => ({ name, dims: [headDim], type: "f32", value: 1 });
  for (let i = 0; i < layers; i++) {
    if (shape.headNorms) list.push(perHead(`blk.${i}.attn_q_norm.weight`), perHead(`blk.${i}.attn_k_norm.weight`));
    if (shape.postNorms) list.push(norm(`blk.${i}.post_attention_norm.weight`, 2), norm(`blk.${i}.post_ffw_norm.weight`, 2));
  }
  if (shape.divisors) list.push({ name: "rope_freqs.weight", dims: [headDim / 2], type: "f32", factors: shape.divisors });
  if (shape.factors)
    for (const name of ["rope_factors_long.weight", "rope_factors_short.weight"])
      list.push({ name, dims: [headDim / 2], type: "f32", factors: shape.factors });
  return list.map((t) => ({ ...t, id: typeOf(t.type).id, bytes: typeOf(t.type).bytes(t.dims.reduce((a, b) => a * b, 1)) }));
}

/** The tokenizer's keys: MiniCPM4's own where its vocabulary lies beside the repository, else pieces of our making. */
function vocabulary(size = VOCAB) {
  if (size === VOCAB && existsSync(VOCABULARY)) return { entries: [], raw: rawKeys(VOCABULARY, "tokenizer."), real: true };
  const tokens = ["<unk>", "<s>", "</s>"];
  const types = [2, 3, 3];
  for (let i = 0; i < 256; i++) {
    tokens.push(`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
    types.push(6);
  }
  tokens.push("\u2581");
  types.push(1);
  for (let i = 0; tokens.length < size - 8; i++) {
    // Letters, then pairs, then longer ones; half of them start a word.
    let n = i >> 1;
    let piece = "";
    do piece = String.fromCharCode(97 + (n % 26)) + piece;
    while ((n = Math.floor(n / 26) - 1) >= 0);
    tokens.push((i & 1 ? "\u2581" : "") + piece);
    types.push(1);
  }
  for (const name of [
    "im_end",
    "im_start",
    "tool_call",
    "execute_start",
    "execute_end",
    "fim_prefix",
    "fim_middle",
    "fim_suffix",
  ]) {
    tokens.push(`<|${name}|>`);
    types.push(4);
  }
  const entries = [
    ["tokenizer.ggml.model", "string", "llama"],
    ["tokenizer.ggml.tokens", "string[]", tokens],
    ["tokenizer.ggml.scores", "f32[]", types.map((type, i) => (type === 1 ? -(i - 258) : 0))],
    ["tokenizer.ggml.token_type", "i32[]", types],
    ["tokenizer.ggml.bos_token_id", "u32", 1],
    ["tokenizer.ggml.eos_token_id", "u32", size - 8],
    ["tokenizer.ggml.unknown_token_id", "u32", 0],
    ["tokenizer.ggml.add_bos_token", "bool", true],
    ["tokenizer.ggml.add_eos_token", "bool", false],
  ];
  return { entries, raw: { count: 0, bytes: new Uint8Array(0) }, real: false };
}

function metadata(shape, name, linear) {
  const { family, layers, hidden, ffn, heads, kvHeads, headDim, eps } = shape;
  if (family)
    return [
      ["general.architecture", "string", family],
      ["general.name", "string", name],
      ["general.description", "string", `random weights in the shape of ${name}, for speed measurements only`],
      ["general.file_type", "u32", FILE_TYPES[linear]],
      ["general.quantization_version", "u32", 2],
      [`${family}.block_count`, "u32", layers],
      [`${family}.context_length`, "u32", shape.context],
      [`${family}.embedding_length`, "u32", hidden],
      [`${family}.feed_forward_length`, "u32", ffn],
      [`${family}.attention.head_count`, "u32", heads],
      [`${family}.attention.head_count_kv`, "u32", kvHeads],
      [`${family}.attention.layer_norm_rms_epsilon`, "f32", eps],
      [`${family}.attention.key_length`, "u32", headDim],
      [`${family}.attention.value_length`, "u32", headDim],
      [`${family}.rope.dimension_count`, "u32", headDim],
      [`${family}.rope.freq_base`, "f32", shape.theta],
      [`${family}.vocab_size`, "u32", shape.vocab],
      ...(shape.window ? [[`${family}.attention.sliding_window`, "u32", shape.window]] : []),
    ];
  return [
    ["general.architecture", "string", "minicpm"],
    ["general.name", "string", name],
    ["general.description", "string", "random weights in the shape of MiniCPM4, for speed measurements only"],
    ["general.file_type", "u32", FILE_TYPES[linear]],
    ["general.quantization_version", "u32", 2],
    ["minicpm.block_count", "u32", layers],
    ["minicpm.context_length", "u32", 32768],
    ["minicpm.embedding_length", "u32", hidden],
    ["minicpm.feed_forward_length", "u32", ffn],
    ["minicpm.attention.head_count", "u32", heads],
    ["minicpm.attention.head_count_kv", "u32", kvHeads],
    ["minicpm.attention.layer_norm_rms_epsilon", "f32", eps],
    ["minicpm.rope.dimension_count", "u32", headDim],
    ["minicpm.rope.freq_base", "f32", 10000],
    ["minicpm.rope.scaling.type", "string", "longrope"],
    ["minicpm.rope.scaling.original_context_length", "u32", 32768],
    ["minicpm.vocab_size", "u32", VOCAB],
    ["minicpm.embedding_scale", "f32", 12],
    ["minicpm.residual_scale", "f32", 1.4 / Math.sqrt(layers)],
    ["minicpm.logit_scale", "f32", hidden / 256],
  ];
}

const PIECE = 1 << 22;

/**
 * Writes the model unless it is there. Returns { path, bytes, vocabulary: "real" | "synthetic", seconds }.
 * type: q4_0, tq2_0 or f16 (all linears); shape: a key of SHAPES; embedding: type of token_embd; layers: fewer, for quick trials.
 */
export function synthetic({ type, shape: shapeName = "0.5b", embedding, layers, seed = 1, out } = {}) {
  if (!(type in FILE_TYPES)) throw new Error(`type: expected ${Object.keys(FILE_TYPES).join(", ")}, found ${type}`);
  if (!(shapeName in SHAPES)) throw new Error(`shape: expected ${Object.keys(SHAPES).join(", ")}, found ${shapeName}`);
  const shape = { ...SHAPES[shapeName], ...(layers ? { layers } : {}) };
  const usual = type === "f16" ? "f16" : (shape.embedding ?? (shape.tied ? "q6_k" : "q4_0"));
  const rows = embedding ?? usual;
  const name = `synthetic-${shapeName}-${type}${rows === usual ? "" : `-embedding-${rows}`}${layers ? `-${layers}l` : ""}`;
  const path = out ?? join(here, "models", `${name}${seed === 1 ? "" : `-seed${seed}`}.gguf`);
  const words = vocabulary(shape.vocab);
  if (existsSync(path)) return { path, bytes: statSync(path).size, vocabulary: words.real ? "real" : "synthetic", seconds: 0 };

  const start = performance.now();
  const tensors = tensorsOf(shape, type, rows);
  const random = generator(seed);
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.partial`;
  const file = openSync(partial, "w");
  let written = 0;
  const write = (bytes) => {
    for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    written += bytes.length;
  };
  const fillers = new Map();
  try {
    write(ggufHeader([...metadata(shape, name, type), ...words.entries], words.raw, tensors));
    for (const t of tensors) {
      const elements = t.dims.reduce((a, b) => a * b, 1);
      if (t.std === undefined) {
        const values = Float32Array.from(t.factors ?? { length: elements }, (v) => (t.factors ? v : t.value));
        write(new Uint8Array(values.buffer));
      } else {
        const key = `${t.type} ${t.std}`;
        if (!fillers.has(key)) fillers.set(key, randomWeights(t.type, t.std, random, PIECE));
        for (let at = 0; at < elements; at += PIECE) write(fillers.get(key)(Math.min(PIECE, elements - at)));
      }
      write(new Uint8Array(aligned(t.bytes) - t.bytes));
    }
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  renameSync(partial, path);
  return { path, bytes: written, vocabulary: words.real ? "real" : "synthetic", seconds: (performance.now() - start) / 1000 };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: "string" },
      embedding: { type: "string" },
      layers: { type: "string" },
      seed: { type: "string" },
      out: { type: "string" },
    },
  });
  const numbers = Object.fromEntries(
    ["layers", "seed"].filter((k) => values[k] !== undefined).map((k) => [k, Number(values[k])]),
  );
  console.log(
    JSON.stringify(
      synthetic({ type: positionals[0], shape: values.shape, embedding: values.embedding, out: values.out, ...numbers }),
      null,
      1,
    ),
  );
}
