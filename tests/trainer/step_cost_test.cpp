// What a step is said to cost against what the real parts take, send and compute.
#include "trainer/step_cost.h"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "dataloader/loader.h"
#include "dataloader/tokenizer.h"
#include "tests/support/allocated_bytes.h"
#include "tests/support/counted_flop.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/costed_step.h"
#include "trainer/references/reference_file.h"

namespace muster {
namespace {

TEST(StepCost, TrafficIsAsForeseen) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const int64_t batch : {13, 8}) {
      auto all = costed_settings(batch);
      for (const auto& regions : costed_region_settings(batch)) all.push_back(regions);
      for (const auto& [what, settings] : all) {
        run_ranks(ranks, [&, &name = what, &run = settings](Communicator& communicator) {
          expect_traffic(name, run, communicator);
        });
      }
    }
  }
}

TEST(StepCost, FlopAreThoseOfTheProductsThatAreMade) {
  for (const int ranks : {1, 3}) {
    auto all = costed_settings(13);
    // More than a tile, of which the similarities are made twice.
    all.emplace_back("large",
                     with_references(small_settings("term { sdm {} }", 1100), ReferencesConfig::SHARDED, false));
    for (const auto& [what, settings] : all) {
      run_ranks(ranks, [&, &name = what, &run = settings](Communicator& communicator) {
        CostedStep step(run, communicator);
        CountedFlop counted;
        step.run();
        const double foreseen = step_flop(step.job(), communicator.rank()).sum(), real = counted.take();
        // Of the references of a batch's identities the most there can be are foreseen.
        const bool is_bound = run.references.negatives() == ReferencesConfig::BATCH;
        EXPECT_LE(real, (1 + 1e-9) * foreseen) << name << ", rank " << communicator.rank();
        EXPECT_GE(real, (1 - (is_bound ? 2e-3 : 1e-9)) * foreseen) << name << ", rank " << communicator.rank();
      });
    }
  }
}

int64_t bytes_of(const NamedTensors& tensors) {
  int64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += static_cast<int64_t>(tensor.second.nbytes());
  return bytes;
}

std::map<std::string, MemoryItem> items_of(const StepJob& job, int rank) {
  std::map<std::string, MemoryItem> items;
  for (const MemoryItem& item : step_memory(job, rank)) items[item.what] = item;
  return items;
}

TEST(StepCost, WeightsOptimizerAndBankAreAsLargeAsForeseen) {
  for (const int ranks : {1, 3}) {
    for (const auto& [what, settings] : costed_settings(13)) {
      run_ranks(ranks, [&, &name = what, &run = settings](Communicator& communicator) {
        CostedStep step(run, communicator);
        step.run();
        std::map<std::string, MemoryItem> items = items_of(step.job(), communicator.rank());
        EXPECT_EQ(items["weights"].bytes, bytes_of(replica_tensors(step.model(), step.objective(), step.heads())));
        EXPECT_EQ(items["optimizer"].bytes, bytes_of(step.optimizer().state()));
        if (!keeps_references(run.references)) return;
        const ReferenceBank& bank = step.bank();
        const int64_t slot = run.references.per_identity() == 1 ? 8 * bank.rows().size(0) : 0;  // kept all the same
        const int64_t state = bytes_of(bank.row_state()) + bytes_of(bank.means()) + slot;
        const std::string placement = bank.is_sharded() ? "references, sharded" : "references, replicated";
        EXPECT_EQ(items[placement].bytes, state) << name;
        const int64_t gradient = reference_bytes(step.job(), communicator.rank(), bank.is_sharded()) - state;
        if (run.references.negatives() == ReferencesConfig::BANK && run.references.fusion_weight() > 0) {
          EXPECT_EQ(gradient, static_cast<int64_t>(bank.rows().nbytes())) << name;
          EXPECT_TRUE(items["their gradient"].exact);
        }
        EXPECT_EQ(gradient, items["their gradient"].bytes);
      });
    }
  }
}

TEST(StepCost, AnEvaluationsMatricesAreAsLargeAsForeseen) {
  for (const int ranks : {1, 3}) {
    for (const int64_t batch : {130, 2600}) {
      if (ranks > 1 && batch < 1000) continue;
      run_ranks(ranks, [&](Communicator& communicator) {
        CostedStep step(small_settings("term { info_nce {} } term { triplet {} } term { sdm {} }", batch),
                        communicator);
        const Batch rows = step.rows_of_rank();
        at::Generator generator = at::detail::createCPUGenerator(1);
        Features features;
        features.pairs.push_back(
            {"global", at::randn({rows.size(), 24}, generator), at::randn({rows.size(), 24}, generator)});
        LossObjective objective(small_settings("term { info_nce {} }", batch).objective);
        AllocatedBytes allocated;
        objective.evaluate(features, {rows.identity, rows.image_id, rows.position, {}}, {}, communicator);
        const int64_t foreseen = items_of(step.job(), communicator.rank())["loss, matrices"].bytes;
        // A thread may free what another one took, as the collectives have it.
        const int64_t others = communicator.size() == 1 ? 0 : foreseen / 100;
        EXPECT_GE(allocated.most(), foreseen - others);
        EXPECT_LE(allocated.most(), foreseen + 8 * 3 * batch + 1000 + others);  // identities and two statistics
      });
    }
  }
}

