// The data wing in Node, Deno and Bun: models may be paths.
import threaded from "../../wasm/data.mt.wasm.js";
import text from "../../wasm/data.wasm.js";
import { openData } from "../data/data.ts";
import { hogwild, type TrainWorker } from "../data/hogwild.ts";
import { inlined } from "../wasm/inline.ts";
import laneScript from "./data.lane.text.js";
import { pathFiles } from "./node.files.ts";
import { mayStartWorkers, textWorker } from "./threads.ts";

export * from "../data/api.ts";

const worker = (): TrainWorker => textWorker(laneScript, "cpm data");

const threads = mayStartWorkers() ? hogwild({ module: inlined("data.mt", threaded), worker }) : undefined;
const door = openData({ module: inlined("data", text), openPath: pathFiles, threads });

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
