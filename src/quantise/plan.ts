// What each tensor becomes, before anything is computed.
import { CpmError } from "../errors.ts";
import type { HessianForm } from "./hessian.ts";
import type { Method } from "./method.ts";
import { fittingType, Keeps, recipeType, type Target } from "./recipe.ts";
import type { OpenedSource, SourceTensor } from "./source.ts";
import type { TensorPlan } from "./targets.ts";

export interface RunSettings {
  readonly type: Target;
  readonly method: Method;
  readonly group: number;
  readonly damp: number;
  readonly actOrder: boolean;
  readonly hessian: HessianForm;
  /** Rows that products of inputs are summed over, of all that there are, and the seed that draws them. */
  readonly hessianRows: number | undefined;
  readonly seed: number;
  readonly skip: number;
  readonly version: 1 | 2;
  readonly keep: readonly (readonly [string, string])[];
}

/** What each tensor becomes. @throws CpmError "bad-option" for patterns that fit none and groups that do not divide the columns. */
export function planTensors(
  source: OpenedSource,
  s: RunSettings,
  weighted: boolean,
  warn: (message: string) => void,
): TensorPlan[] {
  const keeps = new Keeps(s.keep);
  const layers = source.model.config.layers;
  const plans = source.tensors.map((t): TensorPlan => {
    if (t.tensor.shape.length !== 2 || t.role.kind === "other") return { ...t, form: "copy" };
    return { ...t, form: formOf(t, s, layers, keeps, weighted, warn) };
  });
  keeps.checkUsed();
  return plans;
}

function formOf(
  t: SourceTensor,
  s: RunSettings,
  layers: number,
  keeps: Keeps,
  weighted: boolean,
  warn: (message: string) => void,
): Exclude<TensorPlan["form"], "copy"> {
  const cols = t.tensor.shape[1]!;
  const kept = keeps.typeOf(t.name);
  if (s.type === "int4") {
    if (kept && kept !== "F16")
      throw new CpmError("bad-option", `keep: a GPTQ folder has int4 and F16 tensors, no ${kept} (${t.name})`, {
        field: "keep",
        found: kept,
      });
    if (kept || t.role.kind === "embedding" || t.role.kind === "head") return { blocks: "F16" };
    if (cols % s.group)
      throw new CpmError(
        "bad-option",
        `group: ${t.name} has rows of ${cols}, which ${s.group} does not divide; choose another group, or --keep it`,
        { field: "group", expected: `a divisor of ${cols}`, found: String(s.group) },
      );
    return { int4: s.group };
  }
  const wanted = kept ?? recipeType(s.type, t.role, layers, weighted);
  const type = fittingType(wanted, cols);
  if (type !== wanted) warn(`${t.name}: rows of ${cols} are no whole blocks of ${wanted}; it becomes ${type}`);
  return { blocks: type };
}
