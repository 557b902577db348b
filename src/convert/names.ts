// What the two containers call a model's tensors. Source: llama.cpp's gguf-py and the published folders.

/** A layer's tensors, without "model.layers.N." and "blk.N.", and without ".weight". */
const LAYER: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
const REST: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
};
const turned = (table: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(table).map(([folder, gguf]) => [gguf, folder]));
const [LAYER_OF_GGUF, REST_OF_GGUF] = [turned(LAYER), turned(REST)];

const of = (table: Readonly<Record<string, string>>, name: string) => (Object.hasOwn(table, name) ? table[name] : undefined);

/** "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"; undefined for what a GGUF does not have. */
export function ggufName(name: string): string | undefined {
  const layer = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name);
  const found = layer ? of(LAYER, layer[2]!) : of(REST, name.replace(/\.weight$/, ""));
  return found && (layer ? `blk.${layer[1]}.${found}.weight` : `${found}.weight`);
}

/** The other way; undefined for what a folder keeps elsewhere (LongRoPE factors). */
export function folderName(name: string): string | undefined {
  const layer = /^blk\.(\d+)\.(.+)\.weight$/.exec(name);
  const found = layer ? of(LAYER_OF_GGUF, layer[2]!) : of(REST_OF_GGUF, name.replace(/\.weight$/, ""));
  return found && (layer ? `model.layers.${layer[1]}.${found}.weight` : `${found}.weight`);
}
