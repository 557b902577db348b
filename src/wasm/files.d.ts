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

// Scripts as text, to start workers from: src/build.mjs writes them.
declare module "*.text.js" {
  const text: string;
  export default text;
}
