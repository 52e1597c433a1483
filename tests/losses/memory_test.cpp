// The loss takes memory for a tile, not for B x B.
#include <gtest/gtest.h>

#include <fstream>

#include "comm/local_communicator.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

double status_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  double kib = 0;
  while (status >> word) {
    if (word == field + ":" && status >> kib) return kib / 1024;
  }
  return -1;
}

// Peak of the resident set during one evaluation, beyond what was there and the two gradients.
double mib_beyond_gradients(const std::string& text, int64_t size, int64_t width) {
  LocalCommunicator local;
  LossObjective objective(parse_objective(text));
  at::Generator generator = at::detail::createCPUGenerator(1);
  Features features;
  features.pairs.push_back(
      {"global", at::randn({size, width}, generator, at::kFloat), at::randn({size, width}, generator, at::kFloat)});
  Labels labels;
  labels.identity = at::randint(size / 2, {size}, generator, at::kLong);
  const auto [few, few_labels] = slice(make_batch(64, width, 30, 1), {64}, 0, at::kFloat);
  objective.evaluate(few, few_labels, {}, local);  // threads and code pages are not the loss's
  std::ofstream("/proc/self/clear_refs") << "5";
  const double before = status_mib("VmRSS");
  objective.evaluate(features, labels, {}, local);
  return status_mib("VmHWM") - before - 2.0 * static_cast<double>(size * width) * sizeof(float) / (1 << 20);
}

TEST(Memory, IsATileNotTheWholeMatrix) {
  if (status_mib("VmHWM") < 0) GTEST_SKIP() << "no /proc/self/status to measure memory with";
  EXPECT_LE(mib_beyond_gradients(objectives()[objectives().size() - 2], 4096, 256), 32);
}

TEST(SlowMemory, IsAtMost32MibAtB16384AndWidth512) {
  if (status_mib("VmHWM") < 0) GTEST_SKIP() << "no /proc/self/status to measure memory with";
  for (const char* text :
       {"term { info_nce { positives: IDENTITY } } term { sdm {} } term { triplet {} }", "term { siglip {} }",
        "term { triplet { negatives: ALL } }", "term { triplet { negatives: SOFT } }", "term { tal {} }",
        "term { nt_xent {} }", "term { cmpm {} }"}) {
    EXPECT_LE(mib_beyond_gradients(text, 16384, 512), 32) << text;
  }
}

}  // namespace
}  // namespace muster
