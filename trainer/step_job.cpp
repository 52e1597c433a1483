#include "trainer/step_job.h"

#include <memory>

#include "dataloader/region_batch.h"
#include "dataloader/sample_list.h"
#include "dataloader/text_transform.h"
#include "trainer/head_cost.h"
#include "trainer/head_start.h"
#include "trainer/model_tokenizer.h"
#include "trainer/references/reference_bank.h"

namespace muster {

StepJob make_step_job(const RunSettings& settings, const TrainingStores& stores, int world, int64_t caption_tokens) {
  for (const auto& share : stores.shares()) check_readable(*share.store, settings.model.regions().width());
  StepJob job;
  job.settings = settings;
  job.world = world;
  job.caption_tokens = caption_tokens;
  const std::vector<int64_t> identities = SampleList(stores, settings.data).identities();
  job.some_identity = identities.empty() ? 0 : identities.front();
  if (keeps_references(settings.references) || heads_need_references(settings.heads)) {
    job.identities = static_cast<int64_t>(identities.size());
  }
  const std::unique_ptr<Tokenizer> tokenizer = make_model_tokenizer(settings.data, settings.model);
  const TextTransform opened(settings.data.text(), *tokenizer);
  for (const auto& head : make_heads(settings, stores, *tokenizer)) {
    for (const auto& parameter : head->named_parameters()) {
      job.head_parameters.push_back({parameter_prefix(*head) + parameter.key(), parameter.value().numel()});
    }
    job.masked_words = expected_masked_words(settings.heads.masked_words(), job.caption_tokens);
  }
  return job;
}

}  // namespace muster
