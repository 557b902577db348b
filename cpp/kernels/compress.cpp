#include "compress.h"
#include "../model/kv.h"

void compress_window(int type, const uint8_t* keys, int dim, int begin, int size, float* out, float* scratch) {
  int bytes = kv_tile_bytes(type, dim);
  for (int d = 0; d < dim; d++) out[d] = 0;
  for (int slot = begin; slot < begin + size;) {
    int first = slot % kTile, stop = first + begin + size - slot < kTile ? first + begin + size - slot : kTile;
    const float* tile = kv_keys(type, keys + (size_t)(slot / kTile) * bytes, dim, scratch);
    for (int d = 0; d < dim; d++) {
      float sum = out[d];
      for (int j = first; j < stop; j++) sum += tile[d * kTile + j];
      out[d] = sum;
    }
    slot += stop - first;
  }
  float inverse = 1.0f / (float)size;
  for (int d = 0; d < dim; d++) out[d] *= inverse;
}

void compress_window_ref(int type, const uint8_t* keys, int dim, int begin, int size, float* out, float* scratch) {
  for (int d = 0; d < dim; d++) {
    double sum = 0;
    for (int slot = begin; slot < begin + size; slot++)
      sum += kv_keys(type, keys + (size_t)(slot / kTile) * kv_tile_bytes(type, dim), dim, scratch)[d * kTile + slot % kTile];
    out[d] = (float)(sum / size);
  }
}
