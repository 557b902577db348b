// The wind tunnel: settings found small, losses foretold (MiniCPM4's ModelTunnel v2).
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export {
  bodyParameters,
  type CoordinateCheck,
  type CoordinateOptions,
  type Coordinates,
  coordinateCheck,
  widthShape,
} from "./coordinates.ts";
export {
  type Fit,
  type Fitter,
  fitChinchilla,
  fitPower,
  fitSigmoid,
  type LossPoint,
  type PowerPoint,
  type ScorePoint,
} from "./fits.ts";
export {
  type Bootstrap,
  type BootstrapOptions,
  bootstrap,
  chooseLaw,
  extrapolate,
  type HeldOut,
  type Interval,
  type LawTrial,
  leaveLargestOut,
  type Measured,
  type Prediction,
} from "./intervals.ts";
export { coordinatePicture, type FitPictureOptions, fitPicture, transferPicture } from "./pictures.ts";
export { type BenchItem, type ScalingBench, type ScalingBenchOptions, scalingBench } from "./scalingbench.ts";
export {
  fitStepLaw,
  type SearchRun,
  STEP_LAW,
  STEP_LAW_INTERVALS,
  type StepLawChoice,
  type StepLawFit,
  stepLaw,
} from "./steplaw.ts";
export {
  bestOf,
  meanOfSeeds,
  parametersOfPoint,
  readSweep,
  type SweepConfig,
  type SweepPoint,
  type SweepResult,
  type Transfer,
  trainingOf,
  transferOf,
} from "./sweep.ts";
