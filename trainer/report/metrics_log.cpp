#include "trainer/report/metrics_log.h"

#include <fmt/format.h>

#include <vector>

#include "launch/log.h"
#include "trainer/report/metrics_file.h"

namespace muster {
namespace {

// The path, once the file at it holds nothing after `resume_step`.
std::string cut_at(const std::string& path, int64_t resume_step) {
  const int64_t damaged = cut_metrics(path, resume_step);
  if (damaged > 0) log_warning(fmt::format("{}: {} damaged line(s) removed, such as a kill leaves", path, damaged));
  return path;
}

using Scalars = std::vector<std::pair<std::string, double>>;

void add_direction(Scalars& scalars, const std::string& prefix, const RetrievalMetrics& metrics) {
  scalars.emplace_back(prefix + "R@1", metrics.r1);
  scalars.emplace_back(prefix + "R@5", metrics.r5);
  scalars.emplace_back(prefix + "R@10", metrics.r10);
  scalars.emplace_back(prefix + "mAP", metrics.map);
  scalars.emplace_back(prefix + "mINP", metrics.minp);
}

}  // namespace

std::string metrics_path(const std::string& run_dir) {
  return run_dir + "/metrics.jsonl";
}

MetricsLog::MetricsLog(const std::string& run_dir, int64_t resume_step)
    : file_(cut_at(metrics_path(run_dir), resume_step)), tensorboard_(run_dir + "/tensorboard", resume_step + 1) {
  for (const EvaluationRecord& record : read_metrics(metrics_path(run_dir)).evaluations) {
    evaluated_.emplace(record.step, record.split);
  }
}

void MetricsLog::step(const StepRecord& record) {
  file_.append(to_json_line(record) + '\n');
  Scalars scalars{{"train/loss", record.loss}};
  for (const auto& [name, value] : record.terms) scalars.emplace_back("terms/" + name, value);
  scalars.emplace_back("train/grad_norm", record.grad_norm);
  scalars.emplace_back("train/rate", record.rate);
  scalars.emplace_back("train/logit_scale", record.logit_scale);
  scalars.emplace_back("train/epoch", record.epoch);
  scalars.emplace_back("speed/samples_per_second", record.samples_per_second);
  scalars.emplace_back("speed/data_wait_share", record.data_wait_share);
  scalars.emplace_back("speed/comm_wait_share", record.comm_wait_share);
  tensorboard_.scalars(record.step, scalars);
}

void MetricsLog::evaluation(const EvaluationRecord& record) {
  if (!evaluated_.emplace(record.step, record.split).second) return;
  file_.append(to_json_line(record) + '\n');
  Scalars scalars;
  add_direction(scalars, record.split + "/text_to_image/", record.text_to_image);
  add_direction(scalars, record.split + "/image_to_text/", record.image_to_text);
  tensorboard_.scalars(record.step, scalars);
}

void MetricsLog::flush() {
  file_.sync();
  tensorboard_.sync();
}

}  // namespace muster
