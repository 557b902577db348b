// What crosses between a client and the worker that its engine lives in. Plain data; engine methods by name.

import { bytesOf, copyOf, isError, isPlainBuffer, typedArrayName } from "../brands.ts";
import type { EngineOptions } from "../engine/types.ts";
import { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
import type { NetworkOptions } from "../file/url.ts";
import { reasonOf } from "../shown.ts";
import type { Lane } from "../wasm/lane.ts";

/** A two-way channel. Messages are structured clones; `transfer` moves buffers instead of copying them. */
export interface Port {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  listen(handler: (message: unknown) => void): void;
}

/** A model as the worker opens it: by itself, or through reads that the client answers ("served"). */
export type WireInput =
  | { readonly kind: "path"; readonly path: string }
  | {
      readonly kind: "url";
      readonly url: string;
      readonly headers: Readonly<Record<string, string>> | undefined;
      readonly network?: NetworkOptions | undefined;
    }
  | { readonly kind: "blobs"; readonly entry: string; readonly files: Readonly<Record<string, Blob>> }
  | { readonly kind: "served"; readonly entry: string };

/** Methods of EngineApi that are called by name; "load" comes first, once. */
export type CallName =
  | "open"
  | "forward"
  | "trace"
  | "profile"
  | "generate"
  | "embed"
  | "tokens"
  | "truncate"
  | "copy"
  | "save"
  | "restore"
  | "closeSession"
  | "close";

/** Files beside the model's are served under names that begin so: of the draft, of what drafts for that, and of each adapter. */
export const DRAFT_PREFIX = "draft:";
export const FRONT_PREFIX = "front:";
export const loraPrefix = (index: number): string => `lora${index}:`;

export type ToWorker =
  | {
      readonly type: "load";
      readonly id: number;
      readonly input: WireInput;
      readonly options: EngineOptions;
      /** What drafts: a head or a small model. */
      readonly draft: WireInput | undefined;
      /** A model that drafts for it. */
      readonly front?: WireInput | undefined;
      /** Adapters, in the order of options.lora. */
      readonly lora?: readonly WireInput[] | undefined;
    }
  | { readonly type: "call"; readonly id: number; readonly method: CallName; readonly args: readonly unknown[] }
  | { readonly type: "abort"; readonly id: number }
  | { readonly type: "hold"; readonly id: number; readonly held: boolean }
  | { readonly type: "served"; readonly id: number; readonly value?: unknown; readonly error?: WireError }
  | { readonly type: "lanes-started"; readonly error?: WireError };

/** What happened in a call, or a load. */
export interface WireEvent {
  readonly id: number;
  readonly event: "progress" | "begin" | "part" | "prefill";
  readonly value: unknown;
}

export type ToClient =
  | { readonly type: "result"; readonly id: number; readonly value: unknown }
  | { readonly type: "error"; readonly id: number; readonly error: WireError }
  | { readonly type: "events"; readonly events: readonly WireEvent[] }
  | { readonly type: "serve"; readonly id: number; readonly request: FileRequest }
  | { readonly type: "start-lanes"; readonly lanes: readonly Lane[] };

/** A read that the client does for the worker. `open` answers { name, size } or undefined. */
export type FileRequest =
  | { readonly what: "open"; readonly name: string }
  | { readonly what: "read"; readonly name: string; readonly offset: number; readonly length: number }
  | { readonly what: "close" };

export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code?: ErrorCode;
  readonly detail?: ErrorDetail;
}

export function packError(error: unknown): WireError {
  if (!isError(error)) return { name: "Error", message: reasonOf(error), stack: undefined };
  const wire = { name: error.name, message: error.message, stack: error.stack };
  return error instanceof CpmError ? { ...wire, code: error.code, detail: error.detail } : wire;
}

/** The error as it was thrown: same class, message and stack. */
export function unpackError(wire: WireError): Error {
  const classes: Record<string, ErrorConstructor> = { TypeError, RangeError };
  const error = wire.code
    ? new CpmError(wire.code, wire.message, wire.detail)
    : wire.name === "RuntimeError"
      ? new WebAssembly.RuntimeError(wire.message)
      : new (classes[wire.name] ?? Error)(wire.message);
  if (wire.stack) error.stack = wire.stack;
  return error;
}

const arrayTypes = { Uint8Array, Int32Array, Float32Array };

/** A typed array on its way. */
interface WireArray {
  readonly array: keyof typeof arrayTypes;
  readonly buffer: ArrayBuffer;
}

/**
 * What a message carries for `value`, and the buffers that move with it: the caller loses them. A typed array goes as its
 * bare buffer, since Deno's worker threads look at every element of a view (0.1 s for a MiB).
 */
export function packValue(value: unknown): { value: unknown; transfer: ArrayBuffer[] } {
  const array = typedArrayName(value) as keyof typeof arrayTypes | undefined;
  if (!array || !Object.hasOwn(arrayTypes, array)) return { value, transfer: [] };
  const view = value as Uint8Array | Int32Array | Float32Array;
  // Only a buffer that is all the value's is given away.
  const { buffer: all, byteLength } = view;
  const buffer = isPlainBuffer(all) && byteLength === all.byteLength ? all : copyOf(bytesOf(view)!).buffer;
  return { value: { array, buffer } satisfies WireArray, transfer: [buffer] };
}

export function unpackValue(value: unknown): unknown {
  const wire = value as Partial<WireArray> | undefined | null;
  return isPlainBuffer(wire?.buffer) && wire.array ? new arrayTypes[wire.array](wire.buffer) : value;
}
