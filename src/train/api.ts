// What the training wing gives on every host, beside the functions that need its module.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { type Batch, rowsOf, weightOf } from "./batch.ts";
export type { Objective } from "./graph.ts";
export type { Machine } from "./machine.ts";
export type { OptimiserOptions } from "./optimiser.ts";
export type { ComputeOptions } from "./platform.ts";
export { rateAt, type Schedule } from "./schedule.ts";
export { eagleTensors, loraTensors, modelTensors, mtpTensors, mupScales, type TensorShape, type TrainShape } from "./shape.ts";
export { type Losses, type StepResult, Trainer, type TrainerOptions } from "./trainer.ts";
