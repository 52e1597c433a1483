// Small snapshots that can be told apart, for the tests of checkpoints.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "dataloader/formats/hashes.h"
#include "trainer/checkpoint.h"

namespace muster {

inline CheckpointConfig keep(int newest) {
  CheckpointConfig config;
  config.set_keep_last(newest);
  return config;
}

// Other bits in every tensor for every step.
inline Snapshot snapshot_of(int64_t step) {
  const auto value = static_cast<double>(step);
  Snapshot snapshot;
  snapshot.model = {{"image.weight", at::arange(24, at::TensorOptions(at::kFloat)).view({4, 6}).add(value)},
                    {"objective.log_scale", at::full({}, value / 3)},
                    {"half", at::full({5}, value, at::TensorOptions(at::kHalf))}};
  // A view that is not contiguous, as a transposed weight may be.
  snapshot.optimizer = {
      {"image.weight.exp_avg", at::arange(24, at::TensorOptions(at::kDouble)).view({6, 4}).t().mul(value)},
      {"image.weight.step", at::full({}, value)}};
  snapshot.state.set_step(step);
  snapshot.state.set_samples_seen(128 * step);
  snapshot.state.set_seed(3);
  snapshot.state.set_store_fingerprint("abc");
  snapshot.config = "train { steps: " + std::to_string(step) + " }\n";
  return snapshot;
}

inline void expect_equal(const NamedTensors& actual, NamedTensors expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, tensor] : actual) {
    const std::string& wanted = name;
    const auto found =
        std::find_if(expected.begin(), expected.end(), [&](const auto& entry) { return entry.first == wanted; });
    ASSERT_NE(found, expected.end()) << name;
    EXPECT_EQ(tensor.scalar_type(), found->second.scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, found->second)) << name;
  }
}

inline void expect_is_step(const Snapshot& snapshot, int64_t step) {
  const Snapshot expected = snapshot_of(step);
  expect_equal(snapshot.model, expected.model);
  expect_equal(snapshot.optimizer, expected.optimizer);
  EXPECT_EQ(snapshot.state.SerializeAsString(), expected.state.SerializeAsString());
  EXPECT_EQ(snapshot.config, expected.config);
}

inline void save_steps(const std::string& run_dir, const std::vector<int64_t>& steps) {
  CheckpointStore store(run_dir, keep(static_cast<int>(steps.size())));
  for (const int64_t step : steps) store.save_async(snapshot_of(step));
  store.wait();
}

// Sorted names.
inline std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::string> folders_in(const std::string& run_dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run_dir + "/checkpoints")) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Replaces text in a manifest and puts the hash right.
inline void rewrite_manifest(const std::string& path, const std::string& from, const std::string& to) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  text.resize(text.rfind("hash: "));
  text.replace(text.find(from), from.size(), to);
  std::ofstream(path) << text << "hash: \"" << xxh3_128_hex(text.data(), text.size()) << "\"\n";
}

}  // namespace muster
