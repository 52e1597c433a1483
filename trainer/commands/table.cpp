#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "configs/load.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/run_config.h"
#include "trainer/config_fields.h"
#include "trainer/report/metrics_file.h"
#include "trainer/report/metrics_log.h"
#include "trainer/report/result_table.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

struct TableArguments {
  std::vector<std::string> runs;
  std::string split = "test";
  std::string step = "newest";
  std::string positives = "identity";
  int64_t folds = 1;
  std::string format = "markdown";
  std::string spread = "deviation";
};

TableFormat format_of(const TableArguments& arguments) {
  return arguments.format == "latex" ? TableFormat::kLatex
         : arguments.format == "csv" ? TableFormat::kCsv
                                     : TableFormat::kMarkdown;
}

Spread spread_of(const TableArguments& arguments) {
  return arguments.spread == "half-range" ? Spread::kHalfRange : Spread::kDeviation;
}

using Records = std::vector<EvaluationRecord>;

// The step with the best text-to-image R@1 on val, the first of equals, as checkpoints are kept.
int64_t best_step(const Records& during_training) {
  const EvaluationRecord* best = nullptr;
  for (const EvaluationRecord& record : during_training) {
    if (record.split != "val") continue;
    if (best == nullptr || record.text_to_image.r1 > best->text_to_image.r1) best = &record;
  }
  return best == nullptr ? -1 : best->step;
}

// The training does not say which data it evaluates on. But the same split and step evaluated again has the same
// figures, to the last bit; so where muster eval did that, its record tells.
std::string data_of_training(const Records& during_training, const Records& later) {
  for (const EvaluationRecord& one : during_training) {
    for (const EvaluationRecord& again : later) {
      if (again.split == one.split && again.step == one.step && again.positives == one.positives &&
          again.text_to_image.map == one.text_to_image.map && again.image_to_text.map == one.image_to_text.map) {
        return again.data;
      }
    }
  }
  return "";
}

// How a table names the scores that were ranked: muster eval --refine records three evaluations.
std::string scores_of(const EvaluationRecord& record) {
  if (record.refinement.empty()) return "plain";
  return record.refinement.rfind("control", 0) == 0 ? "control (centred features)" : "refined";
}

// Of the training's evaluations and those of muster eval, the wanted step's: one for each set of data and way to score.
using Evaluated = std::pair<std::string, std::string>;
std::map<Evaluated, EvaluationRecord> choose_records(const std::string& run_dir, const TableArguments& arguments) {
  const Records during_training = read_metrics(metrics_path(run_dir)).evaluations;
  Records records = read_metrics(evaluations_path(run_dir)).evaluations;
  const std::string data = data_of_training(during_training, records);
  for (const EvaluationRecord& record : during_training) {
    records.push_back(record);
    records.back().data = data;
  }
  const int64_t best = best_step(during_training);
  std::map<Evaluated, EvaluationRecord> chosen;
  for (const EvaluationRecord& record : records) {
    if (record.split != arguments.split || record.positives != arguments.positives || record.folds != arguments.folds) {
      continue;
    }
    if (arguments.step == "best" && record.step != best) continue;
    const Evaluated key{record.data, scores_of(record)};
    const auto found = chosen.find(key);
    if (found == chosen.end() || record.step >= found->second.step) chosen[key] = record;
  }
  return chosen;
}

// With the defaults of fields that the run's program did not know yet: an older run is not another row.
std::vector<std::pair<std::string, std::string>> fields_of(const std::string& run_dir) {
  std::vector<std::pair<std::string, std::string>> fields =
      list_config_fields(print_run_config(load_config_of(run_dir)));
  fields.erase(
      std::remove_if(fields.begin(), fields.end(), [](const auto& field) { return !decides_results(field.first); }),
      fields.end());
  return fields;
}

void print_table(const TableArguments& arguments) {
  std::vector<RunResult> results;
  std::vector<std::string> without;
  for (const std::string& run : arguments.runs) {
    const auto fields = fields_of(run);
    const auto chosen = choose_records(run, arguments);
    if (chosen.empty()) without.push_back(run);
    const std::string name = std::filesystem::path(run).lexically_normal().string();
    for (const auto& [key, record] : chosen) {
      auto its_fields = fields;
      its_fields.emplace_back("scores", key.second);
      results.push_back({name, its_fields, key.first.substr(0, 8), record});
    }
  }
  for (const std::string& run : without) {
    const bool best = arguments.step == "best";
    fmt::print(stderr,
               "muster: {} is left out, having no evaluation on {}{}; make one: muster eval --run {} --data STORE{}\n",
               run, arguments.split, best ? " of its best step" : "", run,
               fmt::format(" --split {}{}{}", arguments.split, best ? " --checkpoint best" : "",
                           arguments.positives == "identity" ? "" : " --positives " + arguments.positives));
  }
  if (results.empty())
    throw ConfigError(
        fmt::format("none of the {} runs has an evaluation on {}", arguments.runs.size(), arguments.split));
  fmt::print("{}", format_result_table(group_results(results), format_of(arguments), spread_of(arguments)));
}

}  // namespace

void add_table_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("table", "Print the retrieval figures of runs as one table; seeds become mean and spread");
  const auto arguments = std::make_shared<TableArguments>();
  command->add_option("RUN", arguments->runs, "Run folders of muster train that were evaluated")->required();
  command->add_option("--format", arguments->format, "markdown, latex or csv")
      ->check(CLI::IsMember({"markdown", "latex", "csv"}))
      ->capture_default_str();
  command->add_option("--split", arguments->split, "train, val or test")
      ->check(CLI::IsMember({"train", "val", "test"}))
      ->capture_default_str();
  command->add_option("--step", arguments->step, "newest evaluated, or best (on val)")
      ->check(CLI::IsMember({"newest", "best"}))
      ->capture_default_str();
  command->add_option("--positives", arguments->positives, "As muster eval: identity, image or class")
      ->check(CLI::IsMember({"identity", "image", "class"}))
      ->capture_default_str();
  command->add_option("--folds", arguments->folds, "As muster eval")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--spread", arguments->spread, "deviation (of the sample, n - 1) or half-range")
      ->check(CLI::IsMember({"deviation", "half-range"}))
      ->capture_default_str();
  command->callback([arguments, &process] {
    if (process.rank() == 0) print_table(*arguments);
  });
}

}  // namespace muster
