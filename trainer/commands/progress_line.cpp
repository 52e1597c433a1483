#include "trainer/commands/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "trainer/commands/count_format.h"

namespace muster {

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

void ProgressLine::show(int64_t images) {
  images_ = images;
  if (terminal_) {
    const auto now = Clock::now();
    if (now - shown_ < std::chrono::milliseconds(100)) return;
    shown_ = now;
    draw();
  } else if (const int tenth = static_cast<int>(fraction_ * 10); tenth > tenth_) {
    tenth_ = tenth;
    fmt::print("{:3d} %  {} images\n", tenth * 10, with_commas(images));
    std::fflush(stdout);
  }
}

void ProgressLine::draw() const {
  constexpr int kWidth = 30;
  const int full = static_cast<int>(fraction_ * kWidth);
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  fmt::print(stderr, "\r[{}{}] {:3.0f} %  {} images  {:.0f}/s\033[K", std::string(static_cast<size_t>(full), '#'),
             std::string(static_cast<size_t>(kWidth - full), '.'), fraction_ * 100, with_commas(images_),
             static_cast<double>(images_) / std::max(seconds, 1e-3));
  std::fflush(stderr);
}

}  // namespace muster
