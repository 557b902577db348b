// The tests that hold kernels and models to definitions and golden files, as one script for runtimes without vitest.
import "../kernels/abi.test.ts";
import "../kernels/rows.test.ts";
import "../kernels/gemm.test.ts";
import "../kernels/cache8.test.ts";
import "../kernels/pool.test.ts";
import "../sparse/kernels.test.ts";
import "../engine/golden.test.ts";
import { run } from "./harness.ts";

await run((result) => console.log(`@@ ${JSON.stringify(result)}`));
process.exit(0);
