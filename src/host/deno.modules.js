// The built modules in Deno, which loads them with the code and needs no permission for it.

import source constrain from "../../wasm/constrain.wasm";
import source decideMt from "../../wasm/decide.mt.wasm";
import source decide from "../../wasm/decide.wasm";
import source kernelsMt from "../../wasm/kernels.mt.wasm";
import source kernelsRelaxedMt from "../../wasm/kernels.relaxed.mt.wasm";
import source kernelsRelaxed from "../../wasm/kernels.relaxed.wasm";
import source kernels from "../../wasm/kernels.wasm";

export const modules = {
  kernels,
  "kernels.relaxed": kernelsRelaxed,
  "kernels.mt": kernelsMt,
  "kernels.relaxed.mt": kernelsRelaxedMt,
  decide,
  "decide.mt": decideMt,
  constrain,
};
