// The measuring wing: what a model lost, in numbers that llama.cpp's tools agree with; what it finds in long texts; tasks of one's own.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { type HeatMap, heatMap } from "./heatmap.ts";
export { type KlBase, type KlRow, type KlShape, klFileSize, openKlBase } from "./klfile.ts";
export {
  type LongText,
  type LongTextMaker,
  type NeedlePlan,
  type NeedleValue,
  needleSentence,
  needleTexts,
} from "./long/needles.ts";
export { type LongKind, type LongKindOptions, longKinds, longTexts } from "./long/ruler.ts";
export {
  type GridCell,
  type LongResult,
  type LongTasks,
  type LongTasksOptions,
  longTasks,
  type NeedleGrid,
  type NeedleGridOptions,
  needleGrid,
} from "./long/run.ts";
export type { Miss } from "./long/why.ts";
export {
  type ChunkPerplexity,
  type KlInput,
  type Perplexity,
  type PerplexityOptions,
  type PerplexityProgress,
  type PositionPerplexity,
  perplexity,
} from "./perplexity.ts";
export { perplexityPicture } from "./pictures.ts";
export type { EvalProgress, ItemOptions } from "./progress.ts";
export { Random } from "./random.ts";
export type { Divergence, Estimate } from "./statistics.ts";
export {
  type ChoiceTask,
  type CodeTask,
  type EvalTask,
  type ExactTask,
  type MatchName,
  readTasks,
  type TaskKind,
  taskOf,
} from "./tasks/read.ts";
export { type EvaluateOptions, type Evaluation, evaluateTasks, type TaskResult, type TaskScore } from "./tasks/run.ts";
