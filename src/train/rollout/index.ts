// Learning from rewards: the objective, trajectories of chunks, the loop.
export {
  advantagesOf,
  type ChosenTokens,
  type PolicyBounds,
  type PolicyLoss,
  type PolicyOptions,
  policyLoss,
} from "./objective.ts";