TEST(StepCost, BatchesOfTheLoaderAreAsLargeAsForeseen) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", 12);
  const Store store(folder / "store");
  StepJob job;
  job.settings = small_settings("term { info_nce {} }", 13);
  job.settings.data.set_prefetch(2);
  job.settings.model.mutable_text()->set_vocabulary(49408);
  job.caption_tokens = 12;
  job.world = 3;
  const auto tokenizer = make_tokenizer(job.settings.data.tokenizer());
  for (const int rank : {0, 2}) {
    AllocatedBytes allocated;
    Loader loader(store, job.settings.data, {16, 32, 12}, *tokenizer, {1, 13, {rank, 3}, 0, 9});
    const Batch held = loader.next();
    const Batch next = loader.next();
    EXPECT_EQ(allocated.now(), items_of(job, rank)["batches"].bytes);
  }
}

TEST(StepCost, ACheckpointsCopyIsAsLargeAsForeseen) {
  for (const int64_t average : {0, 1}) {
    run_ranks(2, [&](Communicator& communicator) {
      RunSettings settings =
          with_references(small_settings("term { info_nce {} }", 13), ReferencesConfig::REPLICATED, true);
      if (average > 0) settings.train.mutable_ema()->set_decay(0.9);
      CostedStep step(settings, communicator);
      if (communicator.rank() != 0) return;
      const TemporaryFolder folder;
      CheckpointStore checkpoints(folder / "run", CheckpointConfig());
      Snapshot snapshot;
      snapshot.model = replica_tensors(step.model(), step.objective(), step.heads());
      if (average > 0) snapshot.ema = snapshot.model;
      snapshot.optimizer = step.optimizer().state();
      snapshot.references = reference_tensors(step.bank(), {});
      AllocatedBytes allocated;
      checkpoints.save_async(snapshot);
      const int64_t slot = 8 * step.bank().rows().size(0);  // a checkpoint has none where there is one of each
      EXPECT_EQ(allocated.now() + slot, items_of(step.job(), 0)["checkpoint's copy"].bytes);
      checkpoints.wait();
    });
  }
}

// What a head is said to leave for its backward is an estimate.
TEST(StepCost, AHeadsMemoryIsAboutAsForeseen) {
  const auto expect_about = [](CostedStep& step, const Features& live, const at::Tensor& references,
                               const std::string& where) {
    const Batch batch = step.whole_batch();
    AllocatedBytes allocated;
    const at::Tensor sum = step.heads()[0]->sum(batch, live, references, step.model(), 0);
    const auto foreseen = static_cast<double>(items_of(step.job(), 0)["heads"].bytes);
    EXPECT_NEAR(static_cast<double>(allocated.now()), foreseen, 0.15 * foreseen) << where;
  };
  run_ranks(1, [&](Communicator& communicator) {
    RunSettings settings = with_references(small_settings("term { info_nce {} }", 40), ReferencesConfig::AUTO, true);
    for (const int blocks : {1, 3}) {
      settings.heads.mutable_masked_words()->set_blocks(blocks);
      CostedStep step(settings, communicator);
      const Batch batch = step.whole_batch();
      at::Tensor references = at::randn({batch.size(), settings.model.joint_width()});
      references.requires_grad_();
      expect_about(step, {}, references, std::to_string(blocks) + " blocks");
    }
    settings = small_settings("term { info_nce {} }", 40);
    settings.heads.mutable_masked_words()->set_weight(1);
    settings.heads.mutable_masked_words()->set_context(MaskedWordsConfig::IMAGE);
    for (const auto& [blocks, padding] : {std::pair{1, false}, {4, false}, {4, true}}) {
      settings.heads.mutable_masked_words()->set_blocks(blocks);
      settings.heads.mutable_masked_words()->set_attend_padding(padding);
      CostedStep step(settings, communicator);
      const Features live = step.model().forward(step.whole_batch(), 0, step.heads()[0]->tokens());
      expect_about(step, live, {}, std::to_string(blocks) + " blocks, words of the image");
    }
    settings = small_settings("term { info_nce {} }", 40);
    settings.heads.mutable_image_restoration()->set_weight(1);
    for (const auto& [blocks, pixels, ratio] : {std::tuple{1, 32, 0.7}, {4, 32, 0.7}, {2, 64, 0.5}}) {
      settings.heads.mutable_image_restoration()->set_blocks(blocks);
      settings.heads.mutable_image_restoration()->set_mask_ratio(ratio);
      settings.model.mutable_image()->set_height_pixels(pixels);
      CostedStep step(settings, communicator);
      const Features live = step.model().forward(step.whole_batch(), 0, step.heads()[0]->tokens());
      expect_about(step, live, {}, std::to_string(blocks) + " blocks, restoration");
    }
    settings.heads.mutable_image_restoration()->set_weight(0);
    settings.heads.mutable_identity_classifier()->set_weight(1);
    CostedStep step(settings, communicator);
    expect_about(step, step.model().forward(step.whole_batch(), 0), {}, "identities");
  });
}

