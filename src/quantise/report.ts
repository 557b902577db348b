// What a run tells at its end, and what it keeps to be taken up again.
import type { Quantised } from "./method.ts";

export interface TensorReport {
  readonly name: string;
  readonly type: string;
  readonly how: Quantised["how"];
  readonly elements: number;
  readonly bytes: number;
  /** Sum of squared differences over the sum of squares. */
  readonly relativeError: number;
  /** With error feedback: mean squared error of the output over the calibration rows, in the damped metric. */
  readonly loss?: number | undefined;
}

export interface QuantizeReport {
  readonly tensors: readonly TensorReport[];
  readonly warnings: readonly string[];
  /** Of the tensors. */
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** Layers that an earlier run had done. */
  readonly resumedAt: number;
  /** With the option: the tokens that calibration began with, and the massive ones a sequence that asked for them. */
  readonly prefix?: { readonly tokens: readonly number[]; readonly outliers: number | undefined } | undefined;
}

export interface State {
  readonly settings: string;
  /** Layers that are done; -1: not even what lies outside them. */
  readonly layers: number;
  readonly done: readonly string[];
  readonly reports: readonly TensorReport[];
  readonly warnings: readonly string[];
}

/** Of what is kept, and of everything that decides about bytes: goes up with each change of either. */
export const STATE_VERSION = 2;

/** What an earlier run has kept, if its settings were these. */
export function readState(text: string | undefined, settings: string): State | undefined {
  try {
    const state = text === undefined ? undefined : (JSON.parse(text) as State);
    return state?.settings === settings ? state : undefined;
  } catch {
    // A state that is no JSON is none.
    return undefined;
  }
}
