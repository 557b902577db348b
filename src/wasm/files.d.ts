// workerd and its bundlers give a compiled module for an imported .wasm file.
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

// The same in base64, for scripts that carry it themselves: see src/wasm/inline.ts.
declare module "*.wasm.js" {
  const text: string;
  export default text;
}