Traffic sum_of(const std::vector<StepCall>& calls, bool gradients) {
  Traffic sum;
  for (const StepCall& call : calls) {
    if ((call.part == StepPart::kGradients) == gradients) sum += call.traffic;
  }
  return sum;
}

// The model of time, at corners where it can be said by hand.
Traffic gather_traffic_of(const StepJob& job, const std::string& name) {
  for (const StepCall& call : step_calls(job, 0)) {
    if (call.name == name) return call.traffic;
  }
  return {};
}

TEST(StepCost, TimeIsThatOfFlopAndOfWhatNothingHides) {
  StepJob job;
  job.settings = small_settings("term { info_nce {} }", 4096);
  job.caption_tokens = kCaptionTokens;
  job.world = 4;
  const double never = 1e30;
  const StepFlop flop = step_flop(job, 0);
  const Traffic buckets = sum_of(step_calls(job, 0), true), rest = sum_of(step_calls(job, 0), false);
  ASSERT_GT(buckets.sent, 0);
  ASSERT_GT(rest.sent, 0);

  const StepTime no_network = step_time(job, {1e9, never, 0});
  EXPECT_NEAR(no_network.step, flop.sum() / 1e9, 1e-9);
  EXPECT_NEAR(no_network.samples_per_second, 4096 / no_network.step, 1e-6);
  EXPECT_NEAR(no_network.efficiency, 1, 1e-9);  // the cut is even, and each rank has more than a tile

  const auto sent = static_cast<double>(buckets.sent + rest.sent);
  const auto messages = static_cast<double>(buckets.messages + rest.messages);
  const StepTime no_work = step_time(job, {never, 1e6, 1e-3});
  EXPECT_NEAR(no_work.step, sent / 1e6 + messages * 1e-3, 1e-9);
  EXPECT_NEAR(no_work.network, no_work.step, 1e-9);

  // Backward hides the buckets as far as it lasts.
  const double slow = 1e-3 * static_cast<double>(buckets.sent) / (flop.last_backward / 1e9);  // bytes/s
  const StepTime waiting = step_time(job, {1e9, slow, 0});
  const auto texts = static_cast<double>(gather_traffic_of(job, "loss.text").sent);
  const double images = static_cast<double>(rows_of(job, 0)) * image_flop(job.settings.model).forward;
  ASSERT_GT(texts / slow, images / 1e9);
  EXPECT_NEAR(waiting.exposed, sent / slow - (flop.last_backward + images) / 1e9, 1e-9 * waiting.step);
  // What is quicker than backward: all but the last bucket; captions' features are quicker than images.
  const double fast = 1e3 * static_cast<double>(buckets.sent) / (flop.last_backward / 1e9);
  const auto last = static_cast<double>(all_reduce_traffic(bucket_sizes(job).back(), 4, 0, 4).sent);
  EXPECT_NEAR(step_time(job, {1e9, fast, 0}).exposed, (static_cast<double>(rest.sent) - texts + last) / fast, 1e-12);
  EXPECT_LT(step_time(job, {1e9, slow, 0}).efficiency, 0.1);

  job.world = 1;
  const StepTime alone = step_time(job, {1e9, 1, 1});
  EXPECT_EQ(alone.efficiency, 1);
  EXPECT_EQ(alone.exposed, 0);

  // Chunks cost a second forward and leave less backward to hide behind.
  job.world = 4;
  job.settings.train.set_chunk(300);  // 1,024 rows: 300, 300, 300, 124
  const StepFlop chunked = step_flop(job, 0);
  EXPECT_DOUBLE_EQ(chunked.again, flop.forward);
  EXPECT_NEAR(chunked.last_backward, flop.backward * 124 / 1024, 1e-6 * flop.backward);
}

// A replicated bank's gradient has all of what follows the loss to hide behind.
TEST(StepCost, AReplicatedBanksGradientHidesBehindTheEncoders) {
  StepJob job;
  job.settings = with_references(small_settings("term { info_nce {} }", 64), ReferencesConfig::REPLICATED, false);
  job.caption_tokens = kCaptionTokens;
  job.world = 4;
  job.identities = 1000000;
  int64_t gradient = 0, other = 0;
  for (const StepCall& call : step_calls(job, 0))
    (call.name == "references.gradient" ? gradient : other) += call.traffic.sent;
  EXPECT_NEAR(static_cast<double>(gradient), 2.0 * 3 / 4 * 1e6 * 24 * 4, 100);
  const double after_loss = step_flop(job, 0).backward;
  const StepTime time = step_time(job, {1e9, 1e6, 0});
  const double hidden = time.network - time.exposed;
  EXPECT_GE(hidden, after_loss / 1e9);
  const double images = static_cast<double>(rows_of(job, 0)) * image_flop(job.settings.model).forward;  // for captions
  EXPECT_LE(hidden, (2 * after_loss + images) / 1e9);
}

}  // namespace
}  // namespace muster
