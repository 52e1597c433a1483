#include "trainer/report/result_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace muster {
namespace {

constexpr const char* kSeed = "train.seed";
constexpr std::array<const char*, 5> kFigures = {"R@1", "R@5", "R@10", "mAP", "mINP"};
constexpr std::array<const char*, 5> kKeys = {"r1", "r5", "r10", "map", "minp"};

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

std::array<double, 5> figures_of(const RetrievalMetrics& metrics) {
  return {metrics.r1, metrics.r5, metrics.r10, metrics.map, metrics.minp};
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

// The ten figures of a row: text to image, then image to text.
std::vector<Figure> figures_of(const ResultRow& row, Spread spread) {
  std::vector<Figure> figures;
  for (auto direction : {&EvaluationRecord::text_to_image, &EvaluationRecord::image_to_text}) {
    for (size_t i = 0; i < kFigures.size(); ++i) {
      std::vector<double> values;
      for (const EvaluationRecord* run : row.runs) values.push_back(figures_of(run->*direction)[i]);
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
  std::string text = "| run | n |", rule = "| --- | ---: |";
  for (const char* direction : {"T2I", "I2T"}) {
    for (const char* figure : kFigures) {
      text += fmt::format(" {} {} |", direction, figure);
      rule += " ---: |";
    }
  }
  text += "\n" + rule + "\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("| {} | {} |", escaped(row.label, "|"), row.runs.size());
    for (const Figure& figure : figures_of(row, spread)) {
      text += row.runs.size() > 1 ? fmt::format(" {:.2f} ± {:.2f} |", figure.mean, figure.spread)
                                  : fmt::format(" {:.2f} |", figure.mean);
    }
    text += "\n";
  }
  return text + "\n" + explanation(rows, spread) + "\n";
}

std::string latex(const std::vector<ResultRow>& rows, Spread spread) {
  std::string text =
      "% needs \\usepackage{booktabs}\n\\begin{tabular}{lr*{10}{r}}\n\\toprule\n"
      " & & \\multicolumn{5}{c}{text to image} & \\multicolumn{5}{c}{image to text} \\\\\n"
      "\\cmidrule(lr){3-7} \\cmidrule(lr){8-12}\nrun & $n$";
  for (int direction = 0; direction < 2; ++direction) {
    for (const char* figure : kFigures) text += fmt::format(" & {}", figure);
  }
  text += " \\\\\n\\midrule\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("{} & {}", escaped(row.label, "_#%&${}"), row.runs.size());
    for (const Figure& figure : figures_of(row, spread)) {
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
  for (const char* direction : {"t2i", "i2t"}) {
    for (const char* key : kKeys) text += fmt::format(",{0}_{1},{0}_{1}_{2}", direction, key, suffix);
  }
  text += "\n";
  for (const ResultRow& row : rows) {
    text += fmt::format("{},{}", quoted(row.label), row.runs.size());
    for (const Figure& figure : figures_of(row, spread)) {
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
