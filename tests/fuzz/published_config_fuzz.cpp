// config.json and open_clip_config.json beside weights. The first byte chooses.
#include <string>

#include "tests/fuzz/target.h"
#include "trainer/encoders/published_config.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {
      R"(0{"vision_config": {"num_attention_heads": 4, "layer_norm_eps": 1e-05, "hidden_act": "gelu"}, )"
      R"("text_config": {"num_attention_heads": 2, "hidden_act": "gelu"}})",
      R"(1{"model_cfg": {"embed_dim": 20, "quick_gelu": true, "vision_cfg": {"head_width": 16, "pool_type": "tok"}, )"
      R"("text_cfg": {"heads": 2, "pool_type": "argmax", "no_causal_mask": false}}})"};
}

std::vector<std::string> words() {
  return {"\"vision_config\":",
          "\"text_config\":",
          "\"model_cfg\":",
          "\"heads\":",
          "\"head_width\":",
          "\"hidden_act\":",
          "\"quick_gelu\"",
          "null",
          "true",
          "[",
          "]",
          "{",
          "}",
          "-1",
          "1e5",
          "0",
          "\"layer_norm_eps\":"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  if (size == 0) return 0;
  const bool transformers = data[0] % 2 == 0;
  const fuzz::FolderOfFiles folder({{transformers ? "config.json" : "open_clip_config.json",
                                     std::string(reinterpret_cast<const char*>(data) + 1, size - 1)}});
  ModelConfig model;
  model.mutable_image()->set_width(64);
  model.mutable_image()->set_heads(1);
  model.mutable_text()->set_heads(1);
  fuzz::allow_refusal([&] {
    const bool found = read_published_config(folder.path() + "/model.safetensors",
                                             transformers ? NameStyle::kTransformers : NameStyle::kClip, model);
    fuzz::require(found, "a config that is there is found");
    fuzz::require(model.image().heads() > 0 && model.text().heads() > 0, "heads that are taken are positive");
  });
  return 0;
}
