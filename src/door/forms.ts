// Constraints and tools, which some entries leave out: a third of the package's code that computes nothing in most pages.
import { constraintOf, newConstraint } from "./constraint.ts";
import { toolPlan } from "./tools.ts";

export interface Forms {
  readonly newConstraint: typeof newConstraint;
  readonly constraintOf: typeof constraintOf;
  readonly toolPlan: typeof toolPlan;
}

export const forms: Forms = { newConstraint, constraintOf, toolPlan };
