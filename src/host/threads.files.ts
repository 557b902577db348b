// The package's own scripts for threads.
import type { LaneWorker } from "../port/lanes.ts";
import { laneWorker } from "./threads.ts";

export const laneScript = (): URL => new URL("./threads.lane.js", import.meta.url);

/** A worker for a lane. */
export const startLane = (): LaneWorker => laneWorker(laneScript());
