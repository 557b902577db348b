// What the page and its worker tell each other.

/** What is trained: a GGUF adapter, or a head's safetensors. */
export type Kind = "adapter" | "head";

/** To the worker: train beside this model, on documents of its tokens. It is ended by its end, or by { type: "stop" }. */
export type ToWorker =
  | {
      readonly type: "train";
      readonly kind: Kind;
      readonly model: Uint8Array<ArrayBuffer>;
      readonly documents: readonly (readonly number[])[];
      /** Of an adapter. */
      readonly rank: number;
      readonly updates: number;
    }
  | { readonly type: "stop" };

/** From it. `file`: what was trained, also of a run that was stopped. */
export type FromWorker =
  | {
      readonly type: "progress";
      readonly update: number;
      readonly updates: number;
      readonly loss: number;
      readonly tokensPerSecond: number;
    }
  | { readonly type: "done"; readonly file: Uint8Array<ArrayBuffer>; readonly update: number; readonly stopped: boolean }
  | { readonly type: "failed"; readonly message: string };
