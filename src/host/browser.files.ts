// Where the package's own files are, on a page.

/**
 * The package's folder, when `script` is a bundle that Vite's dev server keeps of it: that lies in a folder of the server's own, and the
 * package's other files do not.
 */
export const servedApart = (script: string | undefined): string | undefined => {
  const found = /^(.*\/node_modules\/)\.[^/]+\/(?:[^?]*\/)?deps(?:_temp[^/]*)?\/[^/]+$/.exec(script ?? "");
  return found ? `${found[1]}cpm-wasm/` : undefined;
};

/**
 * The address of a file of the package. `spelled` says it in the way that bundlers look for; `path` is the same below the package's
 * folder; `script` is the asking script's import.meta.url. What bundles as one old-fashioned script knows no address: then the page's counts.
 */
export function packageFile(path: string, spelled: () => URL, script: string | undefined): URL {
  const folder = servedApart(script);
  if (folder) return new URL(path, folder);
  try {
    return new URL(spelled(), globalThis.location?.href);
  } catch {
    return new URL(path, globalThis.location?.href ?? "file:///");
  }
}
