// What the families compute, in float64 and straight from config.json: one function after the published code of each family. It is held
// to the golden files (whose logits that code gave), and the engine is held to it where there are none: other shapes, seeds, settings.
// `linear` may be replaced, so that the loss of one step can be told from the others'.

const sum = (x) => x.reduce((a, b) => a + b, 0);

/** W x, W (rows, cols) in a flat list. */
export function times(w, x, rows) {
  const cols = w.length / rows;
  const y = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let all = 0;
    for (let k = 0, at = r * cols; k < cols; k++) all += w[at + k] * x[k];
    y[r] = all;
  }
  return y;
}

/** Frequencies and the factor of cos and sin, for `dim` dimensions that turn. `long`: the text outgrows LongRoPE's original context. */
function rotation(p, dim, config, length) {
  const theta = p.rope_theta;
  const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  const original = p.original_max_position_embeddings ?? config.original_max_position_embeddings;
  switch (p.rope_type ?? "default") {
    case "default":
      return { frequencies: plain, scale: 1 };
    case "linear":
      return { frequencies: plain.map((f) => f / p.factor), scale: 1 };
    case "llama3":
      return {
        frequencies: plain.map((f) => {
          const wave = (2 * Math.PI) / f;
          if (wave < original / p.high_freq_factor) return f;
          if (wave > original / p.low_freq_factor) return f / p.factor;
          const s = (original / wave - p.low_freq_factor) / (p.high_freq_factor - p.low_freq_factor);
          return f * ((1 - s) / p.factor + s);
        }),
        scale: 1,
      };
    case "yarn": {
      const at = (turns) => (dim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(0, Math.floor(at(p.beta_fast ?? 32)));
      const high = Math.min(dim - 1, Math.ceil(at(p.beta_slow ?? 1)));
      const frequencies = plain.map((f, i) => {
        const t = Math.min(1, Math.max(0, (i - low) / (high === low ? 0.001 : high - low)));
        return f * (1 - t) + (f / p.factor) * t;
      });
      return { frequencies, scale: p.attention_factor ?? 0.1 * Math.log(p.factor) + 1 };
    }
    case "longrope": {
      const by = length > original ? p.long_factor : p.short_factor;
      const grown = config.max_position_embeddings / original;
      const scale = p.attention_factor ?? (grown > 1 ? Math.sqrt(1 + Math.log(grown) / Math.log(original)) : 1);
      return { frequencies: plain.map((f, i) => f / by[i]), scale };
    }
    default:
      throw new Error(`rotation ${p.rope_type}`);
  }
}

/** What a family adds to Llama. `l`: a layer. */
function traitsOf(c) {
  const type = c.model_type;
  const gemma = type.startsWith("gemma");
  const windows = c.layer_types?.map((kind) => kind === "sliding_attention");
  const all = (on) => Array.from({ length: c.num_hidden_layers }, () => on);
  const window = {
    mistral: all(true),
    phi3: all(true),
    qwen2: c.use_sliding_window ? windows : all(false),
    qwen3: c.use_sliding_window ? windows : all(false),
    smollm3: c.use_sliding_window ? windows : all(false),
  }[type];
  return {
    pre: !["olmo2", "olmo3", "exaone4"].includes(type),
    post: gemma || ["olmo2", "olmo3", "exaone4"].includes(type),
    gemma,
    wholeNorm: type === "olmo2" || type === "olmo3",
    window: (l) => (c.sliding_window && (window ?? windows ?? all(false))[l] ? c.sliding_window : undefined),
    turns: (l) => (type === "smollm3" ? c.no_rope_layers[l] !== 0 : !(type === "exaone4" && c.sliding_window && !windows[l])),
    residual: type === "granite" ? c.residual_multiplier : 1,
    embedding: type === "granite" ? c.embedding_multiplier : gemma ? Math.sqrt(c.hidden_size) : 1,
    scale: (d) => (type === "granite" ? c.attention_multiplier : gemma ? c.query_pre_attn_scalar ** -0.5 : d ** -0.5),
  };
}

/**
 * Logits of every token. `config`: config.json as new files have it (rope_parameters, layer_types); `tensor(name)`: a flat list, or
 * undefined where the file has none; `linear(name, w, x, rows)`: W x.
 */
export function evaluate(config, tensor, tokens, linear = (_, w, x, rows) => times(w, x, rows)) {
  const c = config;
  const t = traitsOf(c);
  const eps = c.rms_norm_eps;
  const d = c.head_dim ?? c.hidden_size / c.num_attention_heads;
  const [heads, kvHeads] = [c.num_attention_heads, c.num_key_value_heads];
  const part = Math.trunc(d * (c.model_type === "phi3" ? (c.rope_parameters.partial_rotary_factor ?? 1) : 1));
  const nested = c.rope_parameters.full_attention !== undefined;
  const full = rotation(nested ? c.rope_parameters.full_attention : c.rope_parameters, part, c, tokens.length);
  const near = nested ? rotation(c.rope_parameters.sliding_attention, part, c, tokens.length) : full;
  const cap = (z, most) => (most ? z.map((v) => most * Math.tanh(v / most)) : z);
  const rms = (x, w) => {
    const by = 1 / Math.sqrt(sum(x.map((v) => v * v)) / x.length + eps);
    return x.map((v, k) => v * by * (w[k] + (t.gemma ? 1 : 0)));
  };
  const apply = (name, x, rows) => {
    const y = linear(name, tensor(`${name}.weight`), x, rows);
    const bias = tensor(`${name}.bias`);
    return bias ? y.map((v, k) => v + bias[k]) : y;
  };
  const turn = (x, at, { frequencies, scale }) => {
    const y = x.slice();
    for (const [i, f] of frequencies.entries()) {
      const [cos, sin] = [Math.cos(at * f) * scale, Math.sin(at * f) * scale];
      const j = i + part / 2;
      y[i] = x[i] * cos - x[j] * sin;
      y[j] = x[j] * cos + x[i] * sin;
    }
    return y;
  };
  const embedding = tensor("model.embed_tokens.weight");
  const H = c.hidden_size;
  let h = tokens.map((id) => Float64Array.from(embedding.subarray(id * H, (id + 1) * H), (v) => v * t.embedding));
  for (let l = 0; l < c.num_hidden_layers; l++) {
    const p = `model.layers.${l}.`;
    const norm = (name, x, on = true) => (on ? rms(x, tensor(`${p}${name}.weight`)) : x);
    const headed = (x, name) => {
      const w = tensor(`${p}self_attn.${name}.weight`);
      if (w && t.wholeNorm) x = rms(x, w);
      const parts = Array.from({ length: x.length / d }, (_, i) => x.slice(i * d, (i + 1) * d));
      return w && !t.wholeNorm ? parts.map((y) => rms(y, w)) : parts;
    };
    const window = t.window(l);
    const table = window && nested ? near : full;
    const fused = tensor(`${p}self_attn.qkv_proj.weight`) !== undefined;
    const rows = h.map((x, at) => {
      const input = norm("input_layernorm", x, t.pre);
      let q, k, v;
      if (fused) {
        const both = apply(`${p}self_attn.qkv_proj`, input, (heads + 2 * kvHeads) * d);
        [q, k, v] = [both.slice(0, heads * d), both.slice(heads * d, (heads + kvHeads) * d), both.slice((heads + kvHeads) * d)];
      } else
        [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((name, i) =>
          apply(`${p}self_attn.${name}`, input, (i ? kvHeads : heads) * d),
        );
      const turned = (list) => (t.turns(l) ? list.map((y) => turn(y, at, table)) : list);
      return { q: turned(headed(q, "q_norm")), k: turned(headed(k, "k_norm")), v: headed(v, "none") };
    });
    const scale = t.scale(d);
    h = h.map((x, at) => {
      const out = new Float64Array(heads * d);
      const first = window ? Math.max(0, at - window + 1) : 0;
      for (let g = 0; g < heads; g++) {
        const kv = Math.floor(g / (heads / kvHeads));
        const q = rows[at].q[g];
        const seen = rows.slice(first, at + 1);
        const scores = cap(
          seen.map(({ k }) => sum(q.map((v, i) => v * k[kv][i])) * scale),
          c.attn_logit_softcapping,
        );
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const all = sum(weights);
        for (const [i, { v }] of seen.entries()) for (let j = 0; j < d; j++) out[g * d + j] += (weights[i] / all) * v[kv][j];
      }
      let given = apply(`${p}self_attn.o_proj`, out, H);
      if (t.post) given = norm("post_attention_layernorm", given);
      const mid = x.map((v, k) => v + t.residual * given[k]);
      const input = t.gemma ? norm("pre_feedforward_layernorm", mid) : norm("post_attention_layernorm", mid, t.pre);
      const inner = c.intermediate_size;
      const both = tensor(`${p}mlp.gate_up_proj.weight`) && apply(`${p}mlp.gate_up_proj`, input, 2 * inner);
      const gate = both ? both.slice(0, inner) : apply(`${p}mlp.gate_proj`, input, inner);
      const up = both ? both.slice(inner) : apply(`${p}mlp.up_proj`, input, inner);
      const act = (z) =>
        t.gemma ? 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))) : z / (1 + Math.exp(-z));
      given = apply(
        `${p}mlp.down_proj`,
        gate.map((z, k) => act(z) * up[k]),
        H,
      );
      if (t.post) given = norm("post_feedforward_layernorm", given);
      return mid.map((v, k) => v + t.residual * given[k]);
    });
  }
  const last = tensor("model.norm.weight");
  const head = tensor("lm_head.weight") ?? embedding;
  const divisor = c.model_type === "granite" ? c.logits_scaling : 1;
  return h.map((x) =>
    cap(
      linear("lm_head", head, rms(x, last), c.vocab_size).map((z) => z / divisor),
      c.final_logit_softcapping,
    ),
  );
}

