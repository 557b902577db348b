import type { Artifact } from "../wasm/host.ts";

export const modules: Readonly<Record<Exclude<Artifact, "kernels64.relaxed.mt">, WebAssembly.Module>>;
