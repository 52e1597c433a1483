#include "trainer/global_vectors.h"

#include <fmt/format.h>

#include "launch/error.h"
#include "trainer/encoders/model_config.h"
#include "trainer/losses/objective.h"

namespace muster {

bool trains_global(const RunSettings& settings) {
  return !has_sets(settings.model) || trains_pair(settings.objective, "global");
}

void check_global(const RunSettings& settings, const std::string& run_dir, const std::string& does) {
  if (trains_global(settings)) return;
  throw ConfigError(
      fmt::format("{} one vector for each image and caption, which {} has not trained: no term of its objective is of "
                  "the pair \"global\"; train with one, or use muster eval and muster explain, which take regions and "
                  "words",
                  does, run_dir));
}

std::string global_note(const RunSettings& settings) {
  if (settings.train.evaluation().pair() != kSetPair) return "";
  return "by the cosine of one vector for each image and caption (\"global\"), not by the alignment of regions and "
         "words that muster eval's table is of";
}

}  // namespace muster
