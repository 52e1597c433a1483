#include "trainer/reference_start.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "dataloader/evaluation_reader.h"
#include "dataloader/sample_list.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/evaluation.h"
#include "trainer/head_start.h"
#include "trainer/inherited_references.h"
#include "trainer/model_tokenizer.h"

namespace muster {
namespace {

at::Tensor unit(const at::Tensor& rows) {
  const at::Tensor exact = rows.to(at::kCPU, at::kFloat);
  return exact / at::linalg_vector_norm(exact, 2, {1}, true).clamp_min(1e-12);
}

// Images of a store that are trained on, and their pairs' features.
class PairFeatures {
 public:
  PairFeatures(Model& model, const Store& store, const RunSettings& settings, const Tokenizer& tokenizer)
      : model_(model),
        store_(store),
        reader_(store, settings.data, input_size(settings.model), tokenizer),
        batch_(settings.train.evaluation().batch()) {}

  // [n, width]: of each image the sum over its captions of both unit features.
  at::Tensor of(const std::vector<int64_t>& images) {
    std::vector<int64_t> captions, owner;
    for (size_t i = 0; i < images.size(); ++i) {
      for (int64_t c = 0; c < store_.caption_count(images[i]); ++c) {
        captions.push_back(store_.first_caption(images[i]) + c);
        owner.push_back(static_cast<int64_t>(i));
      }
    }
    at::Tensor sums = unit(model_.encode_image(reader_.images(images)));
    for (size_t i = 0; i < images.size(); ++i) {
      sums.select(0, static_cast<int64_t>(i)).mul_(store_.caption_count(images[i]));
    }
    for (size_t first = 0; first < captions.size(); first += static_cast<size_t>(batch_)) {
      const size_t end = std::min(captions.size(), first + static_cast<size_t>(batch_));
      const auto begin = captions.begin();
      const at::Tensor texts = unit(model_.encode_text(
          reader_.tokens({begin + static_cast<std::ptrdiff_t>(first), begin + static_cast<std::ptrdiff_t>(end)})));
      for (size_t i = first; i < end; ++i)
        sums.select(0, owner[i]).add_(texts.select(0, static_cast<int64_t>(i - first)));
    }
    return sums;
  }

 private:
  Model& model_;
  const Store& store_;
  EvaluationReader reader_;
  int64_t batch_;
};

// Of these identities, ascending.
void add_means(ReferenceBank& bank, const std::vector<int64_t>& wanted, Model& model, const RunSettings& settings,
               const TrainingStores& stores, Communicator& communicator) {
  const std::unique_ptr<Tokenizer> tokenizer = make_model_tokenizer(settings.data, settings.model);
  const SampleList samples(stores, settings.data);
  const int64_t batch = settings.train.evaluation().batch();
  for (size_t part = 0; part < stores.shares().size(); ++part) {
    const TrainingStores::Share& share = stores.shares()[part];
    std::vector<int64_t> images;
    for (const int64_t image : samples.images_of(part)) {
      const int64_t identity = share.first_identity + share.store->identity(image);
      if (std::binary_search(wanted.begin(), wanted.end(), identity)) images.push_back(image);
    }
    PairFeatures features(model, *share.store, settings, *tokenizer);
    const auto count = static_cast<int64_t>(images.size());
    const Slice slice = slice_of(count, {communicator.rank(), communicator.size()});
    // Every rank adds as many batches as the one that has most images.
    const int64_t most = split_rows(count, communicator.size()).front();
    for (int64_t first = 0; first < most; first += batch) {
      const int64_t mine = std::max<int64_t>(0, std::min(batch, slice.count - first));
      const auto begin = images.begin() + slice.first + first;
      std::vector<int64_t> numbers, identities;
      if (mine > 0) numbers.assign(begin, begin + mine);
      for (const int64_t image : numbers) identities.push_back(share.first_identity + share.store->identity(image));
      bank.add_to_sums(at::tensor(identities, at::kLong),
                       mine > 0 ? features.of(numbers) : at::zeros({0, bank.width()}, at::kFloat));
    }
  }
}

}  // namespace

std::unique_ptr<ReferenceBank> make_references(const RunSettings& settings, const TrainingStores& stores,
                                               Communicator& communicator, const LossDevice& device) {
  if (!keeps_references(settings.references) && !heads_need_references(settings.heads)) return nullptr;
  const SampleList samples(stores, settings.data);
  std::vector<int64_t> identities = samples.identities();
  int64_t pairs = 0;
  for (size_t part = 0; part < stores.shares().size(); ++part) {
    const Store& store = *stores.shares()[part].store;
    for (const int64_t image : samples.images_of(part)) pairs += store.caption_count(image);
  }
  if (pairs == static_cast<int64_t>(identities.size())) {
    throw ConfigError(fmt::format(
        "references: {} has no identities, each image with its one caption is its own; import it with an identity "
        "column, or set references.fusion_weight, references.guidance_weight and heads.masked_words.weight to 0",
        stores.describe()));
  }
  return std::make_unique<ReferenceBank>(settings.references, std::move(identities), settings.model.joint_width(),
                                         settings.train.seed(), settings.train.global_batch(), communicator, at::kFloat,
                                         device.shape(), device);
}

void initialise_references(ReferenceBank& bank, Model& model, const RunSettings& settings, const TrainingStores& stores,
                           Communicator& communicator) {
  if (settings.references.init() == ReferencesConfig::NORMAL) return bank.initialise_normal();
  communicator.set_phase("references", settings.comm.slow_phase_timeout_s());
  const at::NoGradGuard no_grad;
  const bool inherits = settings.references.init() == ReferencesConfig::RUN;
  InheritedReferences inherited;
  if (inherits) inherited = find_inherited_references(settings.references.init_run(), bank, stores, communicator);
  const std::vector<int64_t> wanted = inherits ? inherited.without : SampleList(stores, settings.data).identities();
  const bool was_training = model.is_training();
  model.eval();
  if (communicator.rank() == 0 && !wanted.empty()) {
    log_info(fmt::format("references: one pass over {} training images and captions for their first values",
                         inherits ? "the new identities'" : "all"));
  }
  bank.begin_sums();
  add_means(bank, wanted, model, settings, stores, communicator);
  // What stays empty until it is inherited is drawn too.
  const int64_t drawn = bank.end_sums() - (bank.order().identity_count() - static_cast<int64_t>(wanted.size()));
  if (inherits) take_inherited_references(inherited, bank, communicator);
  if (communicator.rank() == 0 && drawn > 0) {
    log_warning(fmt::format("references: {} identities have features of length 0; their references are random", drawn));
  }
  model.train(was_training);
}

}  // namespace muster
