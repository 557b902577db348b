// The expected values of the training side, as the script checks them: any folder that make_train_golden.py wrote can be given to it.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { trainGolden } from "../support/golden.ts";
import { root } from "./rig.ts";

test("golden/train: losses, gradients and runs", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "test/train/golden.mjs"), trainGolden], {
    encoding: "utf8",
  });
  expect(`${stdout}${stderr}`).toMatch(/\n\d+ passed, 0 failed\n$/);
  expect(status).toBe(0);
});
