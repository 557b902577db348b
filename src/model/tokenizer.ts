// The tokenizer files of a Hugging Face folder -> TokenizerData.
import { modelError } from "../errors.ts";
import { parseObject, shown } from "../file/json.ts";
import { type ModelFiles, whereIs } from "../file/source.ts";
import { type Edges, edgesOf } from "../text/edges.ts";
import { readSentencePiece } from "../text/sentencepiece.ts";
import type { JsonVocabulary, PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";
import { stopTokens } from "./stops.ts";

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
  readonly edges: Edges | undefined;
}

/** Added tokens from wherever the folder keeps them, by id. */
function addedTokens(
  tokenizer: Record<string, unknown> | undefined,
  config: Record<string, unknown>,
  map: Record<string, unknown> | undefined,
  specials: ReadonlySet<string>,
): Map<number, Added> {
  const added = new Map<number, Added>();
  const add = (id: unknown, content: unknown, special: boolean, flags: Readonly<Record<string, unknown>> = {}) => {
    if (typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < 1 << 22 && typeof content === "string" && content)
      added.set(id, { id, content, special, edges: edgesOf(flags) });
  };
  for (const [content, id] of Object.entries(map ?? {})) add(id, content, specials.has(content));
  const decoder = config["added_tokens_decoder"];
  if (typeof decoder === "object" && decoder !== null)
    for (const [id, value] of Object.entries(decoder as Record<string, Record<string, unknown> | null>))
      add(Number(id), value?.["content"], value?.["special"] !== false, value ?? {});
  const listed = tokenizer?.["added_tokens"];
  if (Array.isArray(listed))
    for (const t of listed as (Record<string, unknown> | null)[])
      add(t?.["id"], t?.["content"], t?.["special"] !== false, t ?? {});
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
  const edges = new Map([...added.values()].flatMap((t): [number, Edges][] => (t.edges ? [[t.id, t.edges]] : [])));
  return { ...vocabulary, pieces, types, scores, ...(edges.size > 0 ? { edges } : {}) };
}

/** Gemma's tokenizers put no space before a text; others do unless their file says no. */
const spacePrefix = (config: Record<string, unknown>): boolean =>
  config["add_prefix_space"] !== false && !/^Gemma/.test(nameOf(config["tokenizer_class"]) ?? "");

/** A token named in tokenizer_config.json: a text or { content }. */
function nameOf(value: unknown): string | undefined {
  const name = typeof value === "object" && value !== null ? (value as { content?: unknown }).content : value;
  return typeof name === "string" ? name : undefined;
}

