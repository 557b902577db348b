// The table of a rotation: cosines and sines of every position.
import type { Machine } from "./machine.ts";
import type { TrainShape } from "./shape.ts";

/** Fills (length, headDim) numbers at `at`: half of a row are cosines, half sines. */
export function writeRotation(machine: Machine, at: number, shape: TrainShape, length: number): void {
  const [half, dim] = [shape.headDim / 2, shape.headDim];
  const table = machine.reals(at, length * dim);
  for (let position = 0; position < length; position++)
    for (let i = 0; i < half; i++) {
      const angle = (position / shape.ropeTheta ** ((2 * i) / dim)) * (1 / (shape.ropeFactors?.[i] ?? 1));
      table[position * dim + i] = Math.cos(angle) * shape.ropeScale;
      table[position * dim + half + i] = Math.sin(angle) * shape.ropeScale;
    }
}
