#include "trainer/report/metrics_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/line_reader.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order of the terms

constexpr size_t kMaxLineBytes = 1 << 20;

Json to_json(const RetrievalMetrics& metrics) {
  return {{"r1", metrics.r1},
          {"r5", metrics.r5},
          {"r10", metrics.r10},
          {"map", metrics.map},
          {"minp", metrics.minp},
          {"queries", metrics.queries},
          {"gallery", metrics.gallery},
          {"skipped", metrics.skipped},
          {"median_rank", metrics.median_rank},
          {"mean_rank", metrics.mean_rank}};
}

double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : std::nan("");
}

int64_t integer(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

std::string text(const Json& object, const char* key, const char* otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

RetrievalMetrics metrics_from(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_object()) return {};
  RetrievalMetrics metrics{number(*found, "r1"),       number(*found, "r5"),      number(*found, "r10"),
                           number(*found, "map"),      number(*found, "minp"),    integer(*found, "queries"),
                           integer(*found, "gallery"), integer(*found, "skipped")};
  if (found->contains("ap50")) metrics.ap50 = number(*found, "ap50");
  metrics.median_rank = number(*found, "median_rank");
  metrics.mean_rank = number(*found, "mean_rank");
  return metrics;
}

std::vector<NamedNdcg> ndcg_from(const Json& line) {
  std::vector<NamedNdcg> all;
  const auto found = line.find("ndcg");
  if (found == line.end() || !found->is_object()) return all;
  for (const auto& [name, value] : found->items()) {
    if (value.is_object()) all.push_back({name, number(value, "text_to_image"), number(value, "image_to_text")});
  }
  return all;
}

StepRecord step_from(const Json& line) {
  StepRecord record;
  record.step = integer(line, "step");
  record.total_steps = integer(line, "total_steps");
  record.epoch = number(line, "epoch");
  record.loss = number(line, "loss");
  if (const auto terms = line.find("terms"); terms != line.end() && terms->is_object()) {
    for (const auto& [name, value] : terms->items()) {
      record.terms.emplace_back(name, value.is_number() ? value.get<double>() : std::nan(""));
    }
  }
  record.grad_norm = number(line, "grad_norm");
  record.rate = number(line, "rate");
  record.logit_scale = number(line, "logit_scale");
  record.samples_per_second = number(line, "samples_per_second");
  record.data_wait_share = number(line, "data_wait_share");
  record.comm_wait_share = number(line, "comm_wait_share");
  record.eta_seconds = number(line, "eta_seconds");
  return record;
}

// Discarded if it is no record.
Json parse_line(const std::string& line) {
  Json parsed = Json::parse(line, nullptr, false);
  const bool record = parsed.is_object() && parsed.contains("kind") && parsed["kind"].is_string() &&
                      parsed.contains("step") && parsed["step"].is_number_integer();
  return record ? parsed : Json(Json::value_t::discarded);
}

// Anything else that is wrong with it is for the reader to report.
bool is_absent(const std::string& path) {
  std::error_code error;
  return !std::filesystem::exists(path, error) && !error;
}

}  // namespace

std::string to_json_line(const StepRecord& record) {
  Json terms = Json::object();
  for (const auto& [name, value] : record.terms) terms[name] = value;
  return Json{{"kind", "step"},
              {"step", record.step},
              {"total_steps", record.total_steps},
              {"epoch", record.epoch},
              {"loss", record.loss},
              {"terms", terms},
              {"grad_norm", record.grad_norm},
              {"rate", record.rate},
              {"logit_scale", record.logit_scale},
              {"samples_per_second", record.samples_per_second},
              {"data_wait_share", record.data_wait_share},
              {"comm_wait_share", record.comm_wait_share},
              {"eta_seconds", record.eta_seconds}}
      .dump();
}

std::string to_json_line(const EvaluationRecord& record) {
  Json line{{"kind", "evaluation"},
            {"step", record.step},
            {"split", record.split},
            {"text_to_image", to_json(record.text_to_image)},
            {"image_to_text", to_json(record.image_to_text)}};
  if (!record.data.empty()) {
    line["data"] = record.data;
    line["positives"] = record.positives;
  }
  if (record.positives == "class") line["text_to_image"]["ap50"] = record.text_to_image.ap50;
  if (record.folds > 1) line["folds"] = record.folds;
  for (const NamedNdcg& one : record.ndcg) {
    line["ndcg"][one.name] = {{"text_to_image", one.text_to_image}, {"image_to_text", one.image_to_text}};
  }
  if (!record.refinement.empty()) line["refinement"] = record.refinement;
  return line.dump();
}

MetricsHistory read_metrics(const std::string& path) {
  MetricsHistory history;
  if (is_absent(path)) return history;
  LineReader lines(path, kMaxLineBytes);
  for (std::string line; lines.next(line);) {
    const Json parsed = parse_line(line);
    if (parsed.is_discarded()) {
      ++history.damaged_lines;
    } else if (parsed["kind"] == "step") {
      history.steps.push_back(step_from(parsed));
    } else if (parsed["kind"] == "evaluation") {
      history.evaluations.push_back(
          {integer(parsed, "step"), text(parsed, "split", ""), metrics_from(parsed, "text_to_image"),
           metrics_from(parsed, "image_to_text"), text(parsed, "data", ""), text(parsed, "positives", "identity"),
           std::max<int64_t>(1, integer(parsed, "folds")), ndcg_from(parsed), text(parsed, "refinement", "")});
    }
  }
  return history;
}

void record_evaluation(const std::string& path, const EvaluationRecord& record) {
  std::string lines;
  for (const EvaluationRecord& other : read_metrics(path).evaluations) {
    const bool same = other.step == record.step && other.split == record.split && other.data == record.data &&
                      other.positives == record.positives && other.folds == record.folds &&
                      other.refinement == record.refinement;
    if (!same) lines += to_json_line(other) + '\n';
  }
  write_file_atomically(path, lines + to_json_line(record) + '\n');
}

int64_t cut_metrics(const std::string& path, int64_t last_step) {
  if (is_absent(path)) return 0;
  int64_t damaged = 0;
  write_file_atomically(path, [&](const ByteSink& sink) {
    LineReader lines(path, kMaxLineBytes);
    for (std::string line; lines.next(line);) {
      const Json parsed = parse_line(line);
      if (parsed.is_discarded()) {
        ++damaged;
      } else if (integer(parsed, "step") <= last_step) {
        line += '\n';
        sink(line.data(), line.size());
      }
    }
  });
  return damaged;
}

}  // namespace muster
