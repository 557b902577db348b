// A draft head (EAGLE-2, published tensor names) of random bfloat16 weights for a target's shape: for what its steps cost.
import { writeFileSync } from "node:fs";
import { generator } from "./random.mjs";

export function writeHead(path, { hidden, heads, kvHeads, headDim, intermediate }) {
  const layer = "layers.0.";
  const shapes = {
    "fc.weight": [hidden, 2 * hidden],
    [`${layer}self_attn.q_proj.weight`]: [heads * headDim, hidden],
    [`${layer}self_attn.k_proj.weight`]: [kvHeads * headDim, hidden],
    [`${layer}self_attn.v_proj.weight`]: [kvHeads * headDim, hidden],
    [`${layer}self_attn.o_proj.weight`]: [hidden, heads * headDim],
    [`${layer}mlp.gate_proj.weight`]: [intermediate, hidden],
    [`${layer}mlp.up_proj.weight`]: [intermediate, hidden],
    [`${layer}mlp.down_proj.weight`]: [hidden, intermediate],
    [`${layer}post_attention_layernorm.weight`]: [hidden],
  };
  const random = generator(7);
  let at = 0;
  const entries = {};
  const parts = [];
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((product, n) => product * n, 1);
    const words = new Uint32Array(count);
    random.fill(words);
    const scale = Math.sqrt(3 / shape.at(-1));
    const floats = Float32Array.from(words, (w) => (shape.length === 1 ? 1 : (w / 2 ** 31 - 1) * scale));
    const bytes = new Uint16Array(new Uint32Array(floats.buffer).map((bits) => bits >>> 16));
    entries[name] = { dtype: "BF16", shape, data_offsets: [at, (at += bytes.byteLength)] };
    parts.push(Buffer.from(bytes.buffer));
  }
  const json = JSON.stringify(entries);
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path, Buffer.concat([length, header, ...parts]));
}
