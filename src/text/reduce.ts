// Every kind of vocabulary brought to one recipe, checked.
import { modelError } from "../errors.ts";
import { reduceJson } from "./json.ts";
import { controlType, type Recipe } from "./recipe.ts";
import { preTokenizer } from "./split.ts";
import type { PieceVocabulary, TokenizerData } from "./vocabulary.ts";

/**
 * How the vocabulary of `data` cuts and joins text.
 * @throws CpmError "bad-model" when the parts of the vocabulary disagree; "unsupported" for an unknown pre-tokeniser and
 * for a tokenizer.json that is neither byte-level nor byte-fallback BPE.
 */
export function recipeOf(data: TokenizerData): Recipe {
  const { vocabulary } = data;
  const recipe = vocabulary.kind === "json" ? reduceJson(vocabulary) : fromPieces(vocabulary);
  const size = recipe.pieces.length;
  for (const id of [data.bos, data.eos, data.unk, ...data.stop, ...(data.before ?? []), ...(data.after ?? [])]) {
    if (id === undefined || (Number.isInteger(id) && id >= 0 && id < size)) continue;
    throw modelError({ field: "special token", expected: `an id below ${size}`, found: `${id}` }, "outside the vocabulary");
  }
  return { ...recipe, types: withControls(recipe.types, data) };
}

function fromPieces(vocabulary: PieceVocabulary): Recipe {
  const { pieces, types, scores, merges, model } = vocabulary;
  const parts = model === "spm" ? scores : merges;
  if (parts === undefined) throw modelError({ field: model === "spm" ? "scores" : "merges" }, "missing from the vocabulary");
  if (types.length !== pieces.length || (scores !== undefined && model === "spm" && scores.length !== pieces.length)) {
    const found = `${types.length} types, ${scores?.length ?? 0} scores`;
    throw modelError({ field: "vocabulary", expected: `${pieces.length} of each`, found }, "its parts disagree");
  }
  const pre = model === "bpe" ? preTokenizer(vocabulary.pre) : { splits: [], wholeWords: false };
  return {
    pieces,
    types,
    form: model === "spm" ? "spaces" : "bytes",
    prefix: model === "spm" && vocabulary.addSpacePrefix ? "every" : "never",
    prefixUnlessSpace: false,
    nfc: false,
    fuseUnknown: true,
    ...pre,
    edges: vocabulary.edges,
    atoms: vocabulary.atoms,
    scores: model === "spm" ? scores : undefined,
    merges: model === "bpe" ? merges : undefined,
    separator: " ",
  };
}

/** Begin and stop tokens are special even where a file calls them normal: text must not spell them by accident. */
function withControls(types: Int32Array, { bos, stop }: TokenizerData): Int32Array {
  const ids = [bos, ...stop].filter((id) => id !== undefined && types[id] === 1) as number[];
  if (ids.length === 0) return types;
  const fixed = types.slice();
  for (const id of ids) fixed[id] = controlType;
  return fixed;
}
