#include "dataloader/sampler.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "dataloader/group_sampler.h"
#include "dataloader/sample_list.h"
#include "dataloader/sen_sampler.h"
#include "dataloader/uniform_sampler.h"
#include "launch/error.h"

namespace muster {
namespace {

std::unique_ptr<Sampler> make_identity_sampler(const SampleList& samples, const IdentitySampling& config,
                                               int64_t global_batch, uint64_t seed) {
  const std::string field = "data.sampler.identity";
  if (config.samples() < 1 || config.identities() < 0) {
    throw ConfigError(fmt::format("{} has identities: {} and samples: {}: give at least 1 of each", field,
                                  config.identities(), config.samples()));
  }
  const int64_t identities = config.identities() > 0 ? config.identities() : global_batch / config.samples();
  if (identities * config.samples() != global_batch) {
    throw ConfigError(
        fmt::format("{} makes batches of {} identities x {} samples = {}, but train.global_batch is {}: "
                    "make them equal",
                    field, identities, config.samples(), identities * config.samples(), global_batch));
  }
  SampleGroups groups = samples.by_identity();
  if (groups.size() < identities) {
    throw ConfigError(
        fmt::format("there are {} identities to train on, fewer than the {} of each batch: lower {}.identities or "
                    "train.global_batch",
                    groups.size(), identities, field));
  }
  return std::make_unique<GroupSampler>(std::move(groups), identities, config.samples(), seed);
}

std::unique_ptr<Sampler> make_sen_sampler(const SampleList& samples, const SenSampling& config, int64_t global_batch,
                                          uint64_t seed) {
  if (config.samples() < 1 || global_batch % config.samples() != 0) {
    throw ConfigError(fmt::format("data.sampler.sen.samples is {}: give a divisor of train.global_batch, {}",
                                  config.samples(), global_batch));
  }
  const int64_t identities = global_batch / config.samples();
  SampleGroups groups = samples.by_identity();
  if (SenSampler::batches(groups, identities, global_batch) == 0) {
    throw ConfigError(
        fmt::format("the {} identities to train on cannot fill one batch of {} in rounds of {} different ones: lower "
                    "train.global_batch or raise data.sampler.sen.samples",
                    groups.size(), global_batch, identities));
  }
  return std::make_unique<SenSampler>(std::move(groups), identities, config.samples(), global_batch, seed);
}

std::unique_ptr<Sampler> make_image_unique_sampler(const SampleList& samples, int64_t global_batch, uint64_t seed) {
  SampleGroups groups = samples.by_image();
  if (groups.size() < global_batch) {
    throw ConfigError(
        fmt::format("data.sampler.image_unique needs as many images as train.global_batch, {}, and there are {} to "
                    "train on: lower it",
                    global_batch, groups.size()));
  }
  return std::make_unique<GroupSampler>(std::move(groups), global_batch, 1, seed);
}

}  // namespace

std::unique_ptr<Sampler> make_sampler(const SampleList& samples, const SamplerConfig& config, int64_t global_batch,
                                      uint64_t seed) {
  if (global_batch < 1) throw ConfigError(fmt::format("train.global_batch is {}: give at least 1", global_batch));
  switch (config.kind_case()) {
    case SamplerConfig::kIdentity:
      return make_identity_sampler(samples, config.identity(), global_batch, seed);
    case SamplerConfig::kSen:
      return make_sen_sampler(samples, config.sen(), global_batch, seed);
    case SamplerConfig::kImageUnique:
      return make_image_unique_sampler(samples, global_batch, seed);
    case SamplerConfig::kUniform:
    case SamplerConfig::KIND_NOT_SET:
      break;
  }
  return std::make_unique<UniformSampler>(samples.ranges(), global_batch, seed);
}

}  // namespace muster
