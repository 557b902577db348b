// The data wing in Node, Deno and Bun: models may be paths.
import text from "../../wasm/data.wasm.js";
import { openData } from "../data/data.ts";
import { inlined } from "../wasm/inline.ts";
import { pathFiles } from "./node.files.ts";

export * from "../data/api.ts";

const door = openData({ module: inlined("data", text), openPath: pathFiles });

/** Reads a classifier from a path, URL, Blob or bytes; {@link DataDoor.loadClassifier} says how and what it throws. */
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
