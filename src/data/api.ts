// What the data wing gives on every host, beside the functions that need its module.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export {
  type AnnealOptions,
  type AnnealPlan,
  type AnnealResult,
  type AnnealRun,
  annealRuns,
  comparePairs,
  type PairedComparison,
  studentQuantile,
  studentTail,
  verifyData,
} from "./anneal.ts";
export type { Classifier, LinePrediction, LineScorer, Prediction, ScoreOptions } from "./classifier.ts";
export {
  type CleanOptions,
  type CleanReport,
  count,
  type DropReason,
  earlyVerdict,
  emptyReport,
  mergeReports,
  reportPicture,
  type Verdict,
  verdictOf,
} from "./clean.ts";
export type { ClassifierInput, DataDoor } from "./data.ts";
export {
  BANDS,
  type DedupKind,
  type Deduplicator,
  type Fingerprint,
  type Fingerprints,
  FUNCTIONS,
  type MinHash,
  similarity,
} from "./dedup.ts";
export type { Loss } from "./fasttext.ts";
export { FirstRecords } from "./firsts.ts";
export type { FoldOptions } from "./fold.ts";
export {
  type AlpacaRecord,
  fromShareGpt,
  type MessagesRecord,
  type ShareGptRecord,
  type ShareGptTurn,
  toAlpaca,
  toShareGpt,
} from "./formats.ts";
export { type HeuristicReason, type Heuristics, heuristicReason, repetition, symbols } from "./heuristics.ts";
export { type Line, linesOf, parseRecord, type TextRecord, textOf, withFields } from "./jsonlines.ts";
export type { ClassifierOptions } from "./load.ts";
export { finish, normalise, type PieceTokenizer, Preprocessor } from "./preprocess.ts";
export {
  type Decision,
  decide,
  languageOf,
  QualityFilter,
  type QualityOptions,
  type TunedThreshold,
  tuneThreshold,
} from "./quality.ts";
export type { Trained, TrainOptions, TrainProgress } from "./train.ts";
