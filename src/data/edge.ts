// The data wing on edge runtimes (workerd): the module is compiled by the platform.
import module from "../../wasm/data.wasm";
import { openData } from "./data.ts";

export * from "./api.ts";

const door = openData({ module: async () => module });

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
