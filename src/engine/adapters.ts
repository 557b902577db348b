// Which LoRA adapters a sequence's tokens are computed with. What a cache holds belongs to them: equal sets are one object, and only
// sequences of one set share anything.
import { CpmError } from "../errors.ts";
import type { LoadedLora } from "../model/loraload.ts";
import { STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { Arena } from "../wasm/memory.ts";

/** An adapter by its number, and how much of it. */
export interface AdapterUse {
  readonly index: number;
  readonly scale: number;
}

/** Adapters that are used together; undefined stands for none. */
export interface AdapterSet {
  /** Address of the LoraSet struct. */
  readonly at: number;
  readonly bytes: number;
  readonly uses: readonly AdapterUse[];
  /** Sequences of it. */
  users: number;
}

export class Adapters {
  readonly #arena: Arena;
  readonly #loaded: readonly LoadedLora[];
  readonly #defaults: readonly AdapterUse[];
  readonly #sets = new Map<string, AdapterSet>();

  /** `scales`: of every adapter, where nothing else is asked for. */
  constructor(arena: Arena, loaded: readonly LoadedLora[], scales: readonly number[]) {
    this.#arena = arena;
    this.#loaded = loaded;
    this.#defaults = scales.map((scale, index) => ({ index, scale }));
  }

  /** The set of these uses; absent: of all adapters at their scales. Scale 0 is none. */
  set(given: readonly AdapterUse[] = this.#defaults): AdapterSet | undefined {
    const uses = given
      .map(({ index, scale }) => ({ index, scale: Math.fround(scale) }))
      .filter(({ scale }) => scale !== 0)
      .sort((a, b) => a.index - b.index);
    if (uses.length === 0) return undefined;
    const key = uses.map(({ index, scale }) => `${index}:${scale}`).join();
    const known = this.#sets.get(key);
    if (known) return known;
    const distinct = new Set(uses.map(({ index }) => index)).size === uses.length;
    if (!distinct || uses.some(({ index, scale }) => !this.#loaded[index] || !Number.isFinite(scale)))
      throw new CpmError("bad-option", "lora: expected adapters that were loaded, each once", { field: "lora" });
    this.#forget();
    const bytes = STRUCT_BYTES.loraSet + STRUCT_BYTES.loraUse * uses.length;
    const at = this.#arena.take(bytes);
    const width = uses.reduce((sum, { index }) => sum + this.#loaded[index]!.width, 0);
    const writer = new StructWriter(this.#arena.memory.buffer, at).ints(uses.length, width).words(at + STRUCT_BYTES.loraSet);
    for (const { index, scale } of uses) writer.words(this.#loaded[index]!.at).floats(scale).ints(0);
    const set = { at, bytes, uses, users: 0 };
    this.#sets.set(key, set);
    return set;
  }

  /** Gives back what no sequence uses any more. */
  #forget(): void {
    for (const [key, set] of this.#sets) {
      if (set.users > 0) continue;
      this.#sets.delete(key);
      this.#arena.free(set.at, set.bytes);
    }
  }

  /** What a saved session says of its adapters: each one's fingerprint and scale. */
  saved(set: AdapterSet | undefined): { readonly fingerprint: bigint; readonly scale: number }[] {
    return (set?.uses ?? []).map(({ index, scale }) => ({ fingerprint: this.#loaded[index]!.fingerprint, scale }));
  }

  /** The set that saved() told of; "unknown" where one of them is not loaded here. */
  restored(list: readonly { readonly fingerprint: bigint; readonly scale: number }[]): AdapterSet | "unknown" | undefined {
    const uses = list.map(({ fingerprint, scale }) => ({
      index: this.#loaded.findIndex((lora) => lora.fingerprint === fingerprint),
      scale,
    }));
    const distinct = new Set(uses.map(({ index }) => index)).size === uses.length;
    if (!distinct || uses.some(({ index, scale }) => index < 0 || !Number.isFinite(scale))) return "unknown";
    return this.set(uses);
  }
}
