// The modules as text, for bundles that have no other files. Those for 64-bit memory (models beyond 4 GiB) are left out.
import constrain from "../../wasm/constrain.wasm.js";
import decideMt from "../../wasm/decide.mt.wasm.js";
import decide from "../../wasm/decide.wasm.js";
import kernelsMt from "../../wasm/kernels.mt.wasm.js";
import kernelsRelaxedMt from "../../wasm/kernels.relaxed.mt.wasm.js";
import kernelsRelaxed from "../../wasm/kernels.relaxed.wasm.js";
import kernels from "../../wasm/kernels.wasm.js";
import type { ModuleTexts } from "./embedded.modules.ts";

export const texts: ModuleTexts = {
  kernels,
  "kernels.relaxed": kernelsRelaxed,
  "kernels.mt": kernelsMt,
  "kernels.relaxed.mt": kernelsRelaxedMt,
  decide,
  "decide.mt": decideMt,
  constrain,
};
