// Standard Schema objects (zod, valibot, arktype and others): their own JSON Schema.
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";

const object = (value: unknown): Record<string, unknown> | undefined =>
  (typeof value === "object" && value !== null) || typeof value === "function" ? (value as Record<string, unknown>) : undefined;

const TARGET = { target: "draft-2020-12" };

/**
 * The JSON Schema of an object that follows Standard Schema (standardschema.dev), by its own conversion: `~standard.jsonSchema`,
 * or a method toJSONSchema() or toJsonSchema(). What is none is given back as it is.
 * @throws CpmError "bad-option" for one without a conversion, or whose conversion fails
 */
export function jsonSchemaOf(schema: unknown): unknown {
  const standard = object(object(schema)?.["~standard"]);
  if (!standard) return schema;
  const own = object(schema)!;
  const converter = object(standard["jsonSchema"]);
  const vendor = typeof standard["vendor"] === "string" ? standard["vendor"] : "an unknown library";
  try {
    if (typeof converter?.["input"] === "function") return converter["input"].call(converter, TARGET);
    for (const name of ["toJSONSchema", "toJsonSchema"]) {
      const method = own[name];
      if (typeof method === "function") return method.call(own);
    }
  } catch (cause) {
    throw bad(`the schema of ${vendor} has no JSON Schema: ${reasonOf(cause)}`, cause);
  }
  throw bad(
    `this schema of ${vendor} does not convert itself; give JSON Schema (zod: z.toJSONSchema(schema); valibot: toStandardJsonSchema(schema) of @valibot/to-json-schema)`,
  );
}

function bad(message: string, cause?: unknown): CpmError {
  return new CpmError("bad-option", `schema: ${message}`, { field: "schema" }, cause === undefined ? undefined : { cause });
}
