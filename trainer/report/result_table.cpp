#include "trainer/report/result_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace muster {
namespace {

constexpr const char* kSeed = "train.seed";

struct Column {
  const char* name;
  const char* key;
  double RetrievalMetrics::*figure;
};
constexpr std::array<Column, 5> kColumns = {{{"R@1", "r1", &RetrievalMetrics::r1},
                                             {"R@5", "r5", &RetrievalMetrics::r5},
                                             {"R@10", "r10", &RetrievalMetrics::r10},
                                             {"mAP", "map", &RetrievalMetrics::map},
                                             {"mINP", "minp", &RetrievalMetrics::minp}}};
constexpr Column kOfClasses = {"AP@50", "ap50", &RetrievalMetrics::ap50};

struct Direction {
  const char* name;
  const char* key;
  const char* words;
  RetrievalMetrics EvaluationRecord::*metrics;
  std::vector<Column> columns;
};

using Fields = std::vector<std::pair<std::string, std::string>>;

Fields without_seed(Fields fields) {
  fields.erase(std::remove_if(fields.begin(), fields.end(), [](const auto& field) { return field.first == kSeed; }),
               fields.end());
  return fields;
}

std::string value_in(const Fields& fields, const std::string& name) {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
  return found == fields.end() ? "unset" : found->second;
}

// Fields whose value is not the same in all groups, in the order of the configs.
std::vector<std::string> differing_fields(const std::vector<Fields>& groups) {
  std::vector<std::string> names;
  for (const Fields& fields : groups) {
    for (const auto& [name, value] : fields) {
      const bool differs =
          std::any_of(groups.begin(), groups.end(),
                      [&, name = name, value = value](const auto& other) { return value_in(other, name) != value; });
      if (differs && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

// What the rows, which are all of one kind, have figures of.
std::vector<Direction> directions_of(const std::vector<ResultRow>& rows) {
  std::vector<Direction> both = {
      {"T2I", "t2i", "text to image", &EvaluationRecord::text_to_image, {kColumns.begin(), kColumns.end()}},
      {"I2T", "i2t", "image to text", &EvaluationRecord::image_to_text, {kColumns.begin(), kColumns.end()}}};
  if (!rows.empty() && rows.front().runs.front()->positives == "class") both[0].columns.push_back(kOfClasses);
  return both;
}

struct Figure {
  double mean = 0;
  double spread = 0;
};

Figure summarise(const std::vector<double>& values, Spread kind) {
  const auto n = static_cast<double>(values.size());
  Figure figure;
  for (const double value : values) figure.mean += value / n;
  if (values.size() < 2) return figure;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  if (kind == Spread::kHalfRange) {
    figure.spread = (*most - *least) / 2;
  } else {
    double squares = 0;
    for (const double value : values) squares += (value - figure.mean) * (value - figure.mean);
    figure.spread = std::sqrt(squares / (n - 1));
  }
  return figure;
}

// The figures of a row: text to image, then image to text.
std::vector<Figure> figures_of(const ResultRow& row, const std::vector<Direction>& directions, Spread spread) {
  std::vector<Figure> figures;
  for (const Direction& direction : directions) {
    for (const Column& column : direction.columns) {
      std::vector<double> values;
      for (const EvaluationRecord* run : row.runs) values.push_back(run->*direction.metrics.*column.figure);
      figures.push_back(summarise(values, spread));
    }
  }
  return figures;
}

std::string escaped(const std::string& text, const std::string& special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string::npos) result += '\\';
    result += c;
  }
  return result;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

std::string spread_name(Spread spread) {
  return spread == Spread::kDeviation ? "sample standard deviation (n - 1)" : "half of the range";
}

bool any_spread(const std::vector<ResultRow>& rows) {
  return std::any_of(rows.begin(), rows.end(), [](const ResultRow& row) { return row.runs.size() > 1; });
}

std::string explanation(const std::vector<ResultRow>& rows, Spread spread) {
  const std::string figures = "Percent; T2I text to image, I2T image to text";
  return any_spread(rows)
             ? fmt::format("{}; mean ± {} over the n runs that differ in the seed only.", figures, spread_name(spread))
             : figures + ".";
}

std::string markdown(const std::vector<ResultRow>& rows, Spread spread) {
  const std::vector<Direction> directions = directions_of(rows);
  std::string text = "| run | n |", rule = "| --- | ---: |";
  for (const Direction& direction : directions) {
    for (const Column& column : direction.columns) {
      text += fmt::format(" {} {} |", direction.name, column.name);
      rule += " ---: |";
    }
  }
  text += "\n" + rule + "\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("| {} | {} |", escaped(row.label, "|"), row.runs.size());
    for (const Figure& figure : figures_of(row, directions, spread)) {
      text += row.runs.size() > 1 ? fmt::format(" {:.2f} ± {:.2f} |", figure.mean, figure.spread)
                                  : fmt::format(" {:.2f} |", figure.mean);
    }
    text += "\n";
  }
  return text + "\n" + explanation(rows, spread) + "\n";
}

std::string latex(const std::vector<ResultRow>& rows, Spread spread) {
  const std::vector<Direction> directions = directions_of(rows);
  std::string heads, rules, names;
  size_t columns = 0;
  for (const Direction& direction : directions) {
    heads += fmt::format(" & \\multicolumn{{{}}}{{c}}{{{}}}", direction.columns.size(), direction.words);
    rules += fmt::format("{}\\cmidrule(lr){{{}-{}}}", columns > 0 ? " " : "", columns + 3,
                         columns + 2 + direction.columns.size());
    for (const Column& column : direction.columns) names += fmt::format(" & {}", column.name);
    columns += direction.columns.size();
  }
  std::string text = fmt::format(
      "% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{lr*{{{}}}{{r}}}}\n\\toprule\n"
      " &{} \\\\\n{}\nrun & $n${}",
      columns, heads, rules, names);
  text += " \\\\\n\\midrule\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("{} & {}", escaped(row.label, "_#%&${}"), row.runs.size());
    for (const Figure& figure : figures_of(row, directions, spread)) {
      text += row.runs.size() > 1 ? fmt::format(" & ${:.2f}_{{\\pm {:.2f}}}$", figure.mean, figure.spread)
                                  : fmt::format(" & {:.2f}", figure.mean);
    }
    text += " \\\\\n";
  }
  text += "\\bottomrule\n\\end{tabular}\n";
  return any_spread(rows) ? text + "% mean and " + spread_name(spread) + " over n seeds, percent\n"
                          : text + "% percent\n";
}

std::string csv(const std::vector<ResultRow>& rows, Spread spread) {
  const std::string suffix = spread == Spread::kDeviation ? "sd" : "half_range";
  std::string text = "run,n";
  const std::vector<Direction> directions = directions_of(rows);
  for (const Direction& direction : directions) {
    for (const Column& column : direction.columns) {
      text += fmt::format(",{0}_{1},{0}_{1}_{2}", direction.key, column.key, suffix);
    }
  }
  text += "\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("{},{}", quoted(row.label), row.runs.size());
    for (const Figure& figure : figures_of(row, directions, spread)) {
      text += row.runs.size() > 1 ? fmt::format(",{:.4f},{:.4f}", figure.mean, figure.spread)
                                  : fmt::format(",{:.4f},", figure.mean);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::vector<ResultRow> group_results(const std::vector<RunResult>& results) {
  std::vector<Fields> groups;
  std::vector<ResultRow> rows;
  for (const RunResult& result : results) {
    Fields fields = without_seed(result.fields);
    if (!result.data.empty()) fields.emplace_back("data", result.data);
    const auto found = std::find(groups.begin(), groups.end(), fields);
    const auto row = static_cast<size_t>(found - groups.begin());
    if (found == groups.end()) {
      groups.push_back(std::move(fields));
      rows.emplace_back();
    }
    rows[row].label += (rows[row].label.empty() ? "" : ", ") + result.name;
    rows[row].runs.push_back(&result.record);
  }
  const std::vector<std::string> differing = differing_fields(groups);
  for (size_t row = 0; row < rows.size() && !differing.empty(); ++row) {
    rows[row].label.clear();
    for (const std::string& name : differing) {
      rows[row].label += fmt::format("{}{} {}", rows[row].label.empty() ? "" : ", ", name, value_in(groups[row], name));
    }
  }
  return rows;
}

std::string format_result_table(const std::vector<ResultRow>& rows, TableFormat format, Spread spread) {
  switch (format) {
    case TableFormat::kMarkdown:
      return markdown(rows, spread);
    case TableFormat::kLatex:
      return latex(rows, spread);
    case TableFormat::kCsv:
      return csv(rows, spread);
  }
  return "";
}

}  // namespace muster
