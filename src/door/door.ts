// From a platform to the functions of the package.
import { Engine, type EngineHooks } from "../engine/engine.ts";
import type { EngineHost, ModelInput } from "../engine/host.ts";
import { type InputKind, inputKind, openInput } from "../file/open.ts";
import type { ModelFiles } from "../file/source.ts";
import { readTokenizer } from "../model/read.ts";
import { EngineClient, type EngineWorker, type WireFiles } from "../port/client.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { draftOptions } from "./draft.ts";
import { type Inspection, type InspectOptions, inspectFiles } from "./inspect.ts";
import { Model } from "./model.ts";
import { engineOptions, type LoadOptions } from "./options.ts";

/** What a runtime brings: an engine host for this thread, files, and workers where they exist. */
export interface Platform {
  host(): EngineHost | Promise<EngineHost>;
  /** Opens a path; absent where there is no file system. */
  readonly openPath?: (path: string) => ModelFiles | Promise<ModelFiles>;
  /** Starts a worker that serves an engine; undefined (or absent) where that is not possible. */
  readonly startWorker?: () => Promise<EngineWorker | undefined>;
  /** What relative addresses are relative to; undefined where strings are paths. */
  readonly base?: () => string | undefined;
}

export interface ReadOptions {
  /** Sent with every request when the input is a URL. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The public functions over a platform. */
export interface Door {
  /**
   * Loads a model: a GGUF (any part of a split one) or a Hugging Face folder, from a path, URL (with HTTP ranges), Blob, bytes,
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
  const kindOf = (input: ModelInput) => inputKind(input, platform.base?.());
  const filesOf = (input: ModelInput, headers?: Readonly<Record<string, string>>) =>
    openInput(kindOf(input), platform.openPath, headers);

  return {
    async load(input, options = {}) {
      const wanted = engineOptions(options);
      const { onProgress, signal } = options;
      const hooks: EngineHooks = { ...(onProgress ? { onProgress } : {}), signal };
      signal?.throwIfAborted();
      const kind = kindOf(input);
      const { files: drafts, options: draft } = await draftOptions(
        options.draft,
        (vocabulary) => filesOf(vocabulary, options.headers),
        signal,
      );
      const draftKind = drafts === undefined ? undefined : kindOf(drafts);
      const full = { ...wanted, draft };
      const worker = options.worker === false ? undefined : await platform.startWorker?.();
      if (worker) {
        const wire = wireFiles(kind, options.headers);
        return new Model(
          await EngineClient.load(
            worker,
            wire.input,
            wire.files,
            full,
            hooks,
            draftKind && wireFiles(draftKind, options.headers),
          ),
        );
      }
      const open = (files: InputKind) => openInput(files, platform.openPath, options.headers);
      return new Model(
        await Engine.load(await platform.host(), await open(kind), full, hooks, draftKind && (await open(draftKind))),
      );
    },
    async inspect(input, options = {}) {
      return inspectFiles(await platform.host(), await filesOf(input, options.headers), options);
    },
    async loadTokenizer(input, options = {}) {
      const files = await filesOf(input, options.headers);
      try {
        return new Tokenizer((await readTokenizer(files, options.signal)).tokenizer);
      } finally {
        await files.close();
      }
    },
  };
}

/** An input as a worker is told of it: what it cannot reach by itself is served. */
function wireFiles(kind: InputKind, headers: Readonly<Record<string, string>> | undefined): WireFiles {
  switch (kind.kind) {
    case "files":
      return { input: { kind: "served", entry: kind.files.entry }, files: kind.files };
    case "url":
      return { input: { kind: "url", url: kind.url, headers }, files: undefined };
    default:
      return { input: kind, files: undefined };
  }
}
