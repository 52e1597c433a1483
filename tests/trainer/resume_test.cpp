// The promise "unkillable", in one process: a run stopped after any step and continued equals the run that never
// stopped, bit for bit. tests/fault kills real processes.
#include "tests/support/meddling_communicator.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/tiny_run.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "comm/thread_communicator.h"
#include "dataloader/image.h"
#include "dataloader/random.h"
#include "dataloader/store.h"
#include "trainer/replica.h"

namespace muster {
namespace {

// Trains to `stop_after` and comes back, as one process would.
void train(const std::string& store_path, const std::string& run_dir, int ranks, int64_t stop_after,
           const RunSettings& settings = tiny_settings()) {
  const Store store(store_path);
  run_ranks(ranks, [&](Communicator& communicator) {
    Trainer trainer(settings, "test", store, run_dir, communicator);
    trainer.run(stop_after);
  });
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
  const auto initial = [&](const NamedTensors& into) {
    ++calls;
    for (const auto& [name, tensor] : model_tensors(*other)) find_tensor(into, name, "model").copy_(tensor);
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

// A store in which each image is an identity: the identities that the ranks hand to the loss tell the samples.
void write_store_of_single_images(const std::string& path, int images) {
  StoreWriter writer(path);
  for (int i = 0; i < images; ++i) {
    StoreRecord record;
    record.source_path = std::to_string(i) + ".jpg";
    record.image = encode_jpeg({24, 24, std::vector<uint8_t>(24 * 24 * 3, static_cast<uint8_t>(i))}, 90);
    record.width = record.height = 24;
    record.captions = {"thing " + std::to_string(i)};
    record.identity = std::to_string(i);
    writer.add(record);
  }
  writer.finish();
}

TEST(ResumeTest, From4RanksTo2To3EachSampleOfAnEpochIsSeenOnce) {
  const TemporaryFolder folder;
  write_store_of_single_images(folder / "store", 40);
  const Store store(folder / "store");
  RunSettings settings = tiny_settings();
  settings.train.mutable_evaluation()->set_every(0);
  std::mutex mutex;
  std::vector<std::multiset<int64_t>> epochs(5);  // of 5 steps: 24 steps end in the fifth
  int64_t begun = 0;
  for (const auto& leg : {std::pair(4, 3), std::pair(2, 12), std::pair(3, 24)}) {
    const int64_t stop_after = leg.second;
    run_ranks(leg.first, [&](Communicator& communicator) {
      MeddlingCommunicator meddling(communicator, [&](const at::Tensor& tensor, const std::string& name) {
        if (name != "loss.identity") return;
        const std::lock_guard<std::mutex> lock(mutex);
        const auto step = static_cast<size_t>(std::max(begun, meddling.steps_done()));
        const int64_t* ids = tensor.const_data_ptr<int64_t>();
        epochs[step / 5].insert(ids, ids + tensor.numel());
      });
      Trainer(settings, "test", store, folder / "run", meddling).run(stop_after);
    });
    begun = stop_after;
  }
  std::multiset<int64_t> every;
  for (int64_t i = 0; i < 40; ++i) every.insert(i);
  for (size_t epoch = 0; epoch < 4; ++epoch) EXPECT_EQ(epochs[epoch], every) << "epoch " << epoch;
  EXPECT_EQ(epochs[4].size(), 32U);
  EXPECT_EQ(std::set<int64_t>(epochs[4].begin(), epochs[4].end()).size(), 32U);
}

}  // namespace
}  // namespace muster
