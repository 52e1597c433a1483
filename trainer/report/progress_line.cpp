#include "trainer/report/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace muster {
namespace {

constexpr int kDefaultColumns = 80;
constexpr const char* kClearLine = "\r\x1b[K";

int columns_of(std::FILE* stream) {
  const int descriptor = fileno(stream);
  if (isatty(descriptor) == 0) return 0;
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kDefaultColumns;
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const int64_t days = whole / 86400;
  const int64_t hours = whole / 3600 % 24;
  const int64_t minutes = whole / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, whole % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string direction(const char* name, const RetrievalMetrics& metrics) {
  return fmt::format("{} R@1 {:.2f} R@5 {:.2f} R@10 {:.2f} mAP {:.2f} mINP {:.2f}", name, metrics.r1, metrics.r5,
                     metrics.r10, metrics.map, metrics.minp);
}

}  // namespace

std::string format_progress(const StepRecord& record) {
  // The last step's width keeps the columns in place.
  const std::string total = std::to_string(record.total_steps);
  std::string line = fmt::format("step {:>{}}/{}  epoch {:.2f}  loss {:.4f}", record.step, total.size(), total,
                                 record.epoch, record.loss);
  if (record.terms.size() > 1) {
    for (size_t i = 0; i < record.terms.size(); ++i) {
      line += fmt::format("{}{} {:.4f}", i == 0 ? " (" : ", ", record.terms[i].first, record.terms[i].second);
    }
    line += ")";
  }
  return line + fmt::format(
                    "  grad {:.2f}  lr {:.2e}  scale {:.1f}  {:.0f} samples/s  waits data {:.0f}% peers {:.0f}%"
                    "  eta {}",
                    record.grad_norm, record.rate, record.logit_scale, record.samples_per_second,
                    100 * record.data_wait_share, 100 * record.comm_wait_share, duration(record.eta_seconds));
}

std::string format_progress(const EvaluationRecord& record) {
  return fmt::format("step {}  {}  {}  {}", record.step, record.split, direction("text to image", record.text_to_image),
                     direction("image to text", record.image_to_text));
}

ProgressPrinter::ProgressPrinter(bool may_rewrite) : ProgressPrinter(stdout, may_rewrite ? columns_of(stdout) : 0) {}

ProgressPrinter::ProgressPrinter(std::FILE* stream, int columns) : stream_(stream), columns_(columns) {}

ProgressPrinter::~ProgressPrinter() {
  finish();
}

void ProgressPrinter::print(const StepRecord& record) {
  std::string line = format_progress(record);
  if (columns_ > 0) {
    line = kClearLine + line.substr(0, static_cast<size_t>(columns_ - 1));
    open_ = true;
  } else {
    line += '\n';
  }
  std::fputs(line.c_str(), stream_);
  std::fflush(stream_);
}

void ProgressPrinter::print(const EvaluationRecord& record) {
  const std::string line = format_progress(record) + '\n';
  std::fputs(((open_ ? kClearLine : "") + line).c_str(), stream_);
  std::fflush(stream_);
  open_ = false;
}

void ProgressPrinter::finish() {
  if (!open_) return;
  std::fputs("\n", stream_);
  std::fflush(stream_);
  open_ = false;
}

}  // namespace muster
