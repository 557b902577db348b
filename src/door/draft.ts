// What drafts, as callers write it -> checked and complete.
import { bytesOf, isBlob, isUrl } from "../brands.ts";
import { maxNodes } from "../decode/draft/tree.ts";
import type { DraftOptions, MtpStates, TreeOptions } from "../engine/types.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { blobSource } from "../file/bytes.ts";
import type { ModelInput } from "../file/kind.ts";
import { type ModelFiles, whereIs } from "../file/source.ts";
import { bad } from "./given.ts";

export interface DraftTreeInput {
  /** Levels: tokens drafted ahead, at most. 1 to 16. */
  readonly depth?: number | undefined;
  /** Tokens tried after each node. 1 to 32; 1 drafts a chain. */
  readonly width?: number | undefined;
  /** Nodes verified together, the root included. 2 to 64. */
  readonly size?: number | undefined;
}

interface DraftCommon {
  /** Default: depth 3, width 4, size 12 for a head; a chain of 4 for a model. */
  readonly tree?: DraftTreeInput | undefined;
  /** Verify only as much as pays on this machine, measured (default); false always verifies whole trees. */
  readonly adaptive?: boolean | undefined;
  /** Let what followed earlier in the text join the tree. Default: as `adaptive`. */
  readonly lookup?: boolean | undefined;
  /**
   * Draft for the drafter: "lookup" guesses that it will say what followed earlier in the text, { model } what a smaller model of the same
   * vocabulary says; guesses are checked beside its next token, as many as pay by its measured steps. Of chains (`tree.width` 1, then the
   * default) long enough to spare a step: of 2 tokens for a model, 3 for a head. Never changes the text.
   */
  readonly front?: "lookup" | { readonly model: ModelInput } | undefined;
}

export interface EagleInput extends DraftCommon {
  /** An EAGLE-2 or EAGLE-3 head for this model: a .safetensors file, or a folder with its config.json. */
  readonly eagle: ModelInput;
  /** Tokens that an EAGLE-2 head may propose (FR-Spec): ids, or the path or URL of a JSON file with them, as `cpm freq` writes it. */
  readonly vocabulary?: string | URL | readonly number[] | undefined;
  /** Tokens that the head looks back on; 0 (default) for all. */
  readonly window?: number | undefined;
  /**
   * How the head's float linears are kept: "float" as in the file; "int8" in 8 bits with a scale for 32 columns, a quarter of
   * float32's size, and quicker ("bad-option" where a linear's columns are not a multiple of 32); "auto" (default) int8 where it can
   * be and the target's own linears are integers. The text is the same either way.
   */
  readonly weights?: "auto" | "float" | "int8" | undefined;
}

export interface MtpInput extends DraftCommon, Pick<EagleInput, "vocabulary" | "window" | "weights"> {
  /**
   * A multi-token-prediction layer of this model: a .safetensors or .gguf file or a folder, with DeepSeek's names (`model.layers.N.eh_proj`,
   * `blk.N.nextn.eh_proj`) or those of `cpm train`. It drafts a chain of 3 unless `tree` says otherwise.
   */
  readonly mtp: ModelInput;
  /**
   * Which hidden states the layer was trained on, before the final norm ("pre", DeepSeek-V3) or after it ("post", the default: MiniCPM,
   * Qwen, GLM): the target's, and its own in later steps. A wrong one costs accepted tokens, nothing else.
   */
  readonly states?: { readonly target?: "post" | "pre" | undefined; readonly own?: "post" | "pre" | undefined } | undefined;
  /** End a chain before a token that has less than this chance among the ten likeliest (default 0: never). Of chains alone. */
  readonly leastChance?: number | undefined;
}

export interface SmallModelInput extends DraftCommon {
  /** A model with the same vocabulary. */
  readonly model: ModelInput;
}

export type DraftInput = "lookup" | false | EagleInput | MtpInput | SmallModelInput;

const none: DraftOptions = { lookup: "off", eagle: undefined, model: undefined, adaptive: true, size: maxNodes };

function whole(field: string, value: number | undefined, least: number, most: number, fallback: number): number {
  if (value === undefined) return fallback;
  if (!Number.isSafeInteger(value) || value < least || value > most) bad(field, `a whole number from ${least} to ${most}`, value);
  return value;
}

