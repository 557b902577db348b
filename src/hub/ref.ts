// Names of models on a hub: "openbmb/MiniCPM4-0.5B-GGUF:Q4_0".
import { CpmError } from "../errors.ts";

/** What a name stands for. */
export interface Ref {
  /** "org/repo". */
  readonly repo: string;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** A quantisation, as its files spell it; any case. */
  readonly quant?: string;
  /** A file of the repository. */
  readonly file?: string;
}

/** Hugging Face's own rules: letters, digits, "-", "_" and "."; no "--" or "..", at most 96 characters. */
const PART = /^[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?$/;
const PREFIX = /^(?:hf:(?:\/\/)?|(?:https:\/\/)?(?:hf\.co|huggingface\.co)\/)/i;
const REVISION = /^[\w](?:[\w./-]*[\w])?$/;

const isRepo = (text: string): boolean =>
  text.length <= 96 && text.split("/").length === 2 && text.split("/").every((p) => PART.test(p)) && !/--|\.\./.test(text);

/** Whether a path of a repository stays inside it, on every system: no "..", no root, drive, backslash or control. */
export const isInside = (path: string): boolean =>
  path.length > 0 &&
  path.length <= 1024 &&
  !/[\\:*?"<>|\u0000-\u001f\u007f]/.test(path) &&
  path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[. ]$/.test(part));

const isRevision = (text: string): boolean => text.length <= 255 && REVISION.test(text) && isInside(text);

/** Whether a text says by itself that it is a hub's name: "hf:…", "hf.co/…". */
export const isPrefixed = (text: string): boolean => PREFIX.test(text) && !/^https:/i.test(text);

/**
 * Reads "org/repo", with ":quant" or "/file", "@revision", and "hf:", "hf.co/" or "https://huggingface.co/" before it; also addresses of
 * files ("…/resolve/main/model.gguf", "…/blob/…"). @returns undefined for what is no such name. @throws CpmError "bad-input" for a prefix
 * before what is none.
 */
export function parseRef(text: string): Ref | undefined {
  const prefix = PREFIX.exec(text)?.[0] ?? "";
  const ref = refOf(text.slice(prefix.length));
  if (ref || prefix === "") return ref;
  throw new CpmError(
    "bad-input",
    `${JSON.stringify(text.slice(0, 200))}: no name of a model on a hub; expected org/repo, org/repo:Q4_0, org/repo/file.gguf or org/repo@revision`,
    { field: "model" },
  );
}

function refOf(text: string): Ref | undefined {
  const match = /^([^/:@]+\/[^/:@]+)(?:@([^:@]+?))?(?::([\w.-]+)|\/([^:@]+))?(?:@([^:@]+))?$/.exec(text.replace(/[?#].*$/s, ""));
  if (!match) return undefined;
  const [, repo = "", before, quant, rest, after] = match;
  let [revision, file] = [after ?? before ?? "main", rest];
  // Branches may have slashes; files end as files of models do.
  if (before !== undefined && rest !== undefined && !/\.(?:gguf|safetensors|json|model)$/i.test(rest))
    [revision, file] = [`${before}/${rest}`, undefined];
  const address = /^(?:resolve|blob)\/([^/]+)\/(.+)$/.exec(rest ?? "");
  if (address) [revision, file] = [address[1]!, address[2]!];
  const tree = /^tree\/([^/]+)$/.exec(rest ?? "");
  if (tree) [revision, file] = [tree[1]!, undefined];
  if (before !== undefined && after !== undefined) return undefined;
  if (!isRepo(repo) || !isRevision(revision) || (file !== undefined && !isInside(file))) return undefined;
  return { repo, revision, ...(quant === undefined ? {} : { quant }), ...(file === undefined ? {} : { file }) };
}

/** A name as people write it. */
export const nameOf = ({ repo, revision, quant, file }: Ref): string =>
  `${repo}${quant ? `:${quant}` : ""}${file ? `/${file}` : ""}${revision === "main" ? "" : `@${revision}`}`;
