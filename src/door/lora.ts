// LoRA adapters as callers name them -> checked and complete.
import { isBlob, isRecord, isUrl } from "../brands.ts";
import type { AdapterUse } from "../engine/adapters.ts";
import type { LoraInfo } from "../engine/types.ts";
import { CpmError, didYouMean } from "../errors.ts";
import type { ModelInput } from "../file/kind.ts";
import { bad, given } from "./given.ts";

/** An adapter to load with a model. */
export interface LoraInput {
  /** A GGUF file (llama.cpp's convert_lora_to_gguf.py), or a PEFT folder: a path, URL, Blob, bytes of a GGUF, or named Blobs or bytes. */
  readonly path: ModelInput;
  /** How much of it is added where a call says nothing else. Default 1; 0 leaves it out until it is asked for. */
  readonly scale?: number | undefined;
  /** What calls name it by. Default: its file's or folder's name without ending. */
  readonly name?: string | undefined;
}

/** Which adapters a text is computed with, by name: each at the scale it was loaded with, or another. false, or none: the base alone. */
export type LoraChoice = false | readonly (string | { readonly name: string; readonly scale?: number | undefined })[];

/** An adapter's input, name and scale. */
export interface GivenLora {
  readonly input: ModelInput;
  readonly name: string;
  readonly scale: number;
}

function scaleOf(field: string, scale: unknown): number {
  if (typeof scale !== "number" || !Number.isFinite(Math.fround(scale))) bad(field, "a finite number", scale);
  return scale;
}

/** Throws CpmError "bad-option" for what are no adapters, or two of one name. */
export function loraInputs(input: readonly LoraInput[] | undefined): GivenLora[] {
  if (input === undefined) return [];
  if (!Array.isArray(input)) bad("lora", "a list of { path, scale, name }", input);
  const list = (input as readonly unknown[]).map((one, i): GivenLora => {
    if (!isRecord(one)) bad(`lora[${i}]`, "{ path, scale, name }", one);
    const { path, scale = 1, name } = given(one as unknown as LoraInput, ["path", "scale", "name"], `lora[${i}]`);
    if (path === undefined) bad(`lora[${i}].path`, "an adapter's file or folder", undefined);
    if (name !== undefined && (typeof name !== "string" || name === "")) bad(`lora[${i}].name`, "a name", name);
    return { input: path, name: name ?? nameOf(path) ?? `adapter-${i + 1}`, scale: scaleOf(`lora[${i}].scale`, scale) };
  });
  for (const [i, { name }] of list.entries())
    if (list.findIndex((one) => one.name === name) !== i)
      bad(`lora[${i}].name`, "names that differ", name, "; name the adapters: { path, name }");
  return list;
}

/** The file's or folder's name, without what all of its kind end in. */
function nameOf(input: ModelInput): string | undefined {
  const text = typeof input === "string" ? input : isUrl(input) ? input.pathname : isBlob(input) ? (input as File).name : "";
  const path = (text || "").replace(/[?#].*$/s, "").replace(/[/\\](adapter_model\.safetensors|adapter_config\.json)$/, "");
  return /([^/\\]+)[/\\]*$/.exec(path)?.[1]?.replace(/\.(gguf|safetensors)$/i, "");
}

/** The adapters that a call asks for, by number; undefined where it says nothing. Throws "bad-option" for names that are not loaded. */
export function loraUses(choice: LoraChoice | undefined, loaded: readonly LoraInfo[]): readonly AdapterUse[] | undefined {
  if (choice === undefined) return undefined;
  if (choice === false) return [];
  if (!Array.isArray(choice)) bad("lora", "a list of names or { name, scale }, or false", choice);
  const uses = (choice as readonly unknown[]).map((one, i): AdapterUse => {
    const { name, scale } =
      typeof one === "string"
        ? { name: one, scale: undefined }
        : given(isRecord(one) ? (one as { name: string; scale?: number }) : bad(`lora[${i}]`, "a name or { name, scale }", one), [
            "name",
            "scale",
          ]);
    const names = loaded.map((lora) => lora.name);
    const index = names.indexOf(name);
    if (index < 0) {
      const known = names.length > 0 ? `one of ${names.join(", ")}` : "no adapter: none was loaded";
      bad(`lora[${i}]`, known, name, typeof name === "string" ? didYouMean(name, names) : "");
    }
    return { index, scale: scale === undefined ? loaded[index]!.scale : scaleOf(`lora[${i}].scale`, scale) };
  });
  if (new Set(uses.map(({ index }) => index)).size < uses.length)
    throw new CpmError("bad-option", "lora: expected each adapter once", { field: "lora" });
  return uses;
}
