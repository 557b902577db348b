// llama.cpp's own quantiser through its library: llamaquantize IN OUT FTYPE EMBEDDING [IMATRIX]
// FTYPE: number of enum llama_ftype; every linear becomes that type, without a recipe. EMBEDDING: number of enum ggml_type of the embedding.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "imatrix-loader.h"
#include "llama.h"

int main(int argc, char** argv) {
  if (argc < 5) return fprintf(stderr, "llamaquantize IN OUT FTYPE EMBEDDING [IMATRIX]\n"), 2;
  ggml_backend_load_all_from_path(getenv("GGML_LIBRARIES"));
  llama_backend_init();
  common_imatrix loaded;
  std::vector<std::vector<float>> means;
  std::vector<llama_model_imatrix_data> weights;
  if (argc > 5) {
    if (!common_imatrix_load(argv[5], loaded)) return 3;
    means.reserve(loaded.entries.size());
    for (const auto& [name, entry] : loaded.entries) {
      // Sums of squares over the rows of inputs: their means, as its own command takes them.
      means.push_back(entry.sums);
      for (float& v : means.back()) v /= (float)entry.counts[0];
      weights.push_back({name.c_str(), means.back().data(), means.back().size()});
    }
    weights.push_back({nullptr, nullptr, 0});
  }
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.nthread = 2;
  params.ftype = (llama_ftype)atoi(argv[3]);
  params.pure = true;
  params.token_embedding_type = (ggml_type)atoi(argv[4]);
  params.imatrix = weights.empty() ? nullptr : weights.data();
  return llama_model_quantize(argv[1], argv[2], &params) ? 1 : 0;
}
