// Which keywords are enforced, which are refused, and which say nothing about values.

/** Enforced, wholly or where they are simple enough (docs/constrain.md). */
export const ENFORCED = new Set([
  "type",
  "enum",
  "const",
  "properties",
  "required",
  "additionalProperties",
  "patternProperties",
  "propertyNames",
  "minProperties",
  "maxProperties",
  "items",
  "prefixItems",
  "additionalItems",
  "minItems",
  "maxItems",
  "minLength",
  "maxLength",
  "pattern",
  "format",
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "anyOf",
  "oneOf",
  "allOf",
  "not",
  "if",
  "then",
  "else",
  "dependentRequired",
  "dependentSchemas",
  "dependencies",
  "$ref",
]);

/** Refused unless what they say is nothing. */
export const REFUSED = new Set([
  "contains",
  "minContains",
  "maxContains",
  "uniqueItems",
  "unevaluatedItems",
  "unevaluatedProperties",
  "$dynamicRef",
  "$recursiveRef",
]);

/** Say nothing about values: not listed as ignored. */
export const ANNOTATIONS = new Set([
  "$schema",
  "$id",
  "id",
  "$anchor",
  "$dynamicAnchor",
  "$recursiveAnchor",
  "$vocabulary",
  "$comment",
  "$defs",
  "definitions",
  "title",
  "description",
  "default",
  "deprecated",
  "examples",
  "readOnly",
  "writeOnly",
  "contentEncoding",
  "contentMediaType",
  "contentSchema",
]);

const known = [...ENFORCED, ...REFUSED].filter((k) => k.length > 3);

/** Whether one letter added, left out, changed, or two neighbours swapped make `a` of `b`. Case counts as one change. */
function near(a: string, b: string): boolean {
  if (a.toLowerCase() === b.toLowerCase()) return true;
  if (Math.abs(a.length - b.length) > 1) return false;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  let j = 0;
  while (j < Math.min(a.length, b.length) - i && a[a.length - 1 - j] === b[b.length - 1 - j]) j++;
  const [x, y] = [a.slice(i, a.length - j), b.slice(i, b.length - j)];
  if (x.length + y.length <= 2 && x.length <= 1 && y.length <= 1) return true;
  return x.length === 2 && y.length === 2 && x[0] === y[1] && x[1] === y[0];
}

/** The keyword that an unknown one is a misspelling of. */
export function misspelt(keyword: string): string | undefined {
  // Names like _format, x-type and $type are somebody's own.
  return keyword.length < 4 || ANNOTATIONS.has(keyword) || !/^[A-Za-z]/.test(keyword)
    ? undefined
    : known.find((k) => near(keyword, k));
}