const names = {
  eagle: ["eagle", "vocabulary", "tree", "window", "weights", "front", "adaptive", "lookup"],
  mtp: ["mtp", "vocabulary", "tree", "window", "weights", "states", "leastChance", "front", "adaptive", "lookup"],
  model: ["model", "front", "tree", "adaptive", "lookup"],
};
const trees = {
  eagle: { depth: 3, width: 4, size: 12 },
  mtp: { depth: 3, width: 1, size: 4 },
  model: { depth: 4, width: 1, size: 5 },
};
/** Of a drafter that is drafted for. */
const fronted = { depth: 5, width: 1, size: 6 };
/** Tokens of the shortest chain of which a guess can spare a step: a head's first token comes with what it reads along. */
const leastFronted = { eagle: 3, mtp: 3, model: 2 };
const kinds = ["eagle", "mtp", "model"] as const;

/** Throws CpmError "bad-option" for what is unknown or out of range. */
export function checkDraft(input: DraftInput | undefined): DraftOptions {
  if (input === undefined) return { ...none, lookup: "chat" };
  if (input === false) return none;
  if (input === "lookup") return { ...none, lookup: "on" };
  const given = typeof input === "object" && input !== null ? kinds.filter((name) => name in input) : [];
  const [kind] = given;
  if (kind === undefined || given.length > 1) return bad("draft", '"lookup", { eagle }, { mtp }, { model } or false', input);
  for (const name of Object.keys(input))
    if (!names[kind].includes(name))
      bad(`draft.${name}`, `one of ${names[kind].join(", ")}`, "unknown option", didYouMean(name, names[kind]));
  if (filesIn(input) === undefined) bad(`draft.${kind}`, "files", undefined);
  const { adaptive = true, tree = {} } = input;
  const { lookup = adaptive } = input;
  for (const [name, value] of Object.entries({ adaptive, lookup }))
    if (typeof value !== "boolean") bad(`draft.${name}`, "true or false", value);
  if (typeof tree !== "object" || tree === null) bad("draft.tree", "{ depth, width, size }", tree);
  for (const name of Object.keys(tree))
    if (!Object.hasOwn(trees.eagle, name)) bad(`draft.tree.${name}`, "one of depth, width, size", "unknown option");
  const shapes = input.front === undefined ? trees[kind] : fronted;
  const depth = whole("draft.tree.depth", tree.depth, 1, 16, shapes.depth);
  const width = whole("draft.tree.width", tree.width, 1, 32, shapes.width);
  const most = width + width * width * (depth - 1) + 1;
  const size = whole("draft.tree.size", tree.size, 2, maxNodes, Math.min(maxNodes, most, Math.max(shapes.size, depth + 1)));
  // Rows of all levels but the last are told apart by a bit each.
  if (width * (depth - 1) > maxNodes) bad("draft.tree", `width × (depth - 1) of at most ${maxNodes}`, `${width} × ${depth - 1}`);
  if (size > most) bad("draft.tree.size", `at most ${most} for depth ${depth} and width ${width}`, size);
  const shape = { depth, width, size, ...frontOf(input, kind, { depth, width, size }) };
  const common = { ...none, lookup: lookup ? "on" : "off", adaptive } as const;
  if (kind === "model") return { ...common, model: shape };
  const { window, vocabulary, weights = "auto" } = input as EagleInput | MtpInput;
  if (!["auto", "float", "int8"].includes(weights)) bad("draft.weights", '"auto", "float" or "int8"', weights);
  const ids = typeof vocabulary === "string" || isUrl(vocabulary) ? undefined : vocabulary;
  return {
    ...common,
    eagle: {
      ...shape,
      ...(kind === "mtp" ? { mtp: mtpStates(input as MtpInput, width) } : {}),
      weights,
      window: whole("draft.window", window, 0, 1 << 24, 0),
      vocabulary: ids && checkIds(ids),
    },
  };
}

/** Where what drafts is read from. */
export const filesIn = (input: EagleInput | MtpInput | SmallModelInput): ModelInput =>
  "eagle" in input ? input.eagle : "mtp" in input ? input.mtp : input.model;

function frontOf(
  { front }: DraftCommon,
  kind: keyof typeof leastFronted,
  { depth, width, size }: TreeOptions,
): Pick<TreeOptions, "front"> {
  if (front === undefined) return {};
  const isModel = typeof front === "object" && front !== null && Object.keys(front).join() === "model";
  if (front !== "lookup" && !(isModel && front.model !== undefined)) bad("draft.front", '"lookup" or { model }', front);
  if (width > 1)
    bad(
      "draft.front",
      "a chain (tree.width 1): beside a tree's branches its guesses cost more than they spare",
      `a tree of width ${width}`,
    );
  const [least, tokens] = [leastFronted[kind], Math.min(depth, size - 1)];
  if (tokens < least)
    bad("draft.front", `a chain of at least ${least} tokens: in a shorter one no guess can spare a step`, tokens);
  return { front: isModel ? "model" : "lookup" };
}

