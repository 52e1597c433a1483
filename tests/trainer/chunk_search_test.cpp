// train.chunk AUTO, and what a device says whose memory is too small: with a model whose "memory" is a number of rows.
#include "trainer/chunk_search.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/trainer/costed_step.h"

namespace muster {
namespace {

constexpr int64_t kRows = 12;

// CLIP's, with room for so many rows. Where it says so, memory is short in the second phase of a forward only.
class SmallMemory : public Model {
 public:
  SmallMemory(const ModelConfig& config, int64_t most_rows, bool late)
      : most_rows_(most_rows), late_(late), inner_(register_module("inner", make_model(config, 1))) {}

  ForwardPass begin_forward(const Batch& batch, uint64_t seed, const TokenRequest& tokens) override {
    tried_.push_back(batch.size());
    if (!late_) take(batch.size());
    ForwardPass pass = inner_->begin_forward(batch, seed, tokens);
    return {pass.texts, [this, rows = batch.size(), finish = pass.finish] {
              take(rows);
              return finish();
            }};
  }
  at::Tensor encode_image(const Batch& batch) override { return inner_->encode_image(batch); }
  at::Tensor encode_text(const at::Tensor& tokens) override { return inner_->encode_text(tokens); }
  at::Tensor text_tokens(const Batch& batch, uint64_t seed, bool padding) override {
    return inner_->text_tokens(batch, seed, padding);
  }
  at::Tensor image_tokens(const Batch& batch, const at::Tensor& kept, uint64_t seed) override {
    return inner_->image_tokens(batch, kept, seed);
  }
  at::Tensor token_embedding() const override { return inner_->token_embedding(); }
  std::map<std::string, int64_t> layers_above() const override { return {}; }

  const std::vector<int64_t>& tried() const { return tried_; }

 private:
  void take(int64_t rows) const {
    TORCH_CHECK_WITH(OutOfMemoryError, rows <= most_rows_, "CUDA out of memory. Tried to allocate 20.00 GiB");
  }

