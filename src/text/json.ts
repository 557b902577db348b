// tokenizer.json files that are plain BPE, reduced to the recipe that GGUF vocabularies have.
import { CpmError, modelError } from "../errors.ts";
import { shown } from "../shown.ts";
import { type Edges, edgesOf } from "./edges.ts";
import { addedType, byteType, controlType, type Recipe, unknownType } from "./recipe.ts";
import { type Behaviour, byteLevelPattern, type Splitter, splitter } from "./split.ts";
import type { JsonVocabulary } from "./vocabulary.ts";

type Json = Readonly<Record<string, unknown>>;

/** What the normaliser and pre-tokeniser steps amount to. */
interface Steps {
  form: "spaces" | "bytes" | undefined;
  prefix: Recipe["prefix"];
  prefixUnlessSpace: boolean;
  nfc: boolean;
  prepends: boolean;
  replaces: boolean;
  splits: Splitter[];
}

/**
 * The recipe of a `tokenizer.json` with byte-fallback BPE (Llama, MiniCPM4) or byte-level BPE (GPT-2, Llama 3, MiniCPM5).
 * @throws CpmError "bad-model" for broken vocabularies; "unsupported" naming the first step that is of another kind.
 */
export function reduceJson({ tokenizer }: JsonVocabulary): Recipe {
  const model = record(tokenizer.model);
  if (model === undefined)
    throw modelError({ file: "tokenizer.json", field: "model", expected: "an object" }, "not a tokenizer.json");
  if (model.type !== undefined && model.type !== "BPE") throw unsupported("model.type", "BPE", model.type);
  for (const field of ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[field]) throw unsupported(`model.${field}`, "none", model[field]);
  }
  const steps: Steps = {
    form: undefined,
    prefix: "never",
    prefixUnlessSpace: false,
    nfc: false,
    prepends: false,
    replaces: false,
    splits: [],
  };
  for (const step of flatten(tokenizer.normalizer, "normalizers")) {
    if (!normalizer(step, steps)) throw unsupported("normalizer", "NFC, Prepend or Replace", step);
  }
  for (const step of flatten(tokenizer.pre_tokenizer, "pretokenizers")) {
    if (!preTokenizer(step, steps)) throw unsupported("pre_tokenizer", "Split, Digits, Metaspace or ByteLevel", step);
  }
  const { form } = steps;
  if (form === undefined) throw unsupported("pre_tokenizer", "ByteLevel, or spaces made U+2581", "neither");
  const wholeWords = model.ignore_merges === true;
  if (form === "spaces" && wholeWords) throw unsupported("model.ignore_merges", "false where spaces are U+2581", true);
  if (form === "spaces" && steps.splits.length > 0)
    throw unsupported("pre_tokenizer", "no splits where spaces are U+2581", "splits");
  return {
    ...steps,
    form,
    ...readPieces(tokenizer, model, form),
    wholeWords,
    fuseUnknown: model.fuse_unk === true,
    ...unknown(model),
    normalized: normalizedTokens(tokenizer),
    edges: edges(tokenizer),
    joined: joined(tokenizer, model),
    atoms: undefined,
    scores: undefined,
    ...readMerges(model),
  };
}

function unsupported(field: string, expected: string, value: unknown): CpmError {
  const type = record(value)?.type;
  const found = typeof type === "string" ? `type ${shown(type)}` : shown(value);
  const message = `tokenizer.json: ${field}: expected ${expected}, found ${found} (this tokenizer type is not supported; use a GGUF or tokenizer.model of the model)`;
  return new CpmError("unsupported", message, { file: "tokenizer.json", field, expected, found });
}

