#include "trainer/ranks_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"

namespace muster {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string csv_text(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

struct Direction {
  const char* name;
  const Ranking& ranking;
  const NamedSide& queries;
  const NamedSide& gallery;
  const char* query_name;  // what a name on that side is
  const char* hit_name;
};

// Calls hit(rank from 1, gallery row, score, right) for one query's hits.
template <typename Take>
void for_each_hit(const Direction& direction, size_t query, const Take& take) {
  const auto row = static_cast<int64_t>(query);
  const int64_t* index = direction.ranking.index[row].const_data_ptr<int64_t>();
  const float* score = direction.ranking.score[row].const_data_ptr<float>();
  const int64_t label = direction.queries.labels[static_cast<size_t>(direction.ranking.queries[query])];
  for (int64_t k = 0; k < direction.ranking.index.size(1); ++k) {
    take(k + 1, index[k], score[k], direction.gallery.labels[static_cast<size_t>(index[k])] == label);
  }
}

std::string json_fields(const RowName& row, const char* what) {
  const std::string name = row.name.empty() ? "" : fmt::format("\"{}\":{},", what, json_text(row.name));
  return name + fmt::format("\"identity\":{}", json_text(row.identity));
}

std::string json_line(const Direction& direction, size_t query) {
  const int64_t row = direction.ranking.queries[query];
  std::string line = fmt::format("{{\"direction\":\"{}\",\"query\":{},{},\"hits\":[", direction.name, row,
                                 json_fields(direction.queries.naming(row), direction.query_name));
  for_each_hit(direction, query, [&](int64_t rank, int64_t hit, float score, bool right) {
    line += fmt::format("{}{{\"row\":{},{},\"score\":{},\"right\":{}}}", rank > 1 ? "," : "", hit,
                        json_fields(direction.gallery.naming(hit), direction.hit_name), score, right);
  });
  return line + "]}\n";
}

std::string csv_lines(const Direction& direction, size_t query) {
  const int64_t row = direction.ranking.queries[query];
  const RowName query_name = direction.queries.naming(row);
  const std::string head =
      fmt::format("{},{},{},{}", direction.name, row, csv_text(query_name.name), csv_text(query_name.identity));
  std::string lines;
  for_each_hit(direction, query, [&](int64_t rank, int64_t hit, float score, bool right) {
    const RowName hit_name = direction.gallery.naming(hit);
    lines += fmt::format("{},{},{},{},{},{},{}\n", head, rank, hit, csv_text(hit_name.name),
                         csv_text(hit_name.identity), score, right);
  });
  return lines;
}

}  // namespace

void check_ranks_path(const std::string& path) {
  if (ends_with(path, ".jsonl") || ends_with(path, ".csv")) return;
  throw ConfigError(fmt::format("--ranks {}: the name must end in .jsonl or .csv, which says what is written", path));
}

void write_ranks(const std::string& path, const Ranking& by_text, const Ranking& by_image, const NamedSide& images,
                 const NamedSide& texts) {
  check_ranks_path(path);
  const bool csv = ends_with(path, ".csv");
  const Direction directions[] = {{"text_to_image", by_text, texts, images, "caption", "path"},
                                  {"image_to_text", by_image, images, texts, "path", "caption"}};
  write_file_atomically(path, [&](const ByteSink& sink) {
    const std::string head =
        csv ? "direction,query,query_name,query_identity,rank,hit,hit_name,hit_identity,score,right\n" : "";
    sink(head.data(), head.size());
    for (const Direction& direction : directions) {
      for (size_t query = 0; query < direction.ranking.queries.size(); ++query) {
        const std::string lines = csv ? csv_lines(direction, query) : json_line(direction, query);
        sink(lines.data(), lines.size());
      }
    }
  });
}

}  // namespace muster
