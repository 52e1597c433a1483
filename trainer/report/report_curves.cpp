#include "trainer/report/report_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "trainer/report/chart_axis.h"
#include "trainer/report/svg_chart.h"

namespace muster {
namespace {

Chart chart_over_steps(const std::string& title, const std::vector<StepRecord>& steps) {
  Chart chart;
  chart.title = title;
  chart.x_name = "step";
  for (const StepRecord& record : steps) chart.x.push_back(static_cast<double>(record.step));
  return chart;
}

void add_series(Chart& chart, const std::string& name, const std::vector<StepRecord>& steps,
                const std::function<double(const StepRecord&)>& value) {
  ChartSeries series{name, {}};
  for (const StepRecord& record : steps) series.values.push_back(value(record));
  chart.series.push_back(std::move(series));
}

Chart loss_chart(const std::vector<StepRecord>& steps) {
  Chart chart = chart_over_steps("Loss", steps);
  add_series(chart, "total", steps, [](const StepRecord& record) { return record.loss; });
  const auto terms = steps.back().terms;
  if (terms.size() < 2) return chart;
  for (size_t t = 0; t < terms.size(); ++t) {
    add_series(chart, terms[t].first, steps, [t, &terms](const StepRecord& record) {
      return t < record.terms.size() && record.terms[t].first == terms[t].first ? record.terms[t].second : std::nan("");
    });
  }
  return chart;
}

Chart waiting_chart(const std::vector<StepRecord>& steps) {
  Chart chart = chart_over_steps("Time spent waiting", steps);
  chart.unit = " %";
  chart.from_zero = true;
  add_series(chart, "for data", steps, [](const StepRecord& record) { return 100 * record.data_wait_share; });
  add_series(chart, "for peers", steps, [](const StepRecord& record) { return 100 * record.comm_wait_share; });
  return chart;
}

Chart single(const std::string& title, const std::string& name, const std::vector<StepRecord>& steps, bool from_zero,
             const std::function<double(const StepRecord&)>& value) {
  Chart chart = chart_over_steps(title, steps);
  chart.from_zero = from_zero;
  add_series(chart, name, steps, value);
  return chart;
}

Chart evaluation_chart(const std::string& figure, double RetrievalMetrics::*value, const std::string& split,
                       const std::vector<EvaluationRecord>& evaluations) {
  Chart chart;
  chart.title = figure + " on " + split;
  chart.x_name = "step";
  chart.unit = " %";
  chart.from_zero = true;
  chart.mark_points = evaluations.size() <= 40;
  chart.series = {{"text to image", {}}, {"image to text", {}}};
  for (const EvaluationRecord& record : evaluations) {
    chart.x.push_back(static_cast<double>(record.step));
    chart.series[0].values.push_back(record.text_to_image.*value);
    chart.series[1].values.push_back(record.image_to_text.*value);
  }
  return chart;
}

double median_finite(const std::vector<StepRecord>& steps, double StepRecord::*value) {
  std::vector<double> values;
  for (const StepRecord& record : steps) {
    if (std::isfinite(record.*value)) values.push_back(record.*value);
  }
  if (values.empty()) return std::nan("");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string speed_card(const std::vector<StepRecord>& steps) {
  return fmt::format(
      "<div class=\"speed card\"><span class=\"name\">In figures</span><dl>"
      "<dt>throughput, median</dt><dd>{} samples/s</dd><dt>waiting for data, median</dt><dd>{} %</dd>"
      "<dt>waiting for peers, median</dt><dd>{} %</dd><dt>steps</dt><dd>{} of {}</dd>"
      "<dt>passes over the data</dt><dd>{}</dd></dl></div>\n",
      format_value(median_finite(steps, &StepRecord::samples_per_second)),
      format_value(100 * median_finite(steps, &StepRecord::data_wait_share)),
      format_value(100 * median_finite(steps, &StepRecord::comm_wait_share)), steps.back().step,
      steps.back().total_steps, format_value(steps.back().epoch));
}

// Steps may only grow along an axis: of records with the same step, as two runs into one folder leave, the last counts.
template <typename Record>
std::vector<Record> by_step(const std::vector<Record>& records) {
  std::map<int64_t, Record> latest;
  for (const Record& record : records) latest[record.step] = record;
  std::vector<Record> ordered;
  for (auto& [step, record] : latest) ordered.push_back(std::move(record));
  return ordered;
}

}  // namespace

std::string render_curves(const MetricsHistory& history) {
  std::map<std::string, std::vector<EvaluationRecord>> splits;
  for (const EvaluationRecord& record : history.evaluations) splits[record.split].push_back(record);
  std::string html;
  const std::vector<StepRecord> steps = by_step(history.steps);
  if (!steps.empty()) html += render_chart(loss_chart(steps));
  for (const auto& [split, evaluations] : splits) {
    html += render_chart(evaluation_chart("R@1", &RetrievalMetrics::r1, split, by_step(evaluations)));
    html += render_chart(evaluation_chart("mAP", &RetrievalMetrics::map, split, by_step(evaluations)));
  }
  if (!steps.empty()) {
    html += render_chart(single("Learning rate", "rate", steps, true, [](const StepRecord& r) { return r.rate; }));
    html += render_chart(
        single("Gradient norm", "before clipping", steps, true, [](const StepRecord& r) { return r.grad_norm; }));
    html +=
        render_chart(single("Logit scale", "scale", steps, false, [](const StepRecord& r) { return r.logit_scale; }));
    html += render_chart(
        single("Throughput", "samples/s", steps, true, [](const StepRecord& r) { return r.samples_per_second; }));
    html += render_chart(waiting_chart(steps)) + speed_card(steps);
  }
  if (html.empty()) return "<p class=\"empty\">The run has logged nothing yet.</p>\n";
  return "<div class=\"charts\">\n" + html + "</div>\n";
}

}  // namespace muster
