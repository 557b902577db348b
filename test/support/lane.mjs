// A lane's thread for tests, which run the sources: threads cannot, so this one runs what `npm run build` made of them.
import { parentPort } from "node:worker_threads";
import { runLane } from "../../dist/wasm/lane.js";

parentPort.once("message", (lane) => void runLane(lane, () => parentPort.postMessage("ready")));
