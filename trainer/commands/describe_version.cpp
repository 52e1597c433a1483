#include "trainer/commands/describe_version.h"

#include <fmt/format.h>

#include <utility>

#include "commit.h"
#include "dataloader/store_manifest.h"
#include "launch/process.h"
#include "trainer/checkpoint_layout.h"
#include "version.h"

namespace muster {

std::string describe_version() {
  std::string text = fmt::format("muster {} (commit {})\n", MUSTER_VERSION, MUSTER_COMMIT);
  const std::pair<const char*, const char*> libraries[] = {MUSTER_LIBRARIES};
  for (const auto& [name, version] : libraries) text += fmt::format("{:<18} {}\n", name, version);
  text += fmt::format("{:<18} {}\n", "MPI", mpi_library());
  text += fmt::format("{:<18} {}\n", "store format", kStoreFormatVersion);
  text += fmt::format("{:<18} {}", "checkpoint format", kCheckpointFormat);
  return text;
}

}  // namespace muster
