// The data wing in pages and their workers. Trains on threads where the page is cross-origin isolated; what that takes is loaded then.
import text from "../../wasm/data.wasm.js";
import { openData } from "../data/data.ts";
import type { TrainThreads } from "../data/train.ts";
import { inlined } from "../wasm/inline.ts";

export * from "../data/api.ts";

const threads: TrainThreads = {
  note() {
    if (typeof Worker !== "function") return "this runtime has no workers";
    if (globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function") return undefined;
    return "this page is not cross-origin isolated; serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";
  },
  train: async (...all) => await (await import("./data.browser.threads.ts")).threads.train(...all),
};
const door = openData({ module: inlined("data", text), threads });

/** Reads a classifier from a URL, Blob or bytes; {@link DataDoor.loadClassifier} says how and what it throws. */
export const loadClassifier = door.loadClassifier;
/** The folded file of a fastText model; see {@link DataDoor.fold}. */
export const fold = door.fold;
/** Trains a classifier that fastText loads; see {@link DataDoor.train}. */
export const train = door.train;
/** What remembers texts and tells their repetitions; see {@link DataDoor.createDeduplicator}. */
export const createDeduplicator = door.createDeduplicator;
/** Fingerprints of texts, by which repetitions are told. */
export const createFingerprints = door.createFingerprints;
/** MinHash signatures of texts. */
export const createMinHash = door.createMinHash;
