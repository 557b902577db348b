import { expect, test } from "vitest";
import { coordinateCheck } from "../../src/tunnel/coordinates.ts";
import { machineOf } from "../train/rig.ts";

test("the coordinate check: flat within 20 % from width 64 to 512 under muP, growing without", async () => {
  const options = { updates: 6 };
  const mup = await coordinateCheck(() => machineOf(), options);
  expect(mup.rows.map(({ width }) => width)).toEqual([64, 128, 256, 512]);
  expect(mup.spread).toBeLessThan(0.2);
  expect(mup.growth).toBeLessThan(1.2);
  const plain = await coordinateCheck(() => machineOf(), { ...options, mup: false, widths: [64, 128, 256] });
  expect(plain.growth).toBeGreaterThan(1.5);
  const changes = plain.rows.map(({ change }) => change.at(-1)!);
  expect(changes).toEqual([...changes].sort((a, b) => a - b));
});

test("widths that hold no whole heads are refused; an abort ends it", async () => {
  await expect(coordinateCheck(() => machineOf(), { widths: [64, 100] })).rejects.toMatchObject({ code: "bad-option" });
  await expect(coordinateCheck(() => machineOf(), { widths: [64] })).rejects.toThrow(/two or more/);
  await expect(coordinateCheck(() => machineOf(), { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
});
