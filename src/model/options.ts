// What loading a model is told, and what it tells.
import type { Form } from "../wasm/abi.ts";
import type { Variant } from "../wasm/host.ts";
import type { RopeFactors } from "./longrope.ts";
import type { SparseOption } from "./sparse.ts";

export type KvType = "f16" | "f32" | "q8";

/** One step of loading. `phase` order: open, plan, weights, ready. */
export interface LoadProgress {
  /** "download" comes first, for a model that is pulled by its name. */
  readonly phase: "download" | "open" | "plan" | "weights" | "ready";
  /** Bytes of the model file read so far, and in all (0 while unknown). */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Tensor being read, in phase "weights". */
  readonly tensor?: string;
}

export interface EngineOptions {
  readonly contextSize: number | undefined;
  readonly kvType: KvType;
  readonly threads: number | "auto";
  readonly variant: Variant | "auto";
  /** How integer kernels are spelled; absent or "auto": the fastest way here. */
  readonly form?: Form | "auto" | undefined;
  /** Compile with the engine's experimental 256-bit vectors, after checking their results. */
  readonly turbo: boolean;
  /** 64-bit memory: where the model does not fit 32 bits ("auto"), always, or never. */
  readonly memory64?: boolean | "auto" | undefined;
  /** Rows per forward step, at most. */
  readonly batchSize: number;
  /** Refuse to load when the plan needs more. */
  readonly maxMemoryBytes: number | undefined;
  /** Sparse attention; undefined: as the model file says. */
  readonly sparse?: SparseOption | undefined;
  /** LongRoPE factors in place of the model's own. */
  readonly ropeFactors?: RopeFactors | undefined;
  /** Absent: nothing drafts. */
  readonly draft?: DraftOptions | undefined;
  /** Generations that run at once, and that wait beyond those; see LoadOptions. */
  readonly parallel?: number | undefined;
  readonly queue?: number | undefined;
  /** Finished texts that stay, in bytes beyond the planned caches; 0: none stay. */
  readonly cacheBytes?: number | undefined;
  /** LoRA adapters, whose files come beside the model's in the same order: names, and how much of each where nothing else is said. */
  readonly lora?: readonly { readonly name: string; readonly scale: number }[] | undefined;
}

export interface TreeOptions {
  /** Levels of the tree, tokens tried after each node, nodes in all with the root. Width 1 is a chain. */
  readonly depth: number;
  readonly width: number;
  readonly size: number;
  /** What drafts for the drafter: lookup, or a model whose files come last. Of chains alone. */
  readonly front?: "lookup" | "model" | undefined;
}

export interface EagleOptions extends TreeOptions {
  /** Tokens that the head may propose (FR-Spec); undefined: all. */
  readonly vocabulary: readonly number[] | undefined;
  /** Tokens that the head looks back on, 0 for all. */
  readonly window: number;
  /** How its float linears are kept: see EagleInput. Absent: "auto". */
  readonly weights?: "auto" | "float" | "int8" | undefined;
  /** The head is an MTP layer. */
  readonly mtp?: MtpStates | undefined;
}

/** Which hidden states an MTP layer is fed: before or after the final norm, the target's and its own; where its chains end. */
export interface MtpStates {
  readonly target: "post" | "pre";
  readonly own: "post" | "pre";
  readonly least: number;
}

/** What drafts, and how. "chat": prompt lookup in chats only, the default. */
export interface DraftOptions {
  /** Propose what followed earlier in the text; beside another drafter, its candidates join the tree. */
  readonly lookup: "on" | "chat" | "off";
  /** Draft with a small model of the same vocabulary, whose files come beside the model's. */
  readonly model: TreeOptions | undefined;
  /** Draft with an EAGLE head, whose files come beside the model's. */
  readonly eagle: EagleOptions | undefined;
  /** Choose how much to verify by what it costs and brings here; false verifies all that is proposed. */
  readonly adaptive: boolean;
  /** Most tokens of a tree, the root included. */
  readonly size: number;
}

/** Bytes of each part of the memory plan. */
export interface MemoryPlan {
  readonly weights: number;
  readonly kvCache: number;
  readonly activations: number;
  readonly stacks: number;
  /** What drafts: an index, a head or a model, with the cache of one session. */
  readonly draft: number;
  readonly total: number;
}
