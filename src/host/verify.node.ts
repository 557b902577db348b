// The verifiers in Node, Deno and Bun.
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type LanguageDetector, type LanguageProfile, languageDetector } from "../data/verify/language.ts";
import { CpmError } from "../errors.ts";

export * from "../data/verify/index.ts";
export { createSandbox } from "./sandbox.node.ts";

/**
 * The language detector of the langdetect library over a folder of its profiles: `profiles/` of the Python package langdetect (Debian:
 * python3-langdetect) or of the npm package of that name. IFEval's published checker has this one.
 * @throws CpmError "io" where the folder cannot be read, "bad-model" where it holds no profiles
 */
export async function loadLanguageDetector(folder: string): Promise<LanguageDetector> {
  const failed = (cause: unknown) =>
    new CpmError(
      "io",
      `${folder}: ${(cause as Error).message}; give the folder of langdetect's profiles`,
      { file: folder },
      { cause },
    );
  const names = await readdir(folder).catch((cause: unknown) => Promise.reject(failed(cause)));
  const profiles: LanguageProfile[] = [];
  for (const name of names.sort()) {
    if (!/^[a-z]{2}(?:-[a-z]{2})?(?:\.json)?$/.test(name)) continue;
    try {
      const { freq, n_words } = JSON.parse(await readFile(join(folder, name), "utf8")) as LanguageProfile;
      if (typeof freq === "object" && Array.isArray(n_words)) profiles.push({ name: name.replace(/\.json$/, ""), freq, n_words });
    } catch (cause) {
      throw failed(cause);
    }
  }
  if (profiles.length === 0)
    throw new CpmError(
      "bad-model",
      `${folder}: there are no profiles of languages in it; give the folder of langdetect's profiles`,
      {
        file: folder,
      },
    );
  return languageDetector(profiles, await kanji(dirname(folder)));
}

/** Groups of ideographs that count as one, in either package's own file. */
async function kanji(root: string): Promise<readonly string[]> {
  const python = await readFile(join(root, "utils/messages.properties"), "latin1").catch(() => undefined);
  if (python !== undefined)
    return [...python.matchAll(/^NGram\.KANJI_\w+=((?:\\u[0-9A-Fa-f]{4})+)\s*$/gm)].map((m) => JSON.parse(`"${m[1]}"`) as string);
  const npm = await readFile(join(root, "res/cjk.json"), "utf8").catch(() => "{}");
  return Object.values(JSON.parse(npm) as Record<string, string>);
}
