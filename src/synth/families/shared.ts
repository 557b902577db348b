// What several families ask and check.
import { type Verdict, verdict } from "../../data/verify/types.ts";
import type { Item } from "../item.ts";
import type { Stage } from "../types.ts";

type Schema = Readonly<Record<string, unknown>>;

/** An object with exactly these members. */
export const objectSchema = (properties: Schema): Schema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

/** A text that is not empty. */
export const textField = (maxLength: number): Schema => ({ type: "string", minLength: 1, maxLength });

const judgement = objectSchema({ reason: textField(600), supported: { type: "boolean" } });

/** Asks the model whether a text supports an answer. */
export async function supported(
  item: Item,
  values: { readonly text: string; readonly question: string; readonly answer: string },
  sample: number,
): Promise<{ readonly verdict: Verdict; readonly stage: Stage }> {
  const { value, stage } = await item.object<{ readonly supported: boolean; readonly reason: string }>(
    "check",
    values,
    judgement,
    { sample },
  );
  return { verdict: verdict(value.supported ? [] : [`not supported: ${value.reason}`]), stage };
}
