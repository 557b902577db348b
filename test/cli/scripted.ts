// A model whose greedy text is written beforehand: each token is followed by one other token, always the same.
import { text, writeGguf } from "../support/gguf.ts";
import { pieces, tinyModel, tinyParts } from "../support/tiny.ts";

const shape = { layers: 1, hidden: 64, vocab: 320, tied: false };
const newline = "<0x0A>";
const end = "</s>";

/**
 * GGUF whose text after a line break is `script`, a list of pieces without repetitions, and then ends; `again` begins it
 * anew instead. Letters are pieces; "<0x3C>" is a byte. `template`: its chat template.
 */
export function scriptedModel(script: readonly string[], { again = false, template = "" } = {}): Uint8Array {
  const model = tinyModel(shape);
  const values = (name: string) => model.weights.get(name)!.values;
  for (const name of ["self_attn.o_proj", "mlp.down_proj"]) values(`model.layers.0.${name}.weight`).fill(0);
  const names = pieces(shape.vocab).pieces;
  const chain = [newline, ...script].map((piece) => names.indexOf(piece));
  if (chain.includes(-1) || new Set(chain).size < chain.length) throw new Error("a script is made of different pieces");
  const [embedding, head] = [values("model.embed_tokens.weight").fill(0), values("lm_head.weight").fill(0)];
  const next = again ? chain[1]! : names.indexOf(end);
  for (let token = 0; token < shape.vocab; token++) {
    const place = chain.indexOf(token);
    embedding[token * shape.hidden + (place < 0 ? shape.hidden - 1 : place)] = 1;
    if (place >= 0) head[(chain[place + 1] ?? next) * shape.hidden + place] = 1;
  }
  const { metadata, tensors } = tinyParts(model);
  return writeGguf({ metadata: template ? [...metadata, ["tokenizer.chat_template", text(template)]] : metadata, tensors });
}

/** The pieces of "hm</think>ok". */
export const thought = ["h", "m", "<0x3C>", "<0x2F>", "<0x74>", "<0x68>", "<0x69>", "<0x6E>", "<0x6B>", "<0x3E>", "o", "k"];

/** Prompts end inside <think>, unless reasoning is off; earlier messages are told by their number. */
export const thinkingTemplate = `{{ messages | length }}{% if enable_thinking is defined and not enable_thinking %}{{ '\\n' }}{% else %}{{ '<think>\\n' }}{% endif %}`;
