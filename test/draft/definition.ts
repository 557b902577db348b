// A decoder layer in double precision: rows one by one, keys and values in lists.
export type Vector = Float64Array;

export interface Cache {
  readonly k: Vector[];
  readonly v: Vector[];
}

export interface Sizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly theta: number;
  /** Multiplies what attention and MLP add. */
  readonly residual: number;
  readonly eps: number;
  /** Norms of each head's queries and keys. */
  readonly qkNorm?: { readonly q: Float32Array; readonly k: Float32Array } | undefined;
}

export const times = (w: Float32Array, x: Vector): Vector => {
  const rows = w.length / x.length;
  return Float64Array.from({ length: rows }, (_, r) => x.reduce((sum, v, k) => sum + w[r * x.length + k]! * v, 0));
};
export const rms = (x: Vector, w: Float32Array, eps: number): Vector => {
  const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + eps);
  return x.map((v, k) => v * scale * w[k]!);
};
export const joined = (...parts: Vector[]): Vector => Float64Array.from(parts.flatMap((p) => [...p]));
const plus = (x: Vector, y: Vector, r: number): Vector => x.map((v, k) => v + r * y[k]!);

function turned(x: Vector, position: number, D: number, theta: number): Vector {
  const out = x.slice();
  for (let h = 0; h < x.length; h += D)
    for (let i = 0; i < D / 2; i++) {
      const angle = position * theta ** ((-2 * i) / D);
      const [a, b] = [x[h + i]!, x[h + i + D / 2]!];
      out[h + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[h + i + D / 2] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  return out;
}

const perHead = (x: Vector, w: Float32Array | undefined, eps: number): Vector =>
  w
    ? joined(...Array.from({ length: x.length / w.length }, (_, h) => rms(x.slice(h * w.length, (h + 1) * w.length), w, eps)))
    : x;

/** What a layer's attention and MLP make of x, `input` being what its queries, keys and values read. */
export function layer(
  w: (name: string) => Float32Array,
  { heads, kvHeads, headDim: D, theta, residual: r, eps, qkNorm }: Sizes,
  cache: Cache,
  x: Vector,
  input: Vector,
  position: number,
): Vector {
  const q = turned(perHead(times(w("self_attn.q_proj"), input), qkNorm?.q, eps), position, D, theta);
  cache.k.push(turned(perHead(times(w("self_attn.k_proj"), input), qkNorm?.k, eps), position, D, theta));
  cache.v.push(times(w("self_attn.v_proj"), input));
  const out = new Float64Array(heads * D);
  for (let h = 0; h < heads; h++) {
    const g = Math.floor(h / (heads / kvHeads)) * D;
    const scores = cache.k.map((k) => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += q[h * D + d]! * k[g + d]!;
      return sum / Math.sqrt(D);
    });
    const most = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - most));
    const total = weights.reduce((a, b) => a + b, 0);
    for (const [j, v] of cache.v.entries()) for (let d = 0; d < D; d++) out[h * D + d]! += (weights[j]! / total) * v[g + d]!;
  }
  const y = plus(x, times(w("self_attn.o_proj"), out), r);
  const inner = rms(y, w("post_attention_layernorm"), eps);
  const up = times(w("mlp.up_proj"), inner);
  const gate = times(w("mlp.gate_proj"), inner).map((g, k) => (g / (1 + Math.exp(-g))) * up[k]!);
  return plus(y, times(w("mlp.down_proj"), gate), r);
}