/** Tensors of a safetensors file by name, as flat lists of float64. BF16, F16 and F32. */
export function safetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const word = new DataView(new ArrayBuffer(4));
  const half = (bits) => {
    const [sign, power, rest] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
  };
  const brain = (bits) => {
    word.setUint32(0, bits << 16);
    return word.getFloat32(0);
  };
  const read = {
    F32: (at) => view.getFloat32(at, true),
    F16: (at) => half(view.getUint16(at, true)),
    BF16: (at) => brain(view.getUint16(at, true)),
  };
  const tensors = new Map();
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const size = dtype === "F32" ? 4 : 2;
    const count = shape.reduce((a, b) => a * b, 1);
    const values = Float64Array.from({ length: count }, (_, i) => read[dtype](8 + length + range[0] + size * i));
    tensors.set(name, { shape, values });
  }
  return tensors;
}

const BLOCK = 32;

/** `values` with each block of 32 replaced by what `round` makes of it. */
function inBlocks(values, round) {
  const out = new Float64Array(values.length);
  for (let at = 0; at < values.length; at += BLOCK) out.set(round(values.subarray(at, at + BLOCK)), at);
  return out;
}

const even = (x) => {
  const low = Math.floor(x);
  const rest = x - low;
  return low + (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? 1 : 0);
};