  int64_t most_rows_;
  bool late_;
  std::shared_ptr<Model> inner_;
  std::vector<int64_t> tried_;
};

RunSettings settings_of(int64_t chunk, bool heads) {
  RunSettings settings = small_settings("term { info_nce { positives: IDENTITY } }", kRows);
  if (heads) settings = with_references(settings, ReferencesConfig::REPLICATED, true);
  settings.train.set_chunk(chunk);
  return settings;
}

std::vector<at::Tensor> values_of(const CostedStep& step) {
  std::vector<at::Tensor> values;
  for (const auto& [name, parameter] : step.trainable()) values.push_back(parameter.detach().clone());
  return values;
}

struct Found {
  int64_t chunk = 0;
  std::vector<int64_t> tried;
  std::vector<at::Tensor> trained;
  std::string error;
};

// Searches on ranks that have room for `rooms` rows, then trains two steps.
std::vector<Found> search(const std::vector<int64_t>& rooms, bool late, bool heads) {
  std::vector<Found> found(rooms.size());
  const RunSettings settings = settings_of(kAutoChunk, heads);
  run_ranks(static_cast<int>(rooms.size()), [&](Communicator& communicator) {
    const auto rank = static_cast<size_t>(communicator.rank());
    const auto model = std::make_shared<SmallMemory>(settings.model, rooms[rank], late);
    CostedStep step(settings, communicator, model);
    model->train();
    const StepJob job = step.job();
    const auto fits = [&](int64_t chunk) {
      return fits_device(chunk, step.step(), job, communicator.rank(), at::kCPU);
    };
    try {
      found[rank].chunk = search_chunk(rows_of(job, 0), fits, communicator, "too small");
    } catch (const ConfigError& error) {
      found[rank].error = error.what();
      return;
    }
    found[rank].tried = model->tried();
    step.step().set_chunk(found[rank].chunk);
    for (int i = 0; i < 2; ++i) step.run();
    found[rank].trained = values_of(step);
  });
  return found;
}

TEST(ChunkSearchTest, HalvesUntilEveryRankFits) {
  for (const bool late : {false, true}) {
    EXPECT_EQ(search({100}, late, false)[0].tried, std::vector<int64_t>({12}));
    const Found alone = search({5}, late, false)[0];
    EXPECT_EQ(alone.chunk, 3);
    EXPECT_EQ(alone.tried, std::vector<int64_t>({12, 6, 3}));
    const std::vector<Found> three = search({4, 1, 3}, late, false);
    EXPECT_EQ(three[0].tried, std::vector<int64_t>({4}));
    EXPECT_EQ(three[1].tried, std::vector<int64_t>({4, 2, 1}));
    for (const Found& found : three) EXPECT_EQ(found.chunk, 1);
  }
}

// Parameters, random keys and the state of the reducer are what they would be without the search.
TEST(ChunkSearchTest, ChangesNothing) {
  for (const bool heads : {false, true}) {
    const std::vector<Found> searched = search({2, 4}, false, heads);
    std::vector<std::vector<at::Tensor>> plain(2);
    run_ranks(2, [&](Communicator& communicator) {
      const RunSettings settings = settings_of(2, heads);
      CostedStep step(settings, communicator, std::make_shared<SmallMemory>(settings.model, 100, false));
      for (int i = 0; i < 2; ++i) step.run();
      plain[static_cast<size_t>(communicator.rank())] = values_of(step);
    });
    for (size_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(searched[rank].chunk, 2);
      ASSERT_EQ(searched[rank].trained.size(), plain[rank].size());
      for (size_t i = 0; i < plain[rank].size(); ++i) EXPECT_TRUE(searched[rank].trained[i].equal(plain[rank][i])) << i;
    }
  }
}

TEST(ChunkSearchTest, EveryRankSaysSoWhereNoRowFits) {
  for (const Found& found : search({12, 0}, false, false)) EXPECT_EQ(found.error, "too small");
}

TEST(ChunkSearchTest, AStepThatDoesNotFitNamesTheNextChunk) {
  const auto message = [](int64_t chunk, int64_t room) -> std::string {
    LocalCommunicator local;
    const RunSettings settings = settings_of(chunk, false);
    CostedStep step(settings, local, std::make_shared<SmallMemory>(settings.model, room, true));
    try {
      step.run();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_EQ(message(0, 11),
            "this host has no memory left for chunks of 12 (of 12 rows a rank): set train.chunk=6, which changes no "
            "result");
  EXPECT_EQ(message(5, 4),
            "this host has no memory left for chunks of 5 (of 12 rows a rank): set train.chunk=3, which changes no "
            "result");
  EXPECT_EQ(message(1, 0),
            "this host has no memory left for chunks of 1 (of 12 rows a rank): one row is the least; take a smaller "
            "model, or train.precision=BF16");
  EXPECT_EQ(message(5, 5), "none");
}

// On a CPU: the most rows whose account stays within the bytes.
TEST(ChunkSearchTest, FitsAHostByTheDryRunsAccount) {
  LocalCommunicator local;
  const CostedStep step(settings_of(kAutoChunk, false), local);
  StepJob job = step.job();
  const auto needs = [&](int64_t chunk) {
    job.settings.train.set_chunk(chunk);
    return sum_of(step_memory(job, 0), false) + kProgramBytes;
  };
  ASSERT_GT(needs(6), needs(3));
  for (const int64_t chunk : {1, 3, 6, 12}) {
    EXPECT_TRUE(fits_host(chunk, job, 0, needs(chunk)));
    EXPECT_FALSE(fits_host(chunk, job, 0, needs(chunk) - 1));
  }
  CostedStep auto_step(settings_of(kAutoChunk, false), local);
  EXPECT_EQ(find_chunk(auto_step.step(), job, at::kCPU, needs(12), local), 12);
  EXPECT_EQ(find_chunk(auto_step.step(), job, at::kCPU, needs(12) - 1, local), 6);
  EXPECT_EQ(find_chunk(auto_step.step(), job, at::kCPU, needs(3), local), 3);
  EXPECT_THROW(find_chunk(auto_step.step(), job, at::kCPU, needs(1) - 1, local), ConfigError);
}

}  // namespace
}  // namespace muster
