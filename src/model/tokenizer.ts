// The tokenizer files of a Hugging Face folder -> TokenizerData.
import { modelError } from "../errors.ts";
import { parseObject, shown } from "../file/json.ts";
import { type ModelFiles, whereIs } from "../file/source.ts";
import { readSentencePiece } from "../text/sentencepiece.ts";
import type { JsonVocabulary, PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";

const MAX_BYTES = 128 << 20;
/** Ids that added tokens may leave unused between themselves and the pieces. */
const MAX_GAP = 1 << 16;

async function readBytes(files: ModelFiles, name: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
  const source = await files.open(name, signal);
  if (!source) return undefined;
  if (source.size > MAX_BYTES)
    throw modelError({ file: name, expected: `at most ${MAX_BYTES} bytes`, found: String(source.size) }, "file size");
  return source.read(0, source.size, signal);
}

/** Members of a tokenizer.json that are read; whatever else stands there is skipped. */
const TOKENIZER_KEYS = ["version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"];

async function readJson(
  files: ModelFiles,
  name: string,
  signal?: AbortSignal,
  keep?: readonly string[],
): Promise<Record<string, unknown> | undefined> {
  const bytes = await readBytes(files, name, signal);
  return bytes && parseObject(new TextDecoder().decode(bytes), name, 0, keep);
}

interface Added {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** Added tokens from wherever the folder keeps them, by id. */
function addedTokens(
  tokenizer: Record<string, unknown> | undefined,
  config: Record<string, unknown>,
  map: Record<string, unknown> | undefined,
): Map<number, Added> {
  const added = new Map<number, Added>();
  const add = (id: unknown, content: unknown, special: boolean) => {
    if (typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < 1 << 22 && typeof content === "string" && content)
      added.set(id, { id, content, special });
  };
  for (const [content, id] of Object.entries(map ?? {})) add(id, content, true);
  const decoder = config["added_tokens_decoder"];
  if (typeof decoder === "object" && decoder !== null)
    for (const [id, value] of Object.entries(decoder))
      add(
        Number(id),
        (value as { content?: unknown } | null)?.content,
        (value as { special?: unknown } | null)?.special !== false,
      );
  const listed = tokenizer?.["added_tokens"];
  if (Array.isArray(listed))
    for (const t of listed as (Record<string, unknown> | null)[]) add(t?.["id"], t?.["content"], t?.["special"] !== false);
  return added;
}

function withAdded(vocabulary: PieceVocabulary, added: ReadonlyMap<number, Added>): PieceVocabulary {
  let size = vocabulary.pieces.length;
  for (const id of [...added.keys()].sort((a, b) => a - b)) {
    if (id >= size + MAX_GAP)
      throw modelError({ field: "added token", expected: `an id below ${size + MAX_GAP}`, found: String(id) }, "tokenizer");
    size = Math.max(size, id + 1);
  }
  const pieces = Array.from({ length: size }, (_, i) => added.get(i)?.content ?? vocabulary.pieces[i] ?? `<unused_${i}>`);
  const types = Int32Array.from({ length: size }, (_, i) => {
    const token = added.get(i);
    const type = vocabulary.types[i] ?? 5;
    // An added token that is already control, unknown or a byte keeps that role.
    return token && type !== 2 && type !== 6 ? (token.special ? 3 : 4) : type;
  });
  const scores = Float32Array.from({ length: size }, (_, i) => vocabulary.scores?.[i] ?? 0);
  return { ...vocabulary, pieces, types, scores };
}

/** A token named in tokenizer_config.json: a text or { content }. */
function nameOf(value: unknown): string | undefined {
  const name = typeof value === "object" && value !== null ? (value as { content?: unknown }).content : value;
  return typeof name === "string" ? name : undefined;
}

async function readVocabulary(
  files: ModelFiles,
  entry: string | undefined,
  config: Record<string, unknown>,
  signal?: AbortSignal,
) {
  const map = await readJson(files, "added_tokens.json", signal);
  const json = entry?.endsWith(".model") ? undefined : await readJson(files, entry ?? "tokenizer.json", signal, TOKENIZER_KEYS);
  if (json) {
    if (typeof json["model"] !== "object" || json["model"] === null)
      throw modelError(
        { file: entry ?? "tokenizer.json", field: "model", expected: "an object", found: shown(json["model"]) },
        "tokenizer",
      );
    const added = addedTokens(json, config, map);
    const listed = new Map(
      (Array.isArray(json["added_tokens"]) ? (json["added_tokens"] as ({ id?: unknown } | null)[]) : []).map((t) => [t?.id, t]),
    );
    const defaults = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    const tokenizer = {
      ...json,
      added_tokens: [...added.values()].sort((a, b) => a.id - b.id).map((t) => ({ ...defaults, ...listed.get(t.id), ...t })),
    };
    return { vocabulary: { kind: "json", tokenizer, config } satisfies JsonVocabulary, added };
  }
  const name = entry?.endsWith(".model") ? entry : "tokenizer.model";
  const bytes = await readBytes(files, name, signal);
  if (!bytes)
    throw modelError(
      {
        file: "tokenizer.json",
        expected: "this file or tokenizer.model",
        found: `neither (${whereIs(files, "tokenizer.json")})`,
      },
      "tokenizer is missing",
      "download the whole folder",
    );
  const added = addedTokens(undefined, config, map);
  const vocabulary = { ...readSentencePiece(bytes, name), addSpacePrefix: config["add_prefix_space"] !== false };
  return { vocabulary: withAdded(vocabulary, added), added };
}

/** Ids of a config value that is a number or a list of numbers. */
const ids = (value: unknown): number[] =>
  (Array.isArray(value) ? value : [value]).filter((v): v is number => typeof v === "number" && Number.isSafeInteger(v) && v >= 0);

function templateOf(config: Record<string, unknown>): string | undefined {
  const value = config["chat_template"];
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as ({ name?: unknown; template?: unknown } | null)[];
  const template = (named.find((t) => t?.name === "default") ?? named[0])?.template;
  return typeof template === "string" ? template : undefined;
}

/** Reads tokenizer.json or tokenizer.model (or `entry`) with what lies beside it; `configText` is the model's config.json. */
export async function tokenizerOfFolder(
  files: ModelFiles,
  configText: string | undefined,
  signal?: AbortSignal,
  entry?: string,
): Promise<TokenizerData> {
  const config = (await readJson(files, "tokenizer_config.json", signal)) ?? {};
  const { vocabulary, added } = await readVocabulary(files, entry, config, signal);
  const model = configText === undefined ? {} : parseObject(configText, "config.json");
  const generation = (await readJson(files, "generation_config.json", signal)) ?? {};
  const template = await readBytes(files, "chat_template.jinja", signal);
  const find = pieceFinder(vocabulary, added);
  const named = (key: string) => {
    const name = nameOf(config[key]);
    return name === undefined ? undefined : find(name);
  };
  const bos = named("bos_token") ?? ids(model["bos_token_id"])[0] ?? (vocabulary.kind === "pieces" ? find("<s>") : undefined);
  const stop = [
    ...ids(generation["eos_token_id"]),
    ...ids(model["eos_token_id"]),
    named("eos_token"),
    find("<|im_end|>"),
    find("</s>"),
  ].filter((t) => t !== undefined);
  const addBos = config["add_bos_token"];
  if (addBos !== undefined && addBos !== null && typeof addBos !== "boolean")
    throw modelError(
      { file: "tokenizer_config.json", field: "add_bos_token", expected: "true or false", found: shown(addBos) },
      "value",
    );
  return {
    vocabulary,
    bos,
    stop: [...new Set(stop)],
    unk: named("unk_token"),
    addBos: (addBos ?? vocabulary.kind === "pieces") === true && bos !== undefined,
    addEos: config["add_eos_token"] === true,
    chatTemplate: template ? new TextDecoder().decode(template) : templateOf(config),
  };
}

function pieceFinder(
  vocabulary: PieceVocabulary | JsonVocabulary,
  added: ReadonlyMap<number, Added>,
): (piece: string) => number | undefined {
  const byContent = new Map([...added.values()].map((t) => [t.content, t.id]));
  if (vocabulary.kind === "pieces")
    return (piece) => {
      const at = byContent.get(piece) ?? vocabulary.pieces.indexOf(piece);
      return at < 0 ? undefined : at;
    };
  const vocab = (vocabulary.tokenizer["model"] as { vocab?: Readonly<Record<string, unknown>> | null }).vocab ?? {};
  return (piece) => {
    const id = byContent.get(piece) ?? (Object.hasOwn(vocab, piece) ? vocab[piece] : undefined);
    return typeof id === "number" ? id : undefined;
  };
}
