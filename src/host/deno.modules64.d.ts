export const kernels64: WebAssembly.Module;