async function readVocabulary(
  files: ModelFiles,
  entry: string | undefined,
  config: Record<string, unknown>,
  specials: ReadonlySet<string>,
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
    const added = addedTokens(json, config, map, specials);
    const listed = new Map(
      (Array.isArray(json["added_tokens"]) ? (json["added_tokens"] as ({ id?: unknown } | null)[]) : []).map((t) => [t?.id, t]),
    );
    const tokenizer = {
      ...json,
      added_tokens: [...added.values()]
        .sort((a, b) => a.id - b.id)
        .map(({ edges, ...t }) => ({
          normalized: false,
          ...listed.get(t.id),
          ...t,
          single_word: edges?.word ?? false,
          lstrip: edges?.left ?? false,
          rstrip: edges?.right ?? false,
        })),
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
  const added = addedTokens(undefined, config, map, specials);
  const vocabulary = { ...readSentencePiece(bytes, name), addSpacePrefix: spacePrefix(config) };
  return { vocabulary: withAdded(vocabulary, added), added };
}

/** Ids of a config value that is a number or a list of numbers. */
const ids = (value: unknown): number[] =>
  (Array.isArray(value) ? value : [value]).filter((v): v is number => typeof v === "number" && Number.isSafeInteger(v) && v >= 0);

interface Templates {
  readonly chatTemplate: string | undefined;
  readonly chatTemplates?: Readonly<Record<string, string>>;
}

/** Templates beside the default one that are looked for, as files have no list. */
const NAMED = ["tool_use", "rag"];

/** The folder's templates: its own files first, which then are all there are, else tokenizer_config.json's, one or a list. */
async function templatesOf(files: ModelFiles, config: Record<string, unknown>, signal?: AbortSignal): Promise<Templates> {
  const own: Record<string, string> = {};
  for (const [name, file] of [
    ["default", "chat_template.jinja"],
    ...NAMED.map((name) => [name, `additional_chat_templates/${name}.jinja`]),
  ] as [string, string][]) {
    const bytes = await readBytes(files, file, signal);
    if (bytes) own[name] = new TextDecoder().decode(bytes);
  }
  if (Object.keys(own).length > 0) return named(own);
  const value = config["chat_template"] ?? (await readJson(files, "chat_template.json", signal))?.["chat_template"];
  if (typeof value === "string") return { chatTemplate: value };
  const pairs = Array.isArray(value)
    ? (value as ({ name?: unknown; template?: unknown } | null)[]).map((t) => [t?.name, t?.template])
    : Object.entries(typeof value === "object" && value !== null ? value : {});
  const list = pairs.filter((pair): pair is [string, string] => typeof pair[0] === "string" && typeof pair[1] === "string");
  return named(Object.fromEntries(list), list[0]?.[1]);
}

function named(all: Readonly<Record<string, string>>, first?: string): Templates {
  const { default: chatTemplate = first, ...chatTemplates } = all;
  return Object.keys(chatTemplates).length > 0 ? { chatTemplate, chatTemplates } : { chatTemplate };
}

const SPECIAL_KEYS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/** The special tokens that the folder names, by key: tokenizer_config.json before special_tokens_map.json. */
function specialTokens(config: Record<string, unknown>, map: Record<string, unknown>): Record<string, string | string[]> {
  const tokens: Record<string, string | string[]> = {};
  for (const key of SPECIAL_KEYS) {
    const name = nameOf(key in config ? config[key] : map[key]);
    if (name !== undefined) tokens[key] = name;
  }
  const more = config["additional_special_tokens"] ?? map["additional_special_tokens"];
  if (Array.isArray(more)) tokens["additional_special_tokens"] = more.map(nameOf).filter((name) => name !== undefined);
  return tokens;
}

/**
 * What the post-processor puts before and behind a text. `known`: it has one of a kind that says so.
 * Source: the tokenizers library's TemplateProcessing, BertProcessing, RobertaProcessing and Sequence.
 */
function postProcessor(value: unknown): { readonly before: number[]; readonly after: number[]; readonly known: boolean } {
  const step = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const list = step["processors"];
  if (step["type"] === "Sequence" && Array.isArray(list)) {
    const parts = list.map((inner) => postProcessor(inner));
    // Each wraps what the ones before have made.
    return {
      before: parts.flatMap((_, i) => parts[parts.length - 1 - i]!.before),
      after: parts.flatMap((part) => part.after),
      known: parts.some((part) => part.known),
    };
  }
  if (step["type"] === "BertProcessing" || step["type"] === "RobertaProcessing") {
    const id = (pair: unknown) => ids(Array.isArray(pair) ? pair[1] : undefined);
    return { before: id(step["cls"]), after: id(step["sep"]), known: true };
  }
  const single = step["single"];
  if (step["type"] !== "TemplateProcessing" || !Array.isArray(single)) return { before: [], after: [], known: false };
  const table = (step["special_tokens"] ?? {}) as Readonly<Record<string, { readonly ids?: unknown } | null>>;
  const sides: [number[], number[]] = [[], []];
  let side: 0 | 1 = 0;
  for (const part of single as ({ SpecialToken?: { id?: unknown }; Sequence?: unknown } | null)[]) {
    const name = part?.SpecialToken?.id;
    if (part?.Sequence !== undefined) side = 1;
    else if (typeof name === "string" && Object.hasOwn(table, name)) sides[side].push(...ids(table[name]?.ids));
  }
  return { before: sides[0], after: sides[1], known: true };
}

/** Reads tokenizer.json or tokenizer.model (or `entry`) with what lies beside it; `configText` is the model's config.json. */
export async function tokenizerOfFolder(
  files: ModelFiles,
  configText: string | undefined,
  signal?: AbortSignal,
  entry?: string,
): Promise<TokenizerData> {
  const config = (await readJson(files, "tokenizer_config.json", signal)) ?? {};
  const templateTokens = specialTokens(config, (await readJson(files, "special_tokens_map.json", signal)) ?? {});
  const { vocabulary, added } = await readVocabulary(files, entry, config, new Set(Object.values(templateTokens).flat()), signal);
  const model = configText === undefined ? {} : parseObject(configText, "config.json");
  const generation = (await readJson(files, "generation_config.json", signal)) ?? {};
  const find = pieceFinder(vocabulary, added);
  const token = (key: string) => {
    const name = templateTokens[key];
    return typeof name === "string" ? find(name) : undefined;
  };
  const bos = token("bos_token") ?? ids(model["bos_token_id"])[0] ?? (vocabulary.kind === "pieces" ? find("<s>") : undefined);
  const stop = stopTokens(find, [...ids(generation["eos_token_id"]), ...ids(model["eos_token_id"]), token("eos_token")]);
  const flag = (key: string): boolean | undefined => {
    const value = config[key] ?? undefined;
    if (value !== undefined && typeof value !== "boolean")
      throw modelError({ file: "tokenizer_config.json", field: key, expected: "true or false", found: shown(value) }, "value");
    return value;
  };
  const eos = token("eos_token") ?? stop[0];
  const post = postProcessor(
    vocabulary.kind === "json" ? (vocabulary.tokenizer as Record<string, unknown>)["post_processor"] : undefined,
  );
  return {
    vocabulary,
    bos,
    stop,
    unk: token("unk_token"),
    ...(eos === undefined ? {} : { eos }),
    ...(post.before.length > 0 ? { before: post.before } : {}),
    ...(post.after.length > 0 ? { after: post.after } : {}),
    // What tokenizer_config.json says comes first, then the post-processor; a tokenizer.model has neither and begins with BOS.
    addBos:
      (flag("add_bos_token") ?? (vocabulary.kind === "pieces" || post.before.length > 0)) &&
      (bos ?? post.before[0]) !== undefined,
    addEos: flag("add_eos_token") ?? post.after.length > 0,
    ...(await templatesOf(files, config, signal)),
    templateTokens,
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
