// A tokenizer of single characters, as a folder has it: what small models of the tests and benches speak.
const END = "<end>";

/** Byte-level BPE writes a space and a line break by these letters. */
const written = (c) => (c === " " ? "\u0120" : c === "\n" ? "\u010a" : c);

/** tokenizer.json and tokenizer_config.json; token 0 ends an answer, token i + 1 is the i-th of `characters` (ASCII). */
export function characterTokenizer(characters) {
  const vocab = Object.fromEntries([END, ...characters].map((c, i) => [i === 0 ? c : written(c), i]));
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: END, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  };
  const encode = (value) => new TextEncoder().encode(JSON.stringify(value));
  return {
    "tokenizer.json": encode(json),
    "tokenizer_config.json": encode({
      eos_token: END,
      tokenizer_class: "PreTrainedTokenizerFast",
      add_bos_token: false,
      add_eos_token: false,
    }),
  };
}
