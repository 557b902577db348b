// The converting wing: Hugging Face folders to GGUF and back, without a value changed.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export type { ModelFiles, Source } from "../file/source.ts";
export { type MemoryOutput, memoryOutput, type Output, type OutputFolder } from "../file/write/output.ts";
export type { Converted, ConvertOptions, ConvertProgress } from "./progress.ts";
export { toFolder } from "./tofolder.ts";
export { toGguf } from "./togguf.ts";
