// What loading and using an untrusted model may do: work, or fail with an error that says where, what and what to do.
import { expect } from "vitest";
import { Engine } from "../../src/engine/engine.ts";
import { CpmError } from "../../src/errors.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { defaults, filesOf, greedy, host } from "./engine.ts";

/** Encodes, computes, generates and decodes, over the whole vocabulary. */
async function use(engine: Engine): Promise<void> {
  const { vocab } = engine.info.config;
  const tokenizer = new Tokenizer(engine.info.tokenizer);
  tokenizer.encode("a bc\u4e2d\u{1f600}");
  for (let id = 0; id < tokenizer.size; id++) tokenizer.decode([id]);
  const session = await engine.open();
  const tokens = [0, vocab - 1, Math.min(5, vocab - 1)].slice(0, engine.info.contextSize);
  await engine.forward(session, tokens, "all");
  await engine.truncate(session, 0);
  await engine.generate(session, greedy(tokens, 3), { onPart: () => {} });
}

/**
 * The error of loading or using `input`, or undefined when both work. Anything but a CpmError fails the test, and so does
 * computing for 2 s (of this process: other programs may keep it waiting).
 */
export async function attempt(input: ModelInput, what: string): Promise<CpmError | undefined> {
  const started = process.cpuUsage();
  let engine: Engine | undefined;
  try {
    engine = await Engine.load(host, await filesOf(input), defaults);
    await use(engine);
    return undefined;
  } catch (error) {
    if (!(error instanceof CpmError))
      throw new Error(`${what}: not a CpmError: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
    expect(
      ["bad-model", "unsupported", "bad-input", "out-of-memory", "io", "context-overflow"],
      `${what}: ${error.message}`,
    ).toContain(error.code);
    return error;
  } finally {
    await engine?.close();
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1000, `${what}: milliseconds`).toBeLessThan(2000);
  }
}

/** Refusal of a model: typed, with a file position or a field, what was expected, what was found, and what to do. */
export async function refused(input: ModelInput, what: string): Promise<CpmError> {
  const error = await attempt(input, what);
  if (!error) throw new Error(`${what}: it loaded`);
  const { file, offset, field } = error.detail;
  if (error.code === "bad-model") {
    expect(file ?? field, `${what}: where (${error.message})`).toBeDefined();
    expect(error.message, what).toMatch(/expected .*found .*\(.*\)$/s);
  } else if (error.code === "unsupported") expect(field, `${what}: which field (${error.message})`).toBeDefined();
  if (offset !== undefined) expect(Number.isSafeInteger(offset), what).toBe(true);
  return error;
}