function mtpStates({ states = {}, leastChance: least = 0 }: MtpInput, width: number): MtpStates {
  if (typeof states !== "object" || states === null) bad("draft.states", "{ target, own }", states);
  for (const [name, value] of Object.entries(states)) {
    if (name !== "target" && name !== "own") bad(`draft.states.${name}`, "one of target, own", "unknown option");
    if (value !== undefined && value !== "post" && value !== "pre") bad(`draft.states.${name}`, '"post" or "pre"', value);
  }
  if (typeof least !== "number" || !(least >= 0 && least <= 1)) bad("draft.leastChance", "a number from 0 to 1", least);
  if (least > 0 && width > 1) bad("draft.leastChance", "a chain (tree.width 1)", `a tree of width ${width}`);
  return { target: states.target ?? "post", own: states.own ?? "post", least };
}

/** Token ids, most frequent first. */
function checkIds(ids: unknown): readonly number[] {
  if (!Array.isArray(ids) && !ArrayBuffer.isView(ids)) bad("draft.vocabulary", "token ids, or the path of a file with them", ids);
  const list = Array.from(ids as Iterable<unknown>);
  const wrong = list.find((id) => typeof id !== "number" || !Number.isSafeInteger(id) || id < 0);
  if (list.length === 0 || wrong !== undefined) bad("draft.vocabulary", "token ids, one or more", wrong ?? "none");
  return list as number[];
}

const mostVocabularyBytes = 64 << 20;

/** The options for the engine, and what it reads the draft from; a vocabulary's file is read here. */
export async function draftOptions(
  input: DraftInput | undefined,
  open: (input: ModelInput) => Promise<ModelFiles>,
  signal?: AbortSignal,
): Promise<{ options: DraftOptions; files: ModelInput | undefined; front: ModelInput | undefined }> {
  const options = checkDraft(input);
  if (typeof input !== "object") return { options, files: undefined, front: undefined };
  const front = typeof input.front === "object" ? input.front.model : undefined;
  if (!options.eagle) return { options, files: (input as SmallModelInput).model, front };
  const { vocabulary } = input as EagleInput | MtpInput;
  const files = await namedHead(filesIn(input));
  if (typeof vocabulary !== "string" && !isUrl(vocabulary)) return { options, files, front };
  return {
    options: { ...options, eagle: { ...options.eagle, vocabulary: await readIds(await open(vocabulary), signal) } },
    files,
    front,
  };
}

/** Bytes, and a Blob whose name does not tell, are the file that they begin as: GGUF, or else safetensors. */
async function namedHead(input: ModelInput): Promise<ModelInput> {
  const blob = isBlob(input) && !/\.(?:gguf|safetensors)$/i.test((input as File).name || "") ? input : undefined;
  const file = blob ?? bytesOf(input);
  if (!file) return input;
  const magic = blob ? await blobSource("head", blob).read(0, Math.min(4, blob.size)) : (file as Uint8Array).subarray(0, 4);
  return { [String.fromCharCode(...magic) === "GGUF" ? "model.gguf" : "model.safetensors"]: file };
}

async function readIds(files: ModelFiles, signal: AbortSignal | undefined): Promise<readonly number[]> {
  try {
    const source = await files.open(files.entry, signal);
    const where = whereIs(files, files.entry);
    if (!source) throw new CpmError("io", `${where}: no such file; check the path or address`, { file: where });
    if (source.size > mostVocabularyBytes) bad("draft.vocabulary", `a file of at most ${mostVocabularyBytes} bytes`, source.size);
    const text = new TextDecoder().decode(await source.read(0, source.size, signal));
    try {
      const json: unknown = JSON.parse(text);
      return checkIds(Array.isArray(json) ? json : (json as { tokens?: unknown } | null)?.tokens);
    } catch (cause) {
      if (cause instanceof CpmError) throw cause;
      throw new CpmError(
        "bad-input",
        `${source.name}: not JSON (${(cause as Error).message}); write it with \`cpm freq\``,
        { file: source.name },
        { cause },
      );
    }
  } finally {
    await files.close();
  }
}
