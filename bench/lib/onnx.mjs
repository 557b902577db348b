// The least of ONNX's file format: a model of one MatMulNBits node. Source: onnx.proto3 of the ONNX project.

const varint = (value) => {
  const bytes = [];
  for (let v = BigInt(value); ; v >>= 7n) {
    bytes.push(Number(v & 127n) | (v > 127n ? 128 : 0));
    if (v <= 127n) return Uint8Array.from(bytes);
  }
};
function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
const int = (field, value) => joined([varint(field << 3), varint(value)]);
const bytes = (field, value) => joined([varint((field << 3) | 2), varint(value.length), value]);
const text = (field, value) => bytes(field, new TextEncoder().encode(value));
const message = (field, ...parts) => bytes(field, joined(parts));

const FLOAT = 1;
const UINT8 = 2;

const attribute = (name, value) => message(5, text(1, name), int(3, value), int(20, 2));
const tensor = (name, type, dims, raw) => message(5, ...dims.map((d) => int(1, d)), int(2, type), text(8, name), bytes(9, raw));
const value = (field, name, dims) =>
  message(
    field,
    text(1, name),
    message(
      2,
      message(1, int(1, FLOAT), message(2, ...dims.map((d) => message(1, typeof d === "string" ? text(2, d) : int(1, d))))),
    ),
  );

/** y (tokens, rows) = x (tokens, cols) times an int4 matrix in blocks of 32 with random codes; `accuracy`: MatMulNBits' accuracy_level. */
export function matMulNBits(rows, cols, accuracy) {
  const codes = new Uint8Array((rows * cols) / 2);
  let state = 1;
  for (let i = 0; i < codes.length; i++) codes[i] = (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 24;
  const scales = new Float32Array((rows * cols) / 32).fill(0.01);
  const node = message(
    1,
    ...["x", "w", "s"].map((name) => text(1, name)),
    text(2, "y"),
    text(4, "MatMulNBits"),
    ...Object.entries({ K: cols, N: rows, bits: 4, block_size: 32, accuracy_level: accuracy }).map(([name, v]) =>
      attribute(name, v),
    ),
    text(7, "com.microsoft"),
  );
  const graph = message(
    7,
    node,
    text(2, "one"),
    tensor("w", UINT8, [rows, cols / 32, 16], codes),
    tensor("s", FLOAT, [(rows * cols) / 32], new Uint8Array(scales.buffer)),
    value(11, "x", ["tokens", cols]),
    value(12, "y", ["tokens", rows]),
  );
  return joined([int(1, 8), graph, message(8, text(1, ""), int(2, 17)), message(8, text(1, "com.microsoft"), int(2, 1))]);
}
