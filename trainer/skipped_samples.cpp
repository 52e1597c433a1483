#include "trainer/skipped_samples.h"

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "dataloader/sample_list.h"
#include "dataloader/sampler.h"
#include "trainer/report/append_file.h"

namespace muster {

std::string skipped_samples_path(const std::string& run_dir) {
  return run_dir + "/non_finite.jsonl";
}

void record_skipped_samples(const std::string& run_dir, const StepResult& result, int64_t steps_done,
                            const TrainingStores& stores, const DataConfig& data, const TrainConfig& train) {
  const SampleList samples(stores, data);
  const std::unique_ptr<Sampler> sampler = make_sampler(samples, data.sampler(), train.global_batch(), train.seed());
  const int64_t first = steps_done * train.global_batch();
  std::string lines;
  for (int64_t position = first; position < first + train.global_batch(); ++position) {
    const Sample sample = samples.at(sampler->sample(position), train.seed(), position);
    const nlohmann::ordered_json line = {{"kind", "non_finite"},     {"step", steps_done + 1},
                                         {"loss", result.loss},      {"grad_norm", result.gradient_norm},
                                         {"position", position},     {"store", sample.store->path()},
                                         {"image", sample.image},    {"file", sample.store->source_path(sample.image)},
                                         {"caption", sample.caption}};
    lines += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  }
  AppendFile file(skipped_samples_path(run_dir));
  file.append(lines);
  file.sync();
}

}  // namespace muster
