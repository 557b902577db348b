// The tokenizer of a GGUF as the files of a Hugging Face folder.
import { CpmError } from "../errors.ts";
import { addedType, controlType, unusedType } from "../text/recipe.ts";
import { preTokenizer, preTokenizerPatterns } from "../text/split.ts";
import type { PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";
import { sentencePieceFile } from "./sentencepiece.ts";

const json = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);

/** Expressions with their characters instead of JavaScript's escapes, as the tokenizers library reads them. */
const plain = (pattern: string): string =>
  pattern.replace(/\\u([0-9a-fA-F]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

const added = (content: string, special: boolean) => ({
  content,
  lstrip: false,
  normalized: false,
  rstrip: false,
  single_word: false,
  special,
});

/** Pieces up to the run of added and unused ones at the end. */
function baseSize({ types }: PieceVocabulary): number {
  let size = types.length;
  while (size > 0 && [addedType, controlType, unusedType].includes(types[size - 1]!)) size--;
  return size;
}

function tokenizerJson(data: TokenizerData, vocabulary: PieceVocabulary): unknown {
  const { pieces, types, pre } = vocabulary;
  const vocab: Record<string, number> = Object.create(null);
  for (const [id, piece] of pieces.entries()) {
    if (types[id] === addedType || types[id] === controlType || types[id] === unusedType) continue;
    if (piece in vocab)
      throw new CpmError(
        "unsupported",
        `tokenizer.ggml.tokens: ${JSON.stringify(piece)} is there twice, which no tokenizer.json can say`,
        {
          field: "tokenizer.ggml.tokens",
        },
      );
    vocab[piece] = id;
  }
  const list = [...pieces.entries()].filter(([id]) => types[id] === addedType || types[id] === controlType);
  const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const bos = data.addBos && data.bos !== undefined ? pieces[data.bos]! : undefined;
  const special = (name: string) => ({ SpecialToken: { id: name, type_id: 0 } });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: list.map(([id, piece]) => ({ id, ...added(piece, types[id] === controlType) })),
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...preTokenizerPatterns(pre).map(plain).map(split), bytes] },
    post_processor: bos
      ? {
          type: "TemplateProcessing",
          single: [special(bos), { Sequence: { id: "A", type_id: 0 } }],
          pair: [special(bos), { Sequence: { id: "A", type_id: 0 } }, special(bos), { Sequence: { id: "B", type_id: 1 } }],
          special_tokens: { [bos]: { id: bos, ids: [data.bos], tokens: [bos] } },
        }
      : { ...bytes, use_regex: true },
    decoder: { ...bytes, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: preTokenizer(pre).wholeWords,
      vocab,
      merges: vocabulary.merges,
    },
  };
}

/** Files by name. `pad`: the id of a padding token. @throws CpmError "unsupported" for pieces that no folder can spell */
export function tokenizerFiles(data: TokenizerData, pad: number | undefined): Record<string, Uint8Array> {
  const vocabulary = data.vocabulary as PieceVocabulary;
  const { pieces, types } = vocabulary;
  const name = (id: number | undefined) => (id === undefined ? null : pieces[id]!);
  const spm = vocabulary.model === "spm";
  const tokens = { bos_token: name(data.bos), eos_token: name(data.eos), unk_token: name(data.unk), pad_token: name(pad) };
  const listed = [...pieces.entries()].filter(([id]) => types[id] === addedType || types[id] === controlType || id === data.unk);
  const named = Object.entries(data.chatTemplates ?? {}).map(([key, template]) => ({ name: key, template }));
  const template = data.chatTemplate;
  const chat = named.length > 0 ? [...(template === undefined ? [] : [{ name: "default", template }]), ...named] : template;
  const config = {
    add_bos_token: data.addBos,
    add_eos_token: data.addEos,
    ...(spm && !vocabulary.addSpacePrefix ? { add_prefix_space: false } : {}),
    added_tokens_decoder: Object.fromEntries(listed.map(([id, piece]) => [id, added(piece, types[id] !== addedType)])),
    ...tokens,
    ...(chat === undefined ? {} : { chat_template: chat }),
    clean_up_tokenization_spaces: false,
    ...(spm ? { legacy: true, sp_model_kwargs: {} } : {}),
    tokenizer_class: spm ? "LlamaTokenizer" : "PreTrainedTokenizerFast",
  };
  const special = Object.fromEntries(
    Object.entries(tokens).flatMap(([key, content]) => (content === null ? [] : [[key, added(content, true)]])),
  );
  const file: Record<string, Uint8Array> = spm
    ? {
        "tokenizer.model": sentencePieceFile(vocabulary, baseSize(vocabulary), {
          bos: data.bos ?? -1,
          eos: data.eos ?? -1,
          unk: data.unk ?? types.indexOf(2),
        }),
      }
    : { "tokenizer.json": json(tokenizerJson(data, vocabulary)) };
  return { ...file, "tokenizer_config.json": json(config), "special_tokens_map.json": json(special) };
}
