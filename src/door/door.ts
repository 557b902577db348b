// From a platform to the functions of the package.
import { isBlob } from "../brands.ts";
import type { EngineHooks } from "../engine/engine.ts";
import type { LoadProgress } from "../engine/types.ts";
import { typed } from "../errors.ts";
import { memoryFiles } from "../file/bytes.ts";
import type { NetworkOptions } from "../file/http.ts";
import type { ModelInput } from "../file/kind.ts";
import { type InputKind, inputKind } from "../file/kind.ts";
import { abortable, type ModelFiles } from "../file/source.ts";
import { EngineClient, type EngineWorker, type WireFiles } from "../port/client.ts";
import { withSignals } from "../signals.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { EngineHost } from "../wasm/host.ts";
import { draftOptions } from "./draft.ts";
import type { Forms } from "./forms.ts";
import { given, guarded, type HeadersInput, withoutNulls } from "./given.ts";
import type { Inspection, InspectOptions } from "./inspect.ts";
import { loraInputs } from "./lora.ts";
import { Model } from "./model.ts";
import { engineOptions, type LoadOptions, networkOptions } from "./options.ts";

/** What a runtime brings: an engine host for this thread, files, and workers where they exist. */
export interface Platform {
  host(): EngineHost | Promise<EngineHost>;
  /** Opens a path; absent where there is no file system. */
  readonly openPath?: (path: string) => ModelFiles | Promise<ModelFiles>;
  /** Starts a worker that serves an engine; undefined (or absent) where that is not possible. */
  readonly startWorker?: () => Promise<EngineWorker | undefined>;
  /** What relative addresses are relative to; undefined where strings are paths. */
  readonly base?: () => string | undefined;
  /** Where a model named as on a hub ("hf:org/repo") lies, pulled if need be; other inputs as they are. */
  readonly byName?: (
    model: ModelInput,
    options: {
      readonly network?: NetworkOptions | undefined;
      readonly signal?: AbortSignal | undefined;
      readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
    },
  ) => Promise<ModelInput>;
  /** Paths are those of Windows. */
  readonly windows?: boolean;
  /** What works in the caller's own thread: at once, or loaded when it is used. */
  readonly here: () => Here | Promise<Here>;
  /** Constraints and tools; absent in entries that leave them out. */
  readonly forms?: Forms;
}

type Here = typeof import("./here.ts");