function record(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

function flatten(step: unknown, list: "normalizers" | "pretokenizers"): Json[] {
  const one = record(step);
  if (one === undefined) return [];
  if (one.type !== "Sequence") return [one];
  const inner = one[list];
  return Array.isArray(inner) ? inner.map((value) => record(value) ?? {}) : [{}];
}

function normalizer(step: Json, steps: Steps): boolean {
  if (step.type === "NFC") steps.nfc = true;
  else if (step.type === "Prepend" && step.prepend === "\u2581") {
    steps.prefix = "every";
    steps.prepends = true;
  } else if (step.type === "Replace" && record(step.pattern)?.String === " " && step.content === "\u2581") {
    steps.form = "spaces";
    steps.replaces = true;
  } else return false;
  return true;
}

function preTokenizer(step: Json, steps: Steps): boolean {
  // Nothing may follow ByteLevel: it leaves the letters of its alphabet, not text.
  if (steps.form === "bytes") return false;
  if (step.type === "ByteLevel" && steps.form === undefined) {
    steps.form = "bytes";
    if (step.add_prefix_space === true) steps.prefix = "every";
    steps.prefixUnlessSpace = true;
    if (step.use_regex !== false) steps.splits.push(splitter(byteLevelPattern));
  } else if (step.type === "Metaspace" && (step.replacement ?? "\u2581") === "\u2581" && step.split === false) {
    steps.form = "spaces";
    const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
    steps.prefix = scheme === "always" ? "every" : scheme === "first" ? "first" : "never";
    steps.prefixUnlessSpace = true;
  } else if (step.type === "Digits") {
    steps.splits.push(splitter(step.individual_digits === true ? "\\p{N}" : "\\p{N}+"));
  } else if (step.type === "Split") {
    const pattern = record(step.pattern);
    // Gemma's: no space is left that it could cut at.
    if (steps.replaces && pattern?.String === " ") return true;
    const text = pattern?.Regex ?? (typeof pattern?.String === "string" ? literal(pattern.String) : undefined);
    const behaviour = behaviours.find((name) => name === step.behavior);
    if (typeof text !== "string" || behaviour === undefined) return false;
    steps.splits.push(splitter(text, behaviour, step.invert === true));
  } else return false;
  return true;
}

const behaviours: readonly Behaviour[] = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"];

function normalizedTokens(tokenizer: Json): ReadonlySet<number> {
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.map((token) => record(token) ?? {}) : [];
  return new Set(added.filter((token) => token.normalized === true).map((token) => token.id as number));
}

function edges(tokenizer: Json): ReadonlyMap<number, Edges> {
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.map((token) => record(token) ?? {}) : [];
  return new Map(
    added.flatMap((token): [number, Edges][] => {
      const found = edgesOf(token);
      return found ? [[token.id as number, found]] : [];
    }),
  );
}

/** Gemma's runs of spaces and of line breaks: added tokens that merges lead to as well. No special token is joined. */
function joined(tokenizer: Json, model: Json): ReadonlySet<number> {
  const vocab = record(model.vocab) ?? {};
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.map((token) => record(token) ?? {}) : [];
  const pieces = added.filter(
    ({ content, id, special }) => special !== true && Object.hasOwn(vocab, content as string) && vocab[content as string] === id,
  );
  return new Set(pieces.map((token) => token.id as number));
}

/** What characters without a piece become: model.unk_token, or nothing where it is null. */
function unknown(model: Json): { readonly unknown?: number | null } {
  const name = model.unk_token;
  if (typeof name !== "string") return { unknown: null };
  const vocab = record(model.vocab) ?? {};
  const id = Object.hasOwn(vocab, name) ? vocab[name] : undefined;
  return typeof id === "number" ? { unknown: id } : {};
}

/** A pattern that matches just `text`. */
function literal(text: string): string {
  return text.replace(/[\^$\\.*+?()[\]{}|/]/g, "\\$&");
}

function readPieces(tokenizer: Json, model: Json, form: "spaces" | "bytes"): { pieces: string[]; types: Int32Array } {
  const vocab = record(model.vocab);
  if (vocab === undefined) throw modelError({ field: "model.vocab", expected: "an object" }, "not a tokenizer.json");
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.map((token) => record(token) ?? {}) : [];
  const names = Object.keys(vocab);
  const limit = 2 * (names.length + added.length) + 1024;
  const pieces: string[] = [];
  const types: number[] = [];
  const put = (piece: unknown, id: unknown, type: number) => {
    if (typeof piece === "string" && Number.isInteger(id) && (id as number) >= 0 && (id as number) < limit) {
      for (let i = pieces.length; i <= (id as number); i++) {
        pieces.push("");
        types.push(0);
      }
      pieces[id as number] = piece;
      types[id as number] = type;
    } else
      throw modelError(
        { field: "vocabulary", expected: `ids below ${limit}`, found: `${shown(id)} for ${shown(piece)}` },
        "a broken entry",
      );
  };
  const bytes = form === "spaces" && model.byte_fallback === true;
  for (const name of names) put(name, vocab[name], bytes && /^<0x[0-9A-F]{2}>$/.test(name) ? byteType : 1);
  for (const token of added) put(token.content, token.id, token.special === true ? controlType : addedType);
  if (typeof model.unk_token === "string" && Object.hasOwn(vocab, model.unk_token))
    types[vocab[model.unk_token] as number] = unknownType;
  return { pieces, types: Int32Array.from(types) };
}

/** Merges are "left right" strings, or pairs where pieces may hold spaces; pairs get a separator that no piece holds. */
function readMerges(model: Json): { merges: string[]; separator: string } {
  const merges = model.merges;
  if (!Array.isArray(merges)) throw modelError({ field: "model.merges", expected: "an array" }, "not a tokenizer.json");
  if (merges.every((merge) => typeof merge === "string")) return { merges, separator: " " };
  const separator = "\uffff";
  const joined = merges.map((merge) => {
    const [left, right] = (Array.isArray(merge) ? merge : []) as unknown[];
    if (Array.isArray(merge) && merge.length === 2 && typeof left === "string" && typeof right === "string")
      return `${left}${separator}${right}`;
    throw modelError({ field: "model.merges", expected: "pairs of texts", found: shown(merge) }, "a broken entry");
  });
  return { merges: joined, separator };
}
