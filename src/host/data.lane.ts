// The entry of a thread that trains a classifier in Node, Deno and Bun.
import { parentPort } from "node:worker_threads";
import { serveTrainLane } from "../data/trainlane.ts";

const port = parentPort!;
serveTrainLane(
  (handler) => port.on("message", handler),
  (message) => port.postMessage(message),
  (error) => {
    throw error;
  },
);
