// The entry of a lane's thread in Node, Deno and Bun.
import { parentPort } from "node:worker_threads";
import { type Lane, runLane } from "../wasm/lane.ts";

parentPort!.once("message", (lane: Lane) => void runLane(lane, () => parentPort!.postMessage("ready")));
