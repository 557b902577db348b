// The table of modules: what each is made from, in which variants, and where its statics lie. A wing adds a row; the rows of
// the others stay as they are, and so do their bytes: each module's hash covers its own sources and its own row.

// Contraction off: a*b + c must round twice in every build, or variants would disagree.
const COMPILE = [
  "-O3",
  "-std=c++20",
  "-msimd128",
  "-mbulk-memory",
  "-fno-exceptions",
  "-fno-rtti",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fno-slp-vectorize",
  "-Wall",
  "-Wextra",
  "-Werror",
];
const RELAXED = ["-mrelaxed-simd"];
// Without the forms of kernels that are chosen at load.
const ONE_FORM = ["-DCPM_ONE_FORM"];
const THREADS = { flags: ["-pthread"], link: ["--shared-memory"] };

/**
 * C++ modules: `sources` are files or folders below the root (headers count for the hash), `global` is where statics begin,
 * `stack` what lane 0 gets behind them; `pages` bounds the imported memory.
 */
export const CPP = [
  {
    sources: [
      "cpp/kernels",
      "cpp/model",
      "cpp/abi.h",
      "cpp/exports.cpp",
      "cpp/held.cpp",
      "cpp/pool.cpp",
      "cpp/pool.h",
      "cpp/simd.h",
    ],
    compile: COMPILE,
    // AssemblyScript's statics lie in [1 KiB, 64 KiB).
    global: 65536,
    stack: 256 * 1024,
    variants: [
      { name: "kernels", flags: [], link: [], pages: 65536 },
      { name: "kernels.relaxed", flags: RELAXED, link: [], pages: 65536 },
      { name: "kernels.mt", flags: THREADS.flags, link: THREADS.link, pages: 65536 },
      { name: "kernels.relaxed.mt", flags: [...RELAXED, ...THREADS.flags], link: THREADS.link, pages: 65536 },
      // Models beyond 4 GiB. Runtimes that have memory64 have relaxed SIMD and threads.
      {
        name: "kernels64.relaxed.mt",
        flags: ["-sMEMORY64=1", ...RELAXED, ...THREADS.flags],
        link: [...THREADS.link, "-mwasm64"],
        pages: 262144,
      },
    ],
  },
  {
    // The quantiser: the forward pass that calibrates, and what is done with its inputs.
    sources: [
      "cpp/kernels",
      "cpp/model",
      "cpp/quantise",
      "cpp/abi.h",
      "cpp/exports.cpp",
      "cpp/held.cpp",
      "cpp/pool.cpp",
      "cpp/pool.h",
      "cpp/simd.h",
    ],
    compile: COMPILE,
    global: 1024,
    stack: 256 * 1024,
    variants: [
      { name: "quantise", flags: ONE_FORM, link: [], pages: 65536 },
      { name: "quantise.mt", flags: [...ONE_FORM, ...THREADS.flags], link: THREADS.link, pages: 65536 },
    ],
  },
  {
    // Training has a memory of its own. float64 is for tests: central differences need it; it is not published.
    sources: [
      "cpp/grad",
      "cpp/train",
      "cpp/kernels/scalar.h",
      "cpp/abi.h",
      "cpp/held.cpp",
      "cpp/pool.cpp",
      "cpp/pool.h",
      "cpp/simd.h",
    ],
    compile: COMPILE,
    global: 1024,
    stack: 256 * 1024,
    variants: [
      { name: "train", flags: [], link: [], pages: 65536 },
      { name: "train.mt", flags: THREADS.flags, link: THREADS.link, pages: 65536 },
      { name: "train.relaxed.mt", flags: [...RELAXED, ...THREADS.flags], link: THREADS.link, pages: 65536 },
      { name: "train.float64", flags: ["-DCPM_REAL=double"], link: [], pages: 65536 },
    ],
  },
];

/** AssemblyScript modules: `entry` and `sources` below the root, and the targets of asconfig.json that build it. */
export const ASSEMBLY = [
  { entry: "assembly/index.ts", sources: ["assembly/*.ts"], targets: ["single", "threads"] },
  // Has a memory of its own, so that a hostile grammar exhausts nothing else.
  { entry: "assembly/constrain/index.ts", sources: ["assembly/constrain"], targets: ["constrain"] },
  { entry: "assembly/data/index.ts", sources: ["assembly/data", "assembly/math.ts"], targets: ["data", "dataThreads"] },
];
