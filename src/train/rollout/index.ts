// Learning from rewards: the objective, trajectories of chunks, the loop.

export { type RolloutConfig, readRolloutConfig } from "./config.ts";
export { type Advance, idleShare, type ModelEngineOptions, modelEngine, type RolloutEngine, type RolloutWork } from "./engine.ts";
export type { Filters, RolloutPrompt } from "./groups.ts";
export { type JobEngineOptions, jobEngine, type RolloutJob, type RolloutJobResult, runRolloutJob } from "./jobs.ts";
export { Learner, type LearnerOptions, type LearnerParts, type LearnerSection, type LearnerStep } from "./learner.ts";
export {
  advantagesOf,
  type ChosenTokens,
  type PolicyBounds,
  type PolicyLoss,
  type PolicyOptions,
  policyLoss,
} from "./objective.ts";
export { type Lesson, type Packed, packLessons } from "./pack.ts";
export { rolloutPage } from "./page.ts";
export { rolloutPicture } from "./pictures.ts";
export { exactReward, isGarbled, type Reward, verifierReward } from "./rewards.ts";
export { type RolloutEntry, type RolloutHooks, type RolloutInput, rowLength, runRollout } from "./run.ts";
export { type Chunk, extended, lengthOf, responseLogp, responseTokens, type Trajectory } from "./trajectory.ts";
