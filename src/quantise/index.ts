// What the quantiser's entrance tells of, whatever the host.
export type { Calibration, CalibrationChat } from "./calibration.ts";
export { type Destination, type MemoryDestination, memoryDestination, type Store } from "./destination.ts";
export { HESSIANS, type HessianForm } from "./hessian.ts";
export { type Imatrix, legacyImatrix, readImatrix, writeImatrix } from "./imatrix.ts";
export { METHODS, type Method } from "./method.ts";
export { quantizePicture } from "./picture.ts";
export type { QuantizeProgress } from "./progress.ts";
export type { CommonOptions, ImatrixOptions, QuantizeOptions } from "./quantize.ts";
export { TARGETS, type Target } from "./recipe.ts";
export type { QuantizeReport, TensorReport } from "./report.ts";
