#include "trainer/report/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/report/chart_axis.h"
#include "trainer/report/html_text.h"

namespace muster {
namespace {

// The drawing in its own units; it scales with the page.
constexpr double kWidth = 400;
constexpr double kHeight = 220;
constexpr double kLeft = 46;
constexpr double kRight = 380;
constexpr double kTop = 22;
constexpr double kBottom = 188;
constexpr size_t kMaxPathPoints = 400;
constexpr size_t kMaxReadings = 80;
constexpr size_t kMaxNamesRead = 3;
constexpr size_t kColours = 6;

struct Frame {
  Axis x;
  Axis y;
  double px(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * (kRight - kLeft); }
  double py(double value) const { return kBottom - (value - y.low) / (y.high - y.low) * (kBottom - kTop); }
};

Frame make_frame(const Chart& chart, double low, double high) {
  if (chart.from_zero) low = std::min(low, 0.0);
  return {make_axis(chart.x.front(), chart.x.back(), 5, false), make_axis(low, high, 4, true)};
}

std::string render_axes(const Frame& frame, const Chart& chart) {
  std::string svg;
  for (size_t i = 0; i < frame.y.ticks.size(); ++i) {
    const double y = frame.py(frame.y.ticks[i]);
    svg += fmt::format(
        "<path class=\"grid\" d=\"M{} {:.1f}H{}\"/><text class=\"tick end\" x=\"{}\" y=\"{:.1f}\">{}</text>", kLeft, y,
        kRight, kLeft - 6, y + 4, frame.y.labels[i]);
  }
  for (size_t i = 0; i < frame.x.ticks.size(); ++i) {
    const double x = frame.px(frame.x.ticks[i]);
    svg += fmt::format(
        "<path class=\"axis\" d=\"M{:.1f} {}v4\"/><text class=\"tick middle\" x=\"{:.1f}\" y=\"{}\">{}</text>", x,
        kBottom, x, kBottom + 16, frame.x.labels[i]);
  }
  return svg + fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/><text class=\"tick end\" x=\"{}\" y=\"{}\">{}</text>",
                           kLeft, kBottom, kRight, kRight, kBottom + 30, escape_html(chart.x_name));
}

// Indices to draw: all, or the lowest, the highest and a gap of each of equal runs, so that no spike is lost.
std::vector<size_t> points_to_draw(const std::vector<double>& values) {
  std::vector<size_t> points;
  const size_t run = (values.size() + kMaxPathPoints / 2 - 1) / (kMaxPathPoints / 2);
  for (size_t begin = 0; begin < values.size(); begin += std::max<size_t>(run, 1)) {
    const size_t end = std::min(begin + run, values.size());
    size_t low = begin, high = begin, gap = end;
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(values[i])) gap = i;
      if (!(values[i] >= values[low])) low = i;
      if (!(values[i] <= values[high])) high = i;
    }
    std::vector<size_t> picked{low, high};
    if (gap != end) picked.push_back(gap);
    if (run <= 2) picked.assign({begin, end - 1});
    std::sort(picked.begin(), picked.end());
    picked.erase(std::unique(picked.begin(), picked.end()), picked.end());
    points.insert(points.end(), picked.begin(), picked.end());
  }
  return points;
}

std::string dot(const Frame& frame, double x, double y, size_t colour, const char* radius) {
  return fmt::format("<circle class=\"c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>", colour % kColours, frame.px(x),
                     frame.py(y), radius);
}

std::string render_line(const Frame& frame, const Chart& chart, size_t s) {
  const std::vector<double>& values = chart.series[s].values;
  std::string path, dots;
  bool pen_down = false;
  const std::vector<size_t> points = points_to_draw(values);
  for (size_t k = 0; k < points.size(); ++k) {
    const size_t i = points[k];
    if (!std::isfinite(values[i])) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", frame.px(chart.x[i]), frame.py(values[i]));
    const bool alone = !pen_down && (k + 1 == points.size() || !std::isfinite(values[points[k + 1]]));
    if (chart.mark_points || alone) dots += dot(frame, chart.x[i], values[i], s, "2.6");
    pen_down = true;
  }
  return fmt::format("<path class=\"line l{}\" d=\"{}\"/>{}", s % kColours, path, dots);
}

std::string reading_text(const Chart& chart, size_t i, size_t names) {
  std::string text = fmt::format("{} {}", chart.x_name, format_value(chart.x[i]));
  for (size_t s = 0; s < std::min(names, chart.series.size()); ++s) {
    text += fmt::format("  ·  {} {}{}", chart.series[s].name, format_value(chart.series[s].values[i]), chart.unit);
  }
  return escape_html(text);
}

// Invisible strips; the one under the pointer shows its values.
std::string render_readings(const Frame& frame, const Chart& chart) {
  std::vector<size_t> at;
  const size_t count = std::min(kMaxReadings, chart.x.size());
  for (size_t k = 0; k < count; ++k) at.push_back(count == 1 ? 0 : k * (chart.x.size() - 1) / (count - 1));
  std::string svg;
  for (size_t k = 0; k < at.size(); ++k) {
    const double x = frame.px(chart.x[at[k]]);
    const double left = k == 0 ? kLeft : (frame.px(chart.x[at[k - 1]]) + x) / 2;
    const double right = k + 1 == at.size() ? kRight : (frame.px(chart.x[at[k + 1]]) + x) / 2;
    svg += fmt::format("<g class=\"reading\"><rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>", left, kTop,
                       std::max(right - left, 0.1), kBottom - kTop);
    svg += fmt::format("<path d=\"M{:.1f} {}V{}\"/>", x, kTop, kBottom);
    for (size_t s = 0; s < chart.series.size(); ++s) {
      const double value = chart.series[s].values[at[k]];
      if (std::isfinite(value)) svg += dot(frame, chart.x[at[k]], value, s, "3.4");
    }
    svg += fmt::format("<text class=\"tick\" x=\"{}\" y=\"12\">{}</text><title>{}</title></g>", kLeft,
                       reading_text(chart, at[k], kMaxNamesRead), reading_text(chart, at[k], chart.series.size()));
  }
  return svg;
}

std::string render_legend(const Chart& chart) {
  std::string html = "<span class=\"legend\">";
  for (size_t s = 0; s < chart.series.size(); ++s) {
    const std::vector<double>& values = chart.series[s].values;
    const auto last = std::find_if(values.rbegin(), values.rend(), [](double value) { return std::isfinite(value); });
    html += fmt::format(
        "<span><svg class=\"key\" viewBox=\"0 0 18 8\" aria-hidden=\"true\"><path class=\"line l{}\" "
        "d=\"M0 4H18\"/></svg>{} <b>{}{}</b></span>",
        s % kColours, escape_html(chart.series[s].name), last == values.rend() ? "–" : format_value(*last),
        escape_html(chart.unit));
  }
  return html + "</span>";
}

}  // namespace

std::string render_chart(const Chart& chart) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const ChartSeries& series : chart.series) {
    for (const double value : series.values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  std::string html = fmt::format("<figure class=\"chart\"><figcaption><span class=\"name\">{}</span>{}</figcaption>",
                                 escape_html(chart.title), render_legend(chart));
  if (!(low <= high)) return html + "<p class=\"empty\">No finite value was logged.</p></figure>\n";
  const Frame frame = make_frame(chart, low, high);
  html += fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kWidth, kHeight,
                      escape_html(chart.title));
  html += render_axes(frame, chart);
  for (size_t s = chart.series.size(); s-- > 0;) html += render_line(frame, chart, s);
  return html + render_readings(frame, chart) + "</svg></figure>\n";
}

}  // namespace muster
