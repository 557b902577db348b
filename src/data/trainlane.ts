// A training thread: takes text into its own place of the shared memory, and trains on it with whatever rate all threads have come to.
import type { DataExports } from "./module.ts";
import { enter, type Layout, type Own } from "./trainplaces.ts";

/** Words of one line, at most: room for their hashes. */
export const MOST_WORDS = 1 << 21;

/** Sent once to a thread; then it is sent texts. */
export interface TrainLane {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  readonly own: Own;
  readonly seed: number;
  /** Tokens of all threads so far: an i64 at this address, which threads add to. */
  readonly done: number;
  readonly total: number;
  readonly lr: number;
  readonly lrUpdateRate: number;
  /** Where texts are put, and hashes of the words of a line. */
  readonly text: number;
  readonly hashes: number;
  /** Begin behind the first newline. */
  readonly skips: boolean;
}

/** So many bytes lie behind what was held; `last`: the text ends there, and the next bytes are its first again. */
export interface LaneText {
  readonly length: number;
  readonly last: boolean;
}

export interface LaneAnswer {
  /** Bytes at the beginning of the text's place that wait for more. */
  readonly held: number;
  readonly tooLong: boolean;
  /** Mean loss of the examples of this thread. */
  readonly loss: number;
  readonly examples: number;
}

const NEWLINE = 10;

class Lane {
  readonly #exports: DataExports;
  readonly #lane: TrainLane;
  readonly #bytes: Uint8Array;
  readonly #done: BigInt64Array;
  #held = 0;
  #skips: boolean;

  constructor(exports: DataExports, lane: TrainLane) {
    this.#exports = exports;
    this.#lane = lane;
    this.#bytes = new Uint8Array(lane.memory.buffer);
    this.#done = new BigInt64Array(lane.memory.buffer, lane.done, 1);
    this.#skips = lane.skips;
    enter(exports, lane.layout, lane.own, lane.seed);
  }

  take({ length, last }: LaneText): LaneAnswer {
    const { text, hashes, total, lr, lrUpdateRate } = this.#lane;
    const end = text + this.#held + length;
    let from = text;
    if (this.#skips) {
      const newline = this.#bytes.subarray(text, end).indexOf(NEWLINE);
      from = newline < 0 ? end : text + newline + 1;
      this.#skips = newline < 0 && !last;
    }
    let tooLong = false;
    for (let more = true; more && !tooLong; ) {
      const done = Number(Atomics.load(this.#done, 0));
      if (done >= total) break;
      tooLong = (this.#exports.line_words() >>> 0) + ((end - from) >> 1) + 2 > MOST_WORDS;
      if (tooLong) break;
      const rate = Math.fround(lr * (1 - Math.fround(Math.fround(done) / Math.fround(total))));
      from += this.#exports.train_take(from, end, last ? 1 : 0, hashes, rate, lrUpdateRate) >>> 0;
      const why = this.#exports.train_why();
      tooLong = why === 2;
      more = why === 1;
      if (!more) break;
      Atomics.add(this.#done, 0, BigInt(this.#exports.train_local()));
      this.#exports.train_told();
    }
    this.#held = last ? 0 : end - from;
    this.#bytes.copyWithin(text, from, from + this.#held);
    return { held: this.#held, tooLong, loss: this.#exports.train_loss(), examples: this.#exports.train_examples() };
  }
}

/** What a thread's script runs. */
export function serveTrainLane(
  listen: (handler: (message: unknown) => void) => void,
  post: (message: "ready" | LaneAnswer) => void,
  fail: (error: unknown) => void,
): void {
  let lane: Lane | undefined;
  const begin = async (start: TrainLane) => {
    const { exports } = await WebAssembly.instantiate(start.module, { env: { memory: start.memory } });
    lane = new Lane(exports as unknown as DataExports, start);
    post("ready");
  };
  listen((message) => {
    if (lane) post(lane.take(message as LaneText));
    else begin(message as TrainLane).catch(fail);
  });
}