export interface ReadOptions {
  /** Sent with every request when the input is a URL: a record, Headers, or pairs. */
  readonly headers?: HeadersInput | undefined;
  /** How long a server may take, when the input is a URL. */
  readonly network?: NetworkOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The public functions over a platform. */
export interface Door {
  /**
   * Loads a model: a GGUF (any part of a split one) or a Hugging Face folder, from a name on the hub ("hf:org/repo:Q4_0"; not on
   * edge runtimes), a path, URL (with HTTP ranges), Blob, bytes,
   * named Blobs or bytes, or ModelFiles of your own. Weights are packed while they stream in.
   * Rejects with CpmError: "bad-model" (with the byte offset or field), "unsupported", "io", "out-of-memory", "bad-option",
   * "bad-input"; or with the signal's reason.
   */
  load(model: ModelInput, options?: LoadOptions): Promise<Model>;
  /** Metadata, tensors and memory plan of a model file, without reading its weights. Rejects as load() does. */
  inspect(model: ModelInput, options?: InspectOptions): Promise<Inspection>;
  /** The tokenizer alone: of a model, a vocabulary-only GGUF, tokenizer.json or tokenizer.model. Rejects as load() does. */
  loadTokenizer(input: ModelInput, options?: ReadOptions): Promise<Tokenizer>;
}

export function openDoor(platform: Platform): Door {
  const kindOf = (input: ModelInput, network: Network): InputKind => {
    const kind = inputKind(input, platform.base?.(), platform.windows);
    return kind.kind === "url" ? { ...kind, ...network } : kind;
  };
  const open = async (kind: InputKind) => (await platform.here()).openInput(kind, platform.openPath);

  const byName: NonNullable<Platform["byName"]> = async (model, options) => (await platform.byName?.(model, options)) ?? model;

  async function start(model: ModelInput, given: LoadOptions, hooks: EngineHooks & { readonly signal: AbortSignal }) {
    const options = engineOptions(given);
    const network = networkOptions(given);
    hooks.signal.throwIfAborted();
    const named = { network: given.network, signal: hooks.signal, onProgress: hooks.onProgress };
    const kind = kindOf(await byName(model, named), network);
    const vocabulary = async (files: ModelInput) => abortable(await open(kindOf(files, network)), hooks.signal);
    const draft = await draftOptions(given.draft, vocabulary, hooks.signal);
    const draftKind = draft.files === undefined ? undefined : kindOf(await byName(draft.files, named), network);
    const frontKind = draft.front === undefined ? undefined : kindOf(await byName(draft.front, named), network);
    const full = { ...options, draft: draft.options };
    const loraKinds: InputKind[] = [];
    for (const { input } of loraInputs(given.lora)) loraKinds.push(kindOf(await byName(input, named), network));
    const worker = given.worker === false ? undefined : await platform.startWorker?.();
    if (worker) {
      const wire = wireFiles(kind);
      const beside = {
        draft: draftKind && wireFiles(draftKind),
        front: frontKind && wireFiles(frontKind),
        lora: loraKinds.map(wireFiles),
      };
      return EngineClient.load(worker, wire.input, wire.files, full, hooks, beside);
    }
    const { Engine } = await platform.here();
    const loras: ModelFiles[] = [];
    for (const lora of loraKinds) loras.push(await open(lora));
    const [drafts, fronts] = [draftKind && (await open(draftKind)), frontKind && (await open(frontKind))];
    return Engine.load(await platform.host(), await open(kind), full, hooks, drafts, loras, fronts);
  }

  return {
    async load(input, given) {
      const options = withoutNulls(given);
      engineOptions(options);
      const failed = new AbortController();
      const onProgress = guarded(options.onProgress, (error) => failed.abort(error));
      return withSignals([options.signal, failed.signal], async (signal) => {
        const engine = await start(input, options, { ...(onProgress ? { onProgress } : {}), signal }).catch((error: unknown) => {
          throw typed(error);
        });
        if (!failed.signal.aborted) return new Model(engine, platform.forms);
        await engine.close();
        throw failed.signal.reason;
      });
    },
    async inspect(input, given) {
      const options = withoutNulls(given);
      const files = guarding(
        await open(kindOf(await byName(input, { network: options.network, signal: options.signal }), networkOptions(options))),
        options.signal,
      );
      const { inspectFiles } = await platform.here();
      return inspectFiles(await platform.host(), files, options).catch((error: unknown) => {
        throw typed(error);
      });
    },
    async loadTokenizer(input, options) {
      const { signal, ...network } = given(options, ["headers", "network", "signal"]);
      const files = guarding(
        await open(kindOf(await byName(input, { network: network.network, signal }), networkOptions({ ...network, signal }))),
        signal,
      );
      try {
        const { readTokenizer } = await platform.here();
        return new Tokenizer((await readTokenizer(files, signal)).tokenizer);
      } catch (error) {
        throw typed(error);
      } finally {
        await files.close();
      }
    },
  };
}

const guarding = (files: ModelFiles, signal: AbortSignal | undefined) => (signal ? abortable(files, signal) : files);

type Network = ReturnType<typeof networkOptions>;

/** Whether a worker gets this Blob when it is sent: one over a file does not, nor does one that a test's DOM made. */
function isCloneable(blob: Blob): boolean {
  try {
    return isBlob(structuredClone(blob)) && structuredClone(blob).size === blob.size;
  } catch {
    return false;
  }
}

/** An input as a worker is told of it: what it cannot reach by itself is served. */
function wireFiles(kind: InputKind): WireFiles {
  switch (kind.kind) {
    case "files":
      return { input: { kind: "served", entry: kind.files.entry }, files: kind.files };
    case "url":
      return { input: { headers: undefined, ...kind }, files: undefined };
    case "blobs":
      if (Object.values(kind.files).every(isCloneable)) return { input: { ...kind, files: { ...kind.files } }, files: undefined };
      return { input: { kind: "served", entry: kind.entry }, files: memoryFiles(kind.entry, kind.files) };
    default:
      return { input: kind, files: undefined };
  }
}
