// Models named as on a hub, for load() in Node, Deno and Bun.
import type { Platform } from "../door/door.ts";
import { isPrefixed } from "../hub/ref.ts";

/** Pulls "hf:org/repo" when it is not there; the hub's code is loaded only then. */
export const byName: NonNullable<Platform["byName"]> = async (model, { network, signal, onProgress }) => {
  if (typeof model !== "string" || !isPrefixed(model)) return model;
  const { ensure } = await import("./node.hub.ts");
  const { path } = await ensure(model, {
    network,
    signal,
    onProgress:
      onProgress && (({ bytes, totalBytes, file }) => onProgress({ phase: "download", bytes, totalBytes, tensor: file })),
  });
  return path;
};
