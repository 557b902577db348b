// Instantiating modules over a memory of ours.
import { CpmError } from "../errors.ts";
import { ABI_VERSION, type Kernels, STRUCT_BYTES } from "./abi.ts";

/** First byte that a module leaves to its user. */
export const heapBase = (kernels: Kernels): number => Number(kernels.__heap_base.value);

/** Gives an instance a stack of its own, below `top`. */
export function setStack({ __stack_pointer: pointer }: Kernels, top: number): void {
  pointer.value = typeof pointer.value === "bigint" ? BigInt(top) : top;
}

/** Instantiates the kernels; the memory is their only import. Refuses modules of another ABI. */
export async function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<Kernels> {
  const instance = await WebAssembly.instantiate(module, { env: { memory } });
  const kernels = instance.exports as unknown as Kernels;
  const version = kernels.abi_version();
  const sizes = Object.values(STRUCT_BYTES);
  if (version !== ABI_VERSION || sizes.some((bytes, i) => kernels.abi_bytes(i) !== bytes))
    throw new CpmError(
      "unsupported",
      `kernels speak ABI ${version}, this loader speaks ${ABI_VERSION}: rebuild wasm/ or reinstall the package`,
    );
  return kernels;
}
