// Turbo: 256-bit code of the engine's own making must give the bits of plain code, or be refused.
import process from "node:process";
import { expect, test } from "vitest";
import { CpmError, defaultModel, load } from "../../dist/host/node.js";

const capable = Number(process.versions.node.split(".")[0]) >= 24;
if (!capable)
  console.log(
    `turbo: its results are not tested on Node ${process.versions.node}, which has none; .ci/run tests them on Node 26`,
  );

test("turbo gives the bits of plain code where there is turbo, and a typed error elsewhere", async () => {
  if (!capable) {
    const refused = await load(defaultModel, { turbo: true }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(CpmError);
    expect(refused).toMatchObject({ code: "unsupported", detail: { field: "turbo" } });
    return;
  }
  const tokens = Array.from({ length: 200 }, (_, i) => (i * 37) % 2000);
  const results: Float32Array[] = [];
  for (const turbo of [false, true])
    for (const variant of ["base", "relaxed"] as const) {
      const model = await load(defaultModel, { turbo, variant, threads: 2 });
      expect(model.info.turbo).toBe(turbo);
      const session = await model.session();
      // Often enough for the optimising compiler to have had its turn.
      for (let i = 0; i < 5; i++) {
        await session.truncate(0);
        results.push(await session.forward(tokens, { logits: "all" }));
      }
      await model.dispose();
    }
  for (const result of results) expect(Buffer.from(result.buffer).equals(Buffer.from(results[0]!.buffer))).toBe(true);
});