/** Nearest float16, in the range of scales. */
function toHalf(x) {
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(x) || 1))) - 10);
  return even(x / step) * step;
}

/** Weights as Q8_0 or Q4_0 on the grid of each block's extremes. */
export function roundedWeights(values, type) {
  return inBlocks(values, (block) => {
    const largest = block.reduce((a, v) => (Math.abs(v) > Math.abs(a) ? v : a), 0);
    const scale = Math.fround(type === "Q8_0" ? Math.abs(largest) / 127 : largest / -8);
    const by = scale ? Math.fround(1 / scale) : 0;
    const half = toHalf(scale);
    // Ties are common among weights of few digits, so products are float32 as in the format's own code.
    return block.map((v) => {
      const q = Math.fround(v * by);
      if (type === "Q8_0") return Math.sign(q) * Math.floor(Math.fround(Math.abs(q) + 0.5)) * half;
      return (Math.min(15, Math.max(0, Math.floor(Math.fround(q + 8.5)))) - 8) * half;
    });
  });
}

/** A `linear` for evaluate() that rounds what it multiplies to 8 bits in blocks of 32, where `whole(name)`. */
export const roundedInputs = (whole) => (name, w, x, rows) =>
  times(
    w,
    whole(name)
      ? inBlocks(Float64Array.from(x), (block) => {
          const scale = block.reduce((a, v) => Math.max(a, Math.abs(v)), 0) / 127;
          return block.map((v) => (scale ? even(v / scale) * scale : 0));
        })
      : x,
    rows,
  );
