// A run of 24 steps that takes a second: what tests of the whole trainer share.
#pragma once

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "trainer/encoders/model.h"
#include "trainer/trainer.h"

namespace muster {

inline constexpr int64_t kSteps = 24;
inline constexpr int kIdentities = 20;  // 16 to train on = 32 images: 4 steps of 8 an epoch

inline RunSettings tiny_settings() {
  RunSettings settings;
  settings.model.set_preset(ModelConfig::MINI);
  VisionConfig* image = settings.model.mutable_image();
  image->set_width_pixels(16);
  image->set_height_pixels(16);
  image->set_width(24);
  image->set_layers(2);
  image->set_heads(2);
  TextConfig* text = settings.model.mutable_text();
  text->set_context(12);
  text->set_width(24);
  text->set_layers(1);
  text->set_heads(2);
  settings.model.set_joint_width(16);
  settings.model.set_dropout(0.1);
  settings.model = resolve_model(settings.model);
  settings.data.mutable_image()->set_flip(true);
  settings.data.mutable_image()->set_pad_crop(2);
  settings.objective.add_term()->mutable_info_nce()->set_positives(IDENTITY);
  settings.objective.add_term()->mutable_triplet();
  settings.train.set_global_batch(8);
  settings.train.set_steps(kSteps);
  settings.train.set_chunk(3);
  settings.train.set_seed(5);
  settings.train.set_clip_norm(1);
  settings.train.set_log_every(1);
  settings.train.mutable_schedule()->set_warmup_steps(4);
  settings.train.mutable_evaluation()->set_every(10);
  settings.train.mutable_checkpoint()->set_every(1000);
  return settings;
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Of each step, in order: its number and its loss and gradient norm as printed, without the times.
inline std::string curve_of(const std::string& run_dir) {
  std::ifstream file(run_dir + "/metrics.jsonl");
  std::string curve;
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (!record.contains("loss")) continue;
    curve += record["step"].dump() + " " + record["loss"].dump() + " " + record["grad_norm"].dump() + "\n";
  }
  return curve;
}

inline std::string final_checkpoint(const std::string& run_dir) {
  return run_dir + "/checkpoints/step_0000000024/";
}

}  // namespace muster
