// Models named as on a hub, for load() on a page.
import type { Platform } from "../door/door.ts";
import { isPrefixed } from "../hub/ref.ts";

/** Pulls "hf:org/repo" into the page's storage when it is not there; the hub's code is loaded only then. */
export const byName: NonNullable<Platform["byName"]> = async (model, { network, signal, onProgress }) => {
  if (typeof model !== "string" || !isPrefixed(model)) return model;
  const { ensure } = await import("./browser.hub.ts");
  const { blobs } = await ensure(model, {
    network,
    signal,
    onProgress:
      onProgress && (({ bytes, totalBytes, file }) => onProgress({ phase: "download", bytes, totalBytes, tensor: file })),
  });
  return blobs;
};
