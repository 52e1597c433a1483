// The promise "unkillable", in one process: a run stopped after any step and continued equals the run that never
// stopped, bit for bit. tests/fault kills real processes.
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "comm/thread_communicator.h"
#include "dataloader/random.h"
#include "dataloader/store.h"
#include "trainer/encoders/model.h"
#include "trainer/replica.h"
#include "trainer/trainer.h"

namespace muster {
namespace {

constexpr int64_t kSteps = 24;
constexpr int kIdentities = 20;  // 16 to train on = 32 images: 4 steps of 8 an epoch

RunSettings tiny_settings() {
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

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Of each step, in order: its number and its loss and gradient norm as printed, without the times.
std::string curve_of(const std::string& run_dir) {
  std::ifstream file(run_dir + "/metrics.jsonl");
  std::string curve;
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (!record.contains("loss")) continue;
    curve += record["step"].dump() + " " + record["loss"].dump() + " " + record["grad_norm"].dump() + "\n";
  }
  return curve;
}

// Trains to `stop_after` and comes back, as one process would.
void train(const std::string& store_path, const std::string& run_dir, int ranks, int64_t stop_after,
           const RunSettings& settings = tiny_settings()) {
  const Store store(store_path);
  run_ranks(ranks, [&](Communicator& communicator) {
    Trainer trainer(settings, "test", store, run_dir, communicator);
    trainer.run(stop_after);
  });
}

std::string final_checkpoint(const std::string& run_dir) {
  return run_dir + "/checkpoints/step_0000000024/";
}

class ResumeTest : public testing::TestWithParam<int> {};

TEST_P(ResumeTest, StoppedAfterAnyStepEqualsTheUnbrokenRun) {
  const int ranks = GetParam();
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "unbroken", ranks, kSteps);
  const std::string curve = curve_of(folder / "unbroken");
  ASSERT_EQ(std::count(curve.begin(), curve.end(), '\n'), kSteps);
  std::set<int64_t> stops = {4, 8};  // the epoch's edges
  KeyedRandom random(3, 0, Purpose::kSampler);
  while (stops.size() < (ranks == 1 ? 21 : 5)) stops.insert(1 + static_cast<int64_t>(random.next_below(kSteps - 1)));
  for (const int64_t stop : stops) {
    const std::string run = folder / ("stopped" + std::to_string(stop));
    train(folder / "store", run, ranks, stop);
    train(folder / "store", run, ranks, kSteps);
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.textproto"}) {
      EXPECT_EQ(bytes_of(final_checkpoint(run) + file), bytes_of(final_checkpoint(folder / "unbroken") + file))
          << file << " after a stop at step " << stop;
    }
    EXPECT_EQ(curve_of(run), curve) << "after a stop at step " << stop;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ResumeTest, testing::Values(1, 2));

RunSettings settings_with(double ema_decay, TrainConfig::Precision precision) {
  RunSettings settings = tiny_settings();
  settings.train.mutable_ema()->set_decay(ema_decay);
  settings.train.set_precision(precision);
  return settings;
}

TEST(ResumeTest, TheAverageAndBf16GoOnBitForBit) {
  const RunSettings settings = settings_with(0.9, TrainConfig::BF16);
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "unbroken", 2, kSteps, settings);
  for (const int64_t stop : {1, 13}) {
    const std::string run = folder / ("stopped" + std::to_string(stop));
    train(folder / "store", run, 2, stop, settings);
    train(folder / "store", run, 2, kSteps, settings);
    for (const char* file : {"model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.textproto"}) {
      EXPECT_EQ(bytes_of(final_checkpoint(run) + file), bytes_of(final_checkpoint(folder / "unbroken") + file))
          << file << " after a stop at step " << stop;
    }
    EXPECT_EQ(curve_of(run), curve_of(folder / "unbroken"));
  }
  EXPECT_NE(bytes_of(final_checkpoint(folder / "unbroken") + "ema.safetensors"),
            bytes_of(final_checkpoint(folder / "unbroken") + "model.safetensors"));
}

// Retrieval on val at each evaluation.
std::set<std::string> evaluations_of(const std::string& run_dir) {
  std::ifstream file(run_dir + "/metrics.jsonl");
  std::set<std::string> tables;
  for (std::string line; std::getline(file, line);) {
    auto record = nlohmann::json::parse(line);
    if (record.contains("loss")) continue;
    record.erase("step");
    tables.insert(record.dump());
  }
  return tables;
}

// An average that never moves is evaluated as the first weights again and again; the weights themselves are not.
TEST(ResumeTest, ValIsEvaluatedWithTheAverage) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  RunSettings settings = settings_with(1 - 1e-9, TrainConfig::FP32);
  settings.train.mutable_ema()->set_warmup(false);
  train(folder / "store", folder / "average", 1, kSteps, settings);
  EXPECT_EQ(evaluations_of(folder / "average").size(), 1U);
  train(folder / "store", folder / "raw", 1, kSteps);
  EXPECT_GT(evaluations_of(folder / "raw").size(), 1U);
  EXPECT_EQ(curve_of(folder / "average"), curve_of(folder / "raw"));
}

TEST(ResumeTest, InitialWeightsAreTakenOnlyWhereThereIsNoCheckpoint) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  const Store store(folder / "store");
  const RunSettings settings = tiny_settings();
  const std::shared_ptr<Model> other = make_model(settings.model, 99);
  int calls = 0;
  const auto initial = [&] {
    ++calls;
    return model_tensors(*other);
  };
  RunSettings still = settings;
  still.train.mutable_optimizer()->set_rate(0);
  run_ranks(2, [&](Communicator& communicator) {
    Trainer(still, "test", store, folder / "run", communicator, initial).run(1);
  });
  EXPECT_EQ(calls, 1);
  const NamedTensors saved = read_safetensors(folder / "run/checkpoints/step_0000000001/model.safetensors");
  for (const auto& [name, tensor] : model_tensors(*other)) {
    EXPECT_TRUE(find_tensor(saved, name, "run").equal(tensor)) << name;
  }
  run_ranks(2, [&](Communicator& communicator) {
    Trainer(still, "test", store, folder / "run", communicator, initial).run(2);
  });
  EXPECT_EQ(calls, 1);
}

TEST(ResumeTest, AnotherWorldSizeSeesTheSameSamples) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "one", 1, kSteps);
  train(folder / "store", folder / "many", 3, 7);
  train(folder / "store", folder / "many", 2, 13);
  train(folder / "store", folder / "many", 1, kSteps);
  EXPECT_EQ(
      bytes_of(final_checkpoint(folder / "many") + "state.textproto").find("samples_seen: 192") != std::string::npos,
      true);
  std::istringstream one(curve_of(folder / "one")), many(curve_of(folder / "many"));
  int64_t step_one = 0, step_many = 0;
  double loss_one = 0, loss_many = 0, norm = 0;
  int compared = 0;
  while (one >> step_one >> loss_one >> norm && many >> step_many >> loss_many >> norm) {
    EXPECT_EQ(step_one, step_many);
    EXPECT_NEAR(loss_one, loss_many, 1e-3 * loss_one) << "step " << step_one;  // other samples differ by far more
    ++compared;
  }
  EXPECT_EQ(compared, kSteps);
}

}  // namespace
}  // namespace muster
