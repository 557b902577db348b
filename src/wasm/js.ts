// WebAssembly's own types where a program's lib has them (dom, webworker), and stand-ins where it has none. The build puts these names
// into the declarations that it writes, so that they compile without lib "dom"; sources say WebAssembly.Module and so on.

type Of<Name extends string, Instead> = typeof globalThis extends {
  WebAssembly: { readonly [name in Name]: { prototype: infer Instance } };
}
  ? Instance
  : Instead;

export type WasmModule = Of<"Module", object>;
export type WasmInstance = Of<"Instance", { readonly exports: Record<string, unknown> }>;
export type WasmMemory = Of<"Memory", { readonly buffer: ArrayBuffer; grow(delta: number): number }>;
export type WasmTable = Of<"Table", { readonly length: number }>;
/** `Kind` is for readers alone. */
export type WasmGlobal<Kind = unknown> = Of<"Global", { value: Kind extends string ? number | bigint : unknown }>;
