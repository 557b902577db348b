// The 64-bit kernels in Deno: loaded when they are wanted, since a Deno without 64-bit memory cannot compile them.

import source kernels64 from "../../wasm/kernels64.relaxed.mt.wasm";

export { kernels64 };
