// What the training wing gives on every host, beside the functions that need its module.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { memoryFiles } from "../file/bytes.ts";
export type { ModelFiles, Source } from "../file/source.ts";
export { type MemoryOutput, memoryOutput, type Output, type OutputFolder } from "../file/write/output.ts";
export type { ModelFile } from "../model/config.ts";
export { readModel } from "../model/read.ts";
export { type AdapterOptions, writeLoraGguf, writePeft } from "./adapter.ts";
export { type Batch, type PolicyRows, rowsOf, weightOf } from "./batch.ts";
export { Checkpoint, type RunState, writeCheckpoint } from "./checkpoint.ts";
export {
  type DataConfig,
  type ExportConfig,
  readConfig,
  type StageConfig,
  type StartConfig,
  type TrainConfig,
} from "./config.ts";
export { type ChatDocumentOptions, chatDocuments, textDocument } from "./documents.ts";
export { type GgufExportOptions, writeGguf } from "./export.ts";
export { Features, headBatch, type Target, targetOf } from "./features.ts";
export { Feed, type FeedOptions, type FeedSource, type FeedState } from "./feed.ts";
export { defaultExports, exportTrained, type Outputs } from "./finish.ts";
export type { FloatType } from "./floats.ts";
export { type ExportTensor, type FolderParts, folderFiles, folderParts, type Written, writeFolder } from "./folder.ts";
export type { Objective } from "./graph.ts";
export type { HeldOutEntry, LogEntry, SampleEntry, UpdateEntry } from "./log.ts";
export type { Machine } from "./machine.ts";
export { type Dequantise, kernelDequantiser, setWeights, shapeOfModel, type WeightOptions, weightsOfModel } from "./model.ts";
export type { OptimiserOptions } from "./optimiser.ts";
export type { ComputeOptions } from "./platform.ts";
export { type DataRecord, type PrepareContext, type Prepared, type PrepareOptions, prepare } from "./prepare.ts";
export { type ReportAbout, reportPage } from "./report.ts";
export * from "./rollout/index.ts";
export { runTraining } from "./run.ts";
export type { RunHooks, RunInput, RunProgress, RunResult, RunStart } from "./running.ts";
export { rateAt, type Schedule } from "./schedule.ts";
export { normal, scratchModel, type TokenizerParts, tokenizerParts, uniform } from "./scratch.ts";
export {
  eagle3Tensors,
  eagleTensors,
  loraTensors,
  modelTensors,
  mtpTensors,
  mupScales,
  type TensorShape,
  type TrainShape,
} from "./shape.ts";
export { Shard, type ShardFacts, ShardWriter, type TokenDocument } from "./shards.ts";
export { memoryStore, type RunStore } from "./store.ts";
export { modelExport, parametersOf, trainedTensors } from "./tensors.ts";
export { type TernaryType, ternaryGguf } from "./ternaryfile.ts";
export { type Losses, type StepResult, Trainer, type TrainerOptions } from "./trainer.ts";
