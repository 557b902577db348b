// The entry of a lane's thread in Node, Deno and Bun.
import { parentPort } from "node:worker_threads";
import { type Lane, runLane, runLeader } from "../wasm/lane.ts";

const port = parentPort!;
const post = (message: "ready" | number) => port.postMessage(message);
port.once("message", (lane: Lane) => {
  if (lane.index === 0) void runLeader(lane, (handler) => void port.on("message", handler), post);
  else void runLane(lane, () => post("ready"));
});
