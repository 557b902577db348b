// A survey through pdflatex and bibtex, where they are installed (Debian: texlive-latex-base); not part of CI.
//   node test/survey/latex.mjs
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { toLatex } from "../../dist/survey/index.js";

if (spawnSync("pdflatex", ["--version"]).error) {
  console.log("not tested: there is no pdflatex\n0 passed, 0 failed");
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), "cpm-latex-"));
const hostile = "100% & $5 #1 a_b {c} ~d ^e \\f \\input{/etc/passwd} \\end{document} ä é";
const sources = [
  { key: "a_b.1", title: `A ${hostile}`, text: "", author: "O'Neil & Müller", year: "2001" },
  { key: "x:2", title: "Second, {unbalanced", text: "", url: "https://example.org/a_b?c=1&d=%20#e" },
];
const survey = {
  title: `On ${hostile}`,
  abstract: `${hostile} \\cite{a_b.1}.`,
  introduction: "First \\cite{x:2,a_b.1}.\n\nSecond.",
  sections: [
    {
      title: `S ${hostile}`,
      plan: "",
      content: hostile,
      subsections: [{ title: "Sub", plan: "", content: "Deep \\cite{x:2}." }],
    },
  ],
  conclusion: "Done.",
};
let failed = 0;
try {
  const { tex, bib } = toLatex(survey, sources, "out");
  writeFileSync(join(folder, "out.tex"), tex);
  writeFileSync(join(folder, "out.bib"), bib);
  const latex = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "out.tex"];
  const run = (command, args) => execFileSync(command, args, { cwd: folder, stdio: "pipe", timeout: 120_000 });
  run("pdflatex", latex);
  run("bibtex", ["out"]);
  run("pdflatex", latex);
  run("pdflatex", latex);
  const log = readFileSync(join(folder, "out.log"), "latin1");
  if (/undefined/i.test(log)) throw new Error(`citations are undefined:\n${log}`);
  console.log(`out.pdf: ${readFileSync(join(folder, "out.pdf")).length} bytes`);
} catch (error) {
  failed = 1;
  console.log(error.stdout ? error.stdout.toString("latin1") : error.stack);
}
rmSync(folder, { recursive: true });
console.log(`${1 - failed} passed, ${failed} failed`);
process.exit(failed);
