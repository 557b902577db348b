// Checks the fits of a folder that make_train_golden.py wrote: node test/tunnel/golden.mjs DIR. Parameters within each set's own
// tolerance, and never a worse objective. Prints one line a set, then "N passed, N failed".
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { fitChinchilla, fitSigmoid } from "../../dist/tunnel/fits.js";
import { stepLaw } from "../../dist/tunnel/steplaw.js";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../../shared/golden/train", import.meta.url));
const golden = JSON.parse(readFileSync(join(folder, "tunnel.json"), "utf8"));
let [passed, failed] = [0, 0];

function check(name, problems, worst) {
  if (problems.length === 0) passed++;
  else failed++;
  console.log(
    `${problems.length === 0 ? "ok  " : "FAIL"} ${name}${worst === undefined ? "" : `, ${worst.toFixed(3)} of the bound`} ${problems.join("; ")}`,
  );
}

function compare(name, fit, stored, objective) {
  const problems = [];
  let worst = 0;
  for (const [key, bound] of Object.entries(stored.tolerance)) {
    const share = Math.abs(fit.parameters[key] - stored.fit[key]) / bound;
    worst = Math.max(worst, share);
    if (!(share <= 1)) problems.push(`${key}: ${fit.parameters[key]}, expected ${stored.fit[key]} +- ${bound}`);
  }
  if (!(fit.objective <= objective * (1 + 1e-6) + 1e-12)) problems.push(`objective ${fit.objective} above ${objective}`);
  check(name, problems, worst);
}

for (const [i, set] of golden.sigmoid.entries())
  compare(
    `sigmoid ${i}`,
    fitSigmoid(
      set.L.map((loss, j) => ({ loss, score: set.y[j] })),
      set.lo_fixed === null ? {} : { lo: set.lo_fixed },
    ),
    set,
    set.sum_of_squares,
  );
for (const [i, set] of golden.chinchilla.entries())
  compare(
    `chinchilla ${i}`,
    fitChinchilla(set.L.map((loss, j) => ({ parameters: set.N[j], tokens: set.D[j], loss }))),
    set,
    set.objective,
  );
for (const [i, set] of golden.step_law.entries()) {
  const found = stepLaw({ parameters: set.N, tokens: set.D, length: set.seq_len });
  const near = (a, b) => Math.abs(a / b - 1) <= 1e-12;
  check(
    `StepLaw ${i}`,
    near(found.rate, set.lr) && near(found.batchTokens, set.batch_tokens) && found.batchSequences === set.batch_sequences
      ? []
      : [JSON.stringify(found)],
  );
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
