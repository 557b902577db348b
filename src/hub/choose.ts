// Which files of a repository are the model that a name asks for.
import { CpmError } from "../errors.ts";
import { nameOf, type Ref } from "./ref.ts";

/** A file of a repository. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** The name of its blob: sha256 of its bytes (64 digits), or git's sha1 (40) for small files. */
  readonly oid: string;
}

export interface Choice<T> {
  /** What is loaded: a file, or "" for the folder. */
  readonly entry: string;
  readonly files: readonly T[];
  /** Why these, where the name left it open. */
  readonly why?: string;
}

/** Quantisations that run here, in the order in which one is taken where the name says none. */
export const PREFERRED = [
  "Q4_K_M", "Q4_0", "Q4_K_S", "Q4_1", "Q5_K_M", "Q5_0", "Q5_K_S", "Q5_1", "Q6_K", "Q8_0", "Q3_K_M", "Q3_K_L", "Q3_K_S", "Q2_K", "TQ2_0",
  "TQ1_0", "F16", "BF16", "F32",
]; // biome-ignore format: a list
const QUANT = /(?:^|[-._])((?:I?Q\d|TQ\d)(?:_[A-Z0-9]+)*|BF16|F16|F32|FP16|FP32)(?=[-.]|$)/gi;
const PART = /-(\d{5})-of-(\d{5})(?=\.gguf$)/i;
/** Beside models, not models. */
const OTHER = /(?:^|\/)(?:mmproj|imatrix)[^/]*$|imatrix[^/]*\.gguf$/i;
/** Of a folder: what loading it may read. */
const FOLDER =
  /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|chat_template|quantize_config|quant_config|vocab)\.json$|^tokenizer\.model$|^chat_template\.jinja$|^merges\.txt$|^[^/]*\.safetensors(?:\.index\.json)?$/;

/** "MiniCPM4-0.5B-Q4_0.gguf" -> "Q4_0". */
export function quantOf(path: string): string | undefined {
  const name = path.replace(PART, "").replace(/\.gguf$/i, "");
  return [...name.matchAll(QUANT)].at(-1)?.[1]?.toUpperCase().replace(/^FP/, "F");
}

const withoutPart = (path: string): string => path.replace(PART, "");

/** @throws CpmError "bad-input" with what there is, where nothing or more than one model is meant */
export function choose<T extends { readonly path: string }>(files: readonly T[], ref: Ref): Choice<T> {
  const fail = (what: string, list: readonly string[]) => {
    const some = list.slice(0, 30).join(", ");
    return new CpmError(
      "bad-input",
      `${nameOf(ref)}: ${what}${list.length ? `; there are ${some}${list.length > 30 ? ", …" : ""}` : ""}`,
      {
        field: "model",
      },
    );
  };
  const ggufs = files.filter(({ path }) => /\.gguf$/i.test(path));
  const models = ggufs.filter(({ path }) => !OTHER.test(path));
  const named = (path: string) => ({ entry: firstOf(path, files), files: partsOf(path, files) });
  if (ref.file !== undefined) {
    if (!files.some(({ path }) => path === ref.file))
      throw fail(
        "no such file",
        models.map(({ path }) => path),
      );
    return named(ref.file);
  }
  const whole = [...new Map(models.map((file) => [withoutPart(file.path), file.path])).values()];
  const quants = [...new Set(whole.map((path) => quantOf(path) ?? path))];
  if (ref.quant !== undefined) {
    const wanted = ref.quant.toUpperCase();
    const fits = whole.filter((path) => quantOf(path) === wanted);
    const close = fits.length
      ? fits
      : whole.filter((path) =>
          path
            .toUpperCase()
            .replace(/\.GGUF$/, "")
            .endsWith(wanted),
        );
    if (close.length === 0) throw fail(`no file of quantisation ${ref.quant}`, quants);
    if (close.length > 1) throw fail(`several files of quantisation ${ref.quant}; name one as org/repo/file`, close);
    return named(close[0]!);
  }
  if (whole.length === 1) return named(whole[0]!);
  if (whole.length > 1) {
    const quant = PREFERRED.find((q) => whole.some((path) => quantOf(path) === q));
    if (quant === undefined) throw fail("no quantisation that runs here; name a file as org/repo/file", whole);
    const fits = whole.filter((path) => quantOf(path) === quant);
    if (fits.length > 1) throw fail("more than one model; name a file as org/repo/file", whole);
    return { ...named(fits[0]!), why: `${quant}, of ${quants.join(", ")}` };
  }
  const folder = files.filter(({ path }) => FOLDER.test(path));
  if (folder.some(({ path }) => path === "config.json") && folder.some(({ path }) => path.endsWith(".safetensors")))
    return { entry: "", files: folder };
  throw fail(
    "no model that runs here: neither GGUF files nor config.json with safetensors",
    files.slice(0, 30).map(({ path }) => path),
  );
}

/** All parts of a split file, or the file alone. Throws nothing: a missing part is told when the model is opened. */
function partsOf<T extends { readonly path: string }>(path: string, files: readonly T[]): T[] {
  if (!PART.test(path)) return files.filter((file) => file.path === path);
  const whole = withoutPart(path);
  const total = PART.exec(path)![2];
  return files.filter((file) => withoutPart(file.path) === whole && PART.exec(file.path)?.[2] === total);
}

const firstOf = <T extends { readonly path: string }>(path: string, files: readonly T[]): string =>
  PART.test(path)
    ? (partsOf(path, files)
        .map((file) => file.path)
        .sort()[0] ?? path)
    : path;

/** Whether all that a choice needs is among its files: all parts of a split file, all shards of a folder that has an index. */
export function isComplete(choice: Choice<{ readonly path: string }>, shards: readonly string[] | undefined): boolean {
  const paths = choice.files.map(({ path }) => path);
  const part = PART.exec(choice.entry);
  if (part) return paths.length === Number(part[2]);
  if (choice.entry !== "") return paths.includes(choice.entry);
  const tokenizer = paths.some((path) => path === "tokenizer.json" || path === "tokenizer.model");
  return tokenizer && (shards ?? []).every((shard) => paths.includes(shard));
}
