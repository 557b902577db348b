// The entry of a thread that trains a classifier on a page.
import { serveTrainLane } from "../data/trainlane.ts";

serveTrainLane(
  (handler) => addEventListener("message", ({ data }) => handler(data)),
  (message) => (globalThis as unknown as { postMessage(message: unknown): void }).postMessage(message),
  (error) => reportError(error),
);
