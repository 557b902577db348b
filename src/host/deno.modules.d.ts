import type { Artifact } from "../engine/host.ts";

export const modules: Readonly<Record<Artifact, WebAssembly.Module>>;
