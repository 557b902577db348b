// What a model file holds and needs, without loading it.
import { planEngine } from "../engine/draftplan.ts";
import type { MemoryPlan } from "../engine/types.ts";
import type { ModelFiles } from "../file/source.ts";
import type { NetworkOptions } from "../file/url.ts";
import type { ModelConfig } from "../model/config.ts";
import { readModel } from "../model/read.ts";
import type { SparseOption } from "../model/sparse.ts";
import { chooseBuild } from "../wasm/features.ts";
import type { EngineHost } from "../wasm/host.ts";
import { checkDraft } from "./draft.ts";
import { given, type HeadersInput } from "./given.ts";
import { engineOptions } from "./options.ts";

export interface InspectOptions {
  /** Context of the memory plan. Default: the model's own, at most 4096. */
  readonly contextSize?: number | undefined;
  readonly kvType?: "f16" | "f32" | "q8" | undefined;
  readonly threads?: number | undefined;
  /** As for load(): compressed keys take memory. */
  readonly sparse?: SparseOption | undefined;
  /** As for load(): KV caches that are planned. */
  readonly parallel?: number | undefined;
  readonly headers?: HeadersInput | undefined;
  readonly network?: NetworkOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface InspectedTensor {
  readonly name: string;
  readonly type: string;
  /** Outermost first: a linear is [out, in]. */
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly file: string;
  readonly offset: number;
}

export interface Inspection {
  readonly format: string;
  readonly config: ModelConfig;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly InspectedTensor[];
  /** Tokens of context that `memory` is for. */
  readonly contextSize: number;
  /** Bytes of each part, and in all, as load() would allocate them; drafting is load()'s default, lookup in chats. */
  readonly memory: MemoryPlan;
}

/** Closes `files`. Rejects as load() does, also for a plan beyond what WebAssembly addresses. */
export async function inspectFiles(host: EngineHost, files: ModelFiles, options: InspectOptions): Promise<Inspection> {
  try {
    const names = ["contextSize", "kvType", "threads", "sparse", "parallel", "headers", "network", "signal"];
    const { headers: _, network: __, signal, ...wanted } = given(options, names);
    const engine = { ...engineOptions(wanted), draft: checkDraft(undefined) };
    const model = await readModel(files, signal);
    const lanes = typeof engine.threads === "number" ? engine.threads : host.cores;
    const { plan } = planEngine(
      await chooseBuild(host, "auto", lanes > 1 && host.startLanes !== undefined),
      model,
      engine,
      lanes,
      {},
    );
    const tensors = model.tensors.map((t) => ({
      name: t.name,
      type: t.type,
      shape: t.shape,
      bytes: t.bytes,
      file: t.source.name,
      offset: t.offset,
    }));
    return {
      format: model.format,
      config: model.config,
      metadata: model.metadata,
      tensors,
      contextSize: plan.contextSize,
      memory: plan.memory,
    };
  } finally {
    await files.close();
  }
}
