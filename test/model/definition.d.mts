export type Weights = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float64Array }>;
export function evaluate(
  config: Readonly<Record<string, unknown>>,
  tensor: (name: string) => Float64Array | undefined,
  tokens: readonly number[],
): Float64Array[];
export function safetensors(bytes: Uint8Array): Weights;
