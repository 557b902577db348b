// The entry of a training thread in Node, Deno and Bun.
import { parentPort } from "node:worker_threads";
import { serveLane } from "../train/lanes.ts";

const port = parentPort!;
serveLane(
  (handler) => port.on("message", handler),
  (message) => port.postMessage(message),
  (error) => {
    throw error;
  },
);
