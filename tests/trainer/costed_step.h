// A training step of a small model whose costs are known from its config, and what it really does: for tests with ranks
// as threads and as processes.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "comm/gradient_reducer.h"
#include "trainer/clean_pairs.h"
#include "trainer/encoders/model.h"
#include "trainer/heads/identity_classifier.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/heads/masked_words.h"
#include "trainer/replica.h"
#include "trainer/step.h"
#include "trainer/step_cost.h"

namespace muster {

constexpr int64_t kCaptionTokens = 9;  // of every caption
constexpr int64_t kPeople = 11;

inline RunSettings small_settings(const std::string& objective, int64_t batch) {
  RunSettings settings;
  ModelConfig& model = settings.model;
  model.set_preset(ModelConfig::MINI);
  model.mutable_image()->set_width_pixels(16);
  model.mutable_image()->set_height_pixels(32);
  model.mutable_image()->set_width(48);
  model.mutable_image()->set_layers(2);
  model.mutable_image()->set_heads(2);
  model.mutable_text()->set_context(12);
  model.mutable_text()->set_vocabulary(600);
  model.mutable_text()->set_width(32);
  model.mutable_text()->set_layers(2);
  model.mutable_text()->set_heads(2);
  model.set_joint_width(24);
  model = resolve_model(model);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(objective, &settings.objective));
  settings.train.set_global_batch(batch);
  settings.train.set_steps(1);
  settings.comm.set_bucket_bytes(1 << 16);
  return settings;
}

// Of regions and words; their losses are on the pair "alignment".
inline RunSettings region_settings(const std::string& objective, int64_t batch) {
  RunSettings settings = small_settings(objective, batch);
  ModelConfig model;
  model.mutable_regions()->set_width(20);
  model.mutable_regions()->set_layers(1);
  model.mutable_regions()->set_hidden(20);
  model.mutable_regions()->set_joint_layers(1);
  model.mutable_regions()->set_joint_hidden(12);
  model.mutable_regions()->set_text_positions(12);
  *model.mutable_text() = settings.model.text();
  model.set_joint_width(8);
  settings.model = resolve_model(model);
  return settings;
}

// With a bank and, if `words`, a head that reads it.
inline RunSettings with_references(RunSettings settings, ReferencesConfig::Placement placement, bool words) {
  settings.references.set_fusion_weight(1);
  settings.references.set_guidance_weight(1);
  settings.references.set_guidance_ramp_epochs(0);
  settings.references.set_placement(placement);
  if (words) settings.heads.mutable_masked_words()->set_weight(1);
  return settings;
}

