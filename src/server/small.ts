// The routes without generation: embeddings, tokens, models.
import { readPrompts } from "./completions.ts";
import type { Job } from "./job.ts";
import { invalid, type Params, unsupported } from "./params.ts";
import { loraOf } from "./sampling.ts";

/** Little-endian floats in base64, whatever the machine. */
function base64(vector: Float32Array): string {
  const view = new DataView(new ArrayBuffer(4 * vector.length));
  for (const [i, value] of vector.entries()) view.setFloat32(4 * i, value, true);
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}

export interface EmbeddingsBody {
  readonly object: "list";
  readonly model: string;
  /** base64 holds little-endian float32. */
  readonly data: { readonly object: "embedding"; readonly index: number; readonly embedding: number[] }[];
  readonly usage: { readonly prompt_tokens: number; readonly total_tokens: number };
}

/** POST /v1/embeddings. @throws Problem, CpmError */
export async function embeddings(job: Job, params: Params): Promise<Response> {
  const inputs = readPrompts(params, "input", 2048);
  const format = params.oneOf("encoding_format", ["float", "base64"]) ?? "float";
  const dimensions = params.integer("dimensions", 1);
  const lora = loraOf(params) ?? job.lora;
  params.ignore("user");
  params.end();
  const size = job.model.info.config.hidden;
  if (dimensions !== undefined && dimensions !== size)
    throw unsupported("dimensions", `these embeddings have ${size} dimensions and cannot be cut`);
  const { embeddings: vectors, usage } = await job.model.embed(inputs, { lora, signal: job.signal });
  const body: EmbeddingsBody = {
    object: "list",
    model: job.id,
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      // The type that clients publish knows lists alone; with base64 they unpack the text themselves.
      embedding: format === "base64" ? (base64(vector) as unknown as number[]) : Array.from(vector),
    })),
    usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens },
  };
  job.done();
  return Response.json(body);
}

/** POST /tokenize, as llama.cpp's server has it. @throws Problem, CpmError */
export function tokenize(job: Job, params: Params): Response {
  const content = params.text("content");
  if (content === undefined) throw invalid("content", "a text", null);
  const bos = params.flag("add_special") ?? false;
  const special = params.flag("parse_special") ?? true;
  const pieces = params.flag("with_pieces") ?? false;
  params.end();
  const { tokenizer } = job.model;
  const ids = tokenizer.encode(content, { bos: bos ? tokenizer.data.addBos : false, eos: false, special });
  job.done();
  return Response.json({ tokens: pieces ? ids.map((id) => ({ id, piece: tokenizer.piece(id) })) : ids });
}

/** POST /detokenize. @throws Problem, CpmError */
export function detokenize(job: Job, params: Params): Response {
  const tokens = params.list("tokens");
  if (!tokens || tokens.some((id) => !Number.isSafeInteger(id))) throw invalid("tokens", "a list of token ids", tokens ?? null);
  params.end();
  const content = job.model.tokenizer.decode(tokens as number[]);
  job.done();
  return Response.json({ content });
}

export interface ModelBody {
  readonly id: string;
  readonly object: "model";
  readonly created: number;
  readonly owned_by: string;
}

export const modelObject = (id: string, created: number): ModelBody => ({ id, object: "model", created, owned_by: "local" });
