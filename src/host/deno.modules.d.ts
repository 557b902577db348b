import type { Artifact } from "../engine/host.ts";

export const modules: Readonly<Record<Exclude<Artifact, "kernels64.relaxed.mt">, WebAssembly.Module>>;
