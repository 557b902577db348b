// The expected values of the training side, as the script checks them: any folder that make_train_golden.py wrote can be given to it.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "./rig.ts";

const folder = join(root, "../shared/golden/train");

if (!existsSync(folder))
  console.log("golden/train is not checked: ../shared is not here; node test/train/golden.mjs DIR checks any such folder");
test.skipIf(!existsSync(folder))("golden/train, where ../shared has it", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "test/train/golden.mjs"), folder], {
    encoding: "utf8",
  });
  expect(`${stdout}${stderr}`).toMatch(/\n\d+ passed, 0 failed\n$/);
  expect(status).toBe(0);
});
