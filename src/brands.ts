// What a value is, whichever realm made it. `instanceof` fails between realms: a test's DOM, a frame and a vm context have classes of
// their own. Bytes from outside are taken here, once: as a view of exactly what the caller gave, never as a view's whole buffer.

const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

const typedName = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!;

/** "Uint8Array" and the like; undefined for what is no typed array. Cannot be forged. */
export const typedArrayName = (value: unknown): string | undefined => typedName.call(value) as string | undefined;

export function isArrayBuffer(value: unknown): value is ArrayBufferLike {
  const tag = tagOf(value);
  return (tag === "ArrayBuffer" || tag === "SharedArrayBuffer") && !ArrayBuffer.isView(value);
}

/** An ArrayBuffer that can be transferred. */
export const isPlainBuffer = (value: unknown): value is ArrayBuffer => isArrayBuffer(value) && tagOf(value) === "ArrayBuffer";

/**
 * The bytes of a buffer, shared or not, or of any view of one (a Node Buffer, a DataView, another typed array), as a plain Uint8Array over
 * the same memory; undefined for anything else. Its `slice` copies, which a Buffer's does not.
 */
export function bytesOf(value: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return isArrayBuffer(value) ? new Uint8Array(value) : undefined;
}

/** A DataView of exactly these bytes. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A copy, in memory of its own that is not shared. */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}

export function isBlob(value: unknown): value is Blob {
  const tag = tagOf(value);
  return (
    (tag === "Blob" || tag === "File") && typeof (value as Blob).size === "number" && typeof (value as Blob).slice === "function"
  );
}

export const isUrl = (value: unknown): value is URL => tagOf(value) === "URL" && typeof (value as URL).href === "string";

export function isSignal(value: unknown): value is AbortSignal {
  const signal = value as AbortSignal | null | undefined;
  return (
    typeof signal === "object" &&
    signal !== null &&
    typeof signal.aborted === "boolean" &&
    typeof signal.addEventListener === "function" &&
    typeof signal.removeEventListener === "function"
  );
}

/** An error of any realm. */
export const isError = (value: unknown): value is Error =>
  value instanceof Error || tagOf(value) === "Error" || tagOf(value) === "DOMException";

/** How a value is called in messages: "null", "a list", "a Map", "text". Never what it holds. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "undefined";
  if (typeof value === "string") return "a text";
  if (Array.isArray(value)) return "a list";
  if (typeof value !== "object") return `a ${typeof value}`;
  const tag = tagOf(value);
  return tag === "Object" ? "an object" : `${/^[AEIO]/.test(tag) ? "an" : "a"} ${tag.slice(0, 40)}`;
}

/** An object of names and values: no list, Map, class of its own iteration, bytes or promise. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return tagOf(value) === "Object" && typeof (value as Iterable<unknown>)[Symbol.iterator] !== "function";
}

/** What `await using` looks for; where the runtime (or a vm context) has no such symbol, compilers' helpers look for this one. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);
