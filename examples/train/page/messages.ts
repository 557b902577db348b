// What the page and its worker tell each other.

/** To the worker: train beside this model, on documents of its tokens. It is ended by its end, or by { type: "stop" }. */
export type ToWorker =
  | {
      readonly type: "train";
      readonly model: Uint8Array<ArrayBuffer>;
      readonly documents: readonly (readonly number[])[];
      readonly rank: number;
      readonly updates: number;
    }
  | { readonly type: "stop" };

/** From it. `adapter`: a GGUF, also of a run that was stopped. */
export type FromWorker =
  | {
      readonly type: "progress";
      readonly update: number;
      readonly updates: number;
      readonly loss: number;
      readonly tokensPerSecond: number;
    }
  | { readonly type: "done"; readonly adapter: Uint8Array<ArrayBuffer>; readonly update: number; readonly stopped: boolean }
  | { readonly type: "failed"; readonly message: string };