inline std::vector<int64_t> people() {
  std::vector<int64_t> all(kPeople);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// This rank's part of a step with everything that its settings ask for.
class CostedStep {
 public:
  // `model`: another one than the settings'.
  CostedStep(const RunSettings& settings, Communicator& communicator, std::shared_ptr<Model> model = nullptr)
      : settings_(settings),
        communicator_(communicator),
        model_(model ? std::move(model) : make_model(settings.model, 1)),
        objective_(settings.objective),
        heads_(heads_of(settings)),
        trainable_(take_trainable(*model_, objective_, settings.train.optimizer(), heads_)),
        optimizer_(trainable_, settings.train.optimizer()),
        reducer_(trainable_, communicator, settings.comm.bucket_bytes()),
        head_losses_(heads_, *model_, communicator) {
    if (keeps_references(settings.references)) {
      bank_ = std::make_unique<ReferenceBank>(settings.references, people(), settings.model.joint_width(), 1,
                                              settings.train.global_batch(), communicator);
      bank_->initialise_normal();
    }
    step_ = std::make_unique<TrainingStep>(*model_, objective_, trainable_, reducer_, optimizer_, communicator,
                                           step_options(settings.train), bank_.get(),
                                           heads_.empty() ? nullptr : &head_losses_);
  }

  StepJob job() const {
    StepJob job;
    job.settings = settings_;
    job.world = communicator_.size();
    job.caption_tokens = kCaptionTokens;
    job.identities = bank_ ? kPeople : 0;
    for (const auto& head : heads_) {
      for (const auto& parameter : head->named_parameters()) {
        job.head_parameters.push_back({parameter_prefix(*head) + parameter.key(), parameter.value().numel()});
      }
      if (head->name() != "masked_words") continue;
      const Batch batch = rows_of_rank();
      job.masked_words = static_cast<double>(head->count(batch, 0)) / static_cast<double>(batch.size());
    }
    return job;
  }

  Batch whole_batch() const {
    at::Generator generator = at::detail::createCPUGenerator(3);
    const ModelConfig& model = settings_.model;
    const int64_t rows = settings_.train.global_batch();
    Batch batch;
    if (has_sets(model)) {
      batch.region_counts = at::randint(1, 6, {rows}, generator, at::kLong);
      const int64_t regions = batch.region_counts.sum().item<int64_t>();
      batch.regions = at::rand({regions, model.regions().width()}, generator).to(at::kHalf);
      batch.boxes = at::rand({regions, kBoxNumbers}, generator);
    } else {
      batch.images = at::randn({rows, 3, model.image().height_pixels(), model.image().width_pixels()}, generator);
    }
    batch.tokens = at::randint(1, 500, {rows, model.text().context()}, generator, at::kLong);
    batch.tokens.narrow(1, kCaptionTokens, model.text().context() - kCaptionTokens).zero_();
    batch.tokens.select(1, 0).fill_(598);
    batch.tokens.select(1, kCaptionTokens - 1).fill_(599);
    batch.identity = at::randint(kPeople, {rows}, generator, at::kLong);
    batch.position = batch.image_id = at::arange(rows, at::kLong);
    return batch;
  }

  Batch rows_of_rank() const {
    const Batch whole = whole_batch();
    return slice_batch(whole, slice_of(whole.size(), {communicator_.rank(), communicator_.size()}));
  }

  void run() {
    model_->train();
    const Batch rows = rows_of_rank();
    const at::Tensor weight = divides_pairs(settings_.train) ? at::ones({rows.size()}, at::kDouble) : at::Tensor();
    step_->run(rows, {0, 1}, 1, weight);
  }

  // Bytes handed to the collectives of a step, by their names.
  std::map<std::string, int64_t> traced_bytes() {
    TraceRecorder recorder;
    communicator_.record_to(&recorder);
    recorder.start();
    run();
    communicator_.record_to(nullptr);
    std::map<std::string, int64_t> bytes;
    for (const TraceEvent& event : recorder.take()) {
      if (event.overlaps) bytes[event.name] += event.number.value;
    }
    return bytes;
  }

  // Distinct identities of the batch.
  int64_t people_in_batch() const {
    std::map<int64_t, int> seen;
    const at::Tensor identity = whole_batch().identity;
    for (int64_t i = 0; i < identity.numel(); ++i) ++seen[identity.const_data_ptr<int64_t>()[i]];
    return static_cast<int64_t>(seen.size());
  }

  Model& model() { return *model_; }
  TrainingStep& step() { return *step_; }
  const NamedParameters& trainable() const { return trainable_; }
  const LossObjective& objective() const { return objective_; }
  const Heads& heads() const { return heads_; }
  const Optimizer& optimizer() const { return optimizer_; }
  const ReferenceBank& bank() const { return *bank_; }

 private:
  static Heads heads_of(const RunSettings& settings) {
    Heads heads;
    std::vector<int64_t> seen(400);
    std::iota(seen.begin(), seen.end(), 1);
    const HeadsConfig& config = settings.heads;
    if (config.masked_words().weight() > 0) {
      heads.push_back(make_masked_words(config.masked_words(), settings.model, {1, 500, 597}, seen, 1));
    }
    if (config.image_restoration().weight() > 0) {
      heads.push_back(make_image_restoration(config.image_restoration(), settings.model, 1));
    }
    if (config.identity_classifier().weight() > 0) {
      heads.push_back(make_identity_classifier(config.identity_classifier(), settings.model, people(), 1));
    }
    return heads;
  }

  RunSettings settings_;
  Communicator& communicator_;
  std::shared_ptr<Model> model_;
  LossObjective objective_;
  Heads heads_;
  NamedParameters trainable_;
  Optimizer optimizer_;
  GradientReducer reducer_;
  std::unique_ptr<ReferenceBank> bank_;
  HeadLosses head_losses_;
  std::unique_ptr<TrainingStep> step_;
};

// The traced bytes of a step on this rank are those of step_calls(), name by name; those that depend on the batch's
// identities are not more, and add up over the ranks to what the batch needs. Collective.
inline void expect_traffic(const std::string& what, const RunSettings& settings, Communicator& communicator) {
  CostedStep step(settings, communicator);
  const StepJob job = step.job();
  const std::string where =
      what + ", rank " + std::to_string(communicator.rank()) + " of " + std::to_string(communicator.size());
  const int64_t before = communicator.bytes_started();
  std::map<std::string, int64_t> real = step.traced_bytes();
  const int64_t started = communicator.bytes_started() - before;
  const int64_t row = settings.model.joint_width() * static_cast<int64_t>(sizeof(float));
  int64_t handed = 0, slack = 0;
  for (const StepCall& call : step_calls(job, communicator.rank())) {
    if (call.name == "agree on stop") continue;  // the trainer's, after the step
    ASSERT_EQ(real.count(call.name), 1U) << call.name << " is not called, " << where;
    const int64_t bytes = real[call.name];
    real.erase(call.name);
    handed += call.traffic.handed;
    slack += call.traffic.handed - bytes;
    if (!call.is_bound || call.name == "references.row_gradients") {
      EXPECT_EQ(bytes, call.traffic.handed) << call.name << ", " << where;
    } else {
      EXPECT_LE(bytes, call.traffic.handed) << call.name << ", " << where;
    }
    if (call.name == "references.rows") {
      const at::Tensor sum = at::full({1}, bytes, at::kLong);
      communicator.all_reduce(sum, ReduceOp::kSum, "test").wait();
      EXPECT_EQ(sum.item<int64_t>(), settings.train.global_batch() * row) << where;
    }
    if (call.name == "references.gradient" && call.is_bound) {
      EXPECT_EQ(bytes, step.people_in_batch() * settings.references.per_identity() * row) << where;
    }
  }
  EXPECT_TRUE(real.empty()) << real.begin()->first << " is not foreseen, " << where;
  EXPECT_EQ(started, handed - slack) << where;
}

// Every kind of step.
inline std::vector<std::pair<std::string, RunSettings>> costed_settings(int64_t batch) {
  std::vector<std::pair<std::string, RunSettings>> all;
  const std::string info_nce = "term { info_nce { positives: IDENTITY } }";
  const google::protobuf::OneofDescriptor* losses = Term::descriptor()->FindOneofByName("loss");
  for (int i = 0; i < losses->field_count(); ++i) {
    const std::string loss = losses->field(i)->name();
    if (loss == "list_net") continue;  // needs another pair of features
    const std::string objective = "term { " + loss + " {} }";
    all.emplace_back(objective, small_settings(objective, batch));
  }
  for (const std::string& objective :
       {std::string("term { triplet { negatives: ALL } }"), std::string("term { triplet { negatives: SOFT } }"),
        std::string("term { info_nce {} } term { weight: 2 sdm {} } term { triplet {} } term { cmpm {} }"),
        std::string("term { info_nce { positives: IDENTITY self_target: 0.5 } } term { cyclic {} }")}) {
    all.emplace_back(objective, small_settings(objective, batch));
  }
  RunSettings changed = small_settings(info_nce, batch);
  changed.train.set_chunk(2);
  changed.train.mutable_optimizer()->set_kind(OptimizerConfig::SGD);
  ParameterGroup* frozen = changed.train.mutable_optimizer()->add_group();
  frozen->set_name("image.*");
  frozen->set_freeze(true);
  changed.objective.mutable_logit_scale()->set_learnable(false);
  all.emplace_back("a frozen tower in chunks", changed);
  RunSettings rde = small_settings("term { tal {} } term { pair: \"selected\" tal {} }", batch);
  rde.model.mutable_token_selection()->set_width(20);
  rde.model = resolve_model(rde.model);
  all.emplace_back("selected tokens", rde);
  rde.model.mutable_token_selection()->set_padding(true);
  rde.train.mutable_clean_pairs()->set_iterations(10);
  all.emplace_back("selected tokens and padding, clean pairs", rde);
  RunSettings sen = small_settings(info_nce, batch);
  sen.heads.mutable_image_restoration()->set_weight(1);
  all.emplace_back("restoration", sen);
  sen.heads.mutable_identity_classifier()->set_weight(1);
  sen.heads.mutable_image_restoration()->set_mask_ratio(0.4);
  sen.heads.mutable_image_restoration()->set_attend_padding(true);
  sen.heads.mutable_image_restoration()->set_skip_one(true);
  sen.heads.mutable_image_restoration()->set_blocks(1);
  sen.train.set_chunk(3);
  all.emplace_back("restoration as published, identities, in chunks", sen);
  sen.heads.mutable_image_restoration()->set_weight(0);
  all.emplace_back("identities", sen);
  sen = with_references(sen, ReferencesConfig::SHARDED, true);
  sen.heads.mutable_image_restoration()->set_weight(1);
  all.emplace_back("all heads", sen);
  RunSettings irra = small_settings("term { sdm {} }", batch);
  irra.heads.mutable_masked_words()->set_weight(1);
  irra.heads.mutable_masked_words()->set_context(MaskedWordsConfig::IMAGE);
  all.emplace_back("words of the image", irra);
  irra.heads.mutable_masked_words()->set_blocks(3);
  irra.heads.mutable_masked_words()->set_output(MaskedWordsConfig::ALL);
  irra.heads.mutable_masked_words()->set_attend_padding(true);
  irra.heads.mutable_identity_classifier()->set_weight(1);
  irra.train.set_chunk(3);
  all.emplace_back("words of the image as published, identities, in chunks", irra);
  irra.heads.mutable_masked_words()->set_detach_text(true);
  irra.heads.mutable_masked_words()->set_output(MaskedWordsConfig::TIED);
  irra.heads.mutable_image_restoration()->set_weight(1);
  all.emplace_back("words of the image from fixed captions, restoration", irra);
  all.emplace_back("AUTO", with_references(small_settings(info_nce, batch), ReferencesConfig::AUTO, true));
  for (const auto placement : {ReferencesConfig::REPLICATED, ReferencesConfig::SHARDED}) {
    const std::string name = ReferencesConfig::Placement_Name(placement);
    all.emplace_back(name, with_references(small_settings(info_nce, batch), placement, false));
    all.emplace_back(name + ", words", with_references(small_settings(info_nce, batch), placement, true));
    RunSettings few = with_references(small_settings(info_nce, batch), placement, true);
    few.references.set_negatives(ReferencesConfig::BATCH);
    few.references.set_per_identity(2);
    few.train.set_chunk(3);
    few.heads.mutable_masked_words()->set_blocks(2);
    few.heads.mutable_masked_words()->set_reference_tokens(3);
    few.heads.mutable_masked_words()->set_output(MaskedWordsConfig::TIED);
    all.emplace_back(name + ", words, of the batch alone", few);
    few.references.set_fusion_weight(0);
    all.emplace_back(name + ", words, no fusion", few);
    RunSettings fusion = with_references(small_settings(info_nce, batch), placement, false);
    fusion.references.set_guidance_weight(0);
    all.emplace_back(name + ", no guidance", fusion);
  }
  return all;
}

// Steps on sets of regions and words, which are gathered or travel.
inline std::vector<std::pair<std::string, RunSettings>> costed_region_settings(int64_t batch) {
  std::vector<std::pair<std::string, RunSettings>> all;
  for (const std::string& term :
       {std::string("term { pair: \"alignment\" triplet {} }"),
        std::string("term { pair: \"alignment\" triplet { negatives: ALL } }"),
        std::string("term { pair: \"alignment\" nt_xent {} }"),
        std::string("term { pair: \"alignment\" triplet {} } term { list_net {} } term { triplet {} }")}) {
    for (const char* gathered : {"", " alignment { gathered_mib: 0 }"}) {
      all.emplace_back(term + gathered, region_settings(term + gathered, batch));
    }
  }
  return all;
}

}  // namespace muster
