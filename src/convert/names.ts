// What the two containers call a model's tensors. Source: llama.cpp's gguf-py and the published folders.
import { LINEARS, type Traits } from "../model/config.ts";
import { folderNames, ggufNames } from "../model/layers.ts";

/** Parts of a layer, folder's name -> GGUF's, without "model.layers.N." and "blk.N.", and without ".weight" and ".bias". */
function layerTable(norms: Traits["norms"]): ReadonlyMap<string, string> {
  const folder = folderNames(norms);
  // The norm between attention and MLP is called alike in a folder whichever side it stands on.
  const before = norms === "post" ? [] : (["attnNorm", "ffnNorm"] as const);
  const behind = norms === undefined ? [] : (["attnPost", "ffnPost"] as const);
  return new Map([
    ...LINEARS.map((linear) => [folder.linears[linear], ggufNames.linears[linear]] as const),
    ...[...before, ...behind, "qNorm" as const, "kNorm" as const].map(
      (norm) => [folder.norms[norm], ggufNames.norms[norm]] as const,
    ),
    [folder.qkv, ggufNames.qkv],
    [folder.gateUp, ggufNames.gateUp],
  ]);
}

const REST: ReadonlyMap<string, string> = new Map([
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
]);

/** Folder's names -> GGUF's, for models with norms where `norms` says; undefined for what a GGUF does not have. */
export function ggufNaming(norms: Traits["norms"]): (name: string) => string | undefined {
  const layers = layerTable(norms);
  return (name) => {
    // Models that also see keep what they read and write with in a part of its own.
    const plain = name
      .replace(/^(?:language_model\.|model\.language_model\.)(?=model\.|lm_head)/, "")
      .replace("model.language_model.", "model.");
    const layer = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(plain);
    const found = layer ? layers.get(layer[2]!) : REST.get(plain.replace(/\.weight$/, ""));
    return found && (layer ? `blk.${layer[1]}.${found}.${layer[3]}` : `${found}.weight`);
  };
}

const turned = (table: ReadonlyMap<string, string>) => new Map([...table].map(([folder, gguf]) => [gguf, folder]));
const FUSED = [folderNames(undefined).qkv, folderNames(undefined).gateUp];
const LAYER_OF_GGUF = turned(new Map([...layerTable(undefined)].filter(([folder]) => !FUSED.includes(folder))));
const REST_OF_GGUF = turned(REST);

/** The other way, of families without traits; undefined for what a folder keeps elsewhere (LongRoPE factors). */
export function folderName(name: string): string | undefined {
  const layer = /^blk\.(\d+)\.(.+)\.weight$/.exec(name);
  const found = layer ? LAYER_OF_GGUF.get(layer[2]!) : REST_OF_GGUF.get(name.replace(/\.weight$/, ""));
  return found && (layer ? `model.layers.${layer[1]}.${found}.weight` : `${found}.weight`);
}
