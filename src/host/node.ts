// The package in Node.
import { openDoor } from "../door/door.ts";
import { embeddedModel } from "./node.package.ts";
import { nodePlatform } from "./node.platform.ts";

export * from "../index.ts";

const door = openDoor(nodePlatform("node"));

/**
 * Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws.
 * @example
 * ```ts
 * import { defaultModel, load } from "cpm-wasm";
 *
 * await using model = await load(defaultModel, { contextSize: 512 });
 * const { text, finishReason } = await model.generate("Once upon a time", { maxTokens: 12, temperature: 0 });
 * console.log(text.startsWith(", there was"), finishReason);
 * // => true length
 * ```
 */
export const load = door.load;
/**
 * Metadata, tensors and memory plan of a model file; see {@link Door.inspect}.
 * @example
 * ```ts
 * import { defaultModel, inspect } from "cpm-wasm";
 *
 * const { config, memory } = await inspect(defaultModel, { contextSize: 256 });
 * console.log(config.layers, memory.total < 10e6);
 * // => 4 true
 * ```
 */
export const inspect = door.inspect;
/**
 * The tokenizer of a file alone; see {@link Door.loadTokenizer}.
 * @example
 * ```ts
 * import { defaultModel, loadTokenizer } from "cpm-wasm";
 *
 * const tokenizer = await loadTokenizer(defaultModel);
 * const ids = tokenizer.encode("a red ball", { bos: false });
 * console.log(tokenizer.decode(ids));
 * // => a red ball
 * ```
 */
export const loadTokenizer = door.loadTokenizer;

/** The embedded story model (int4, 2.3 MB): see models/README.md. */
export const defaultModel: URL = embeddedModel;
