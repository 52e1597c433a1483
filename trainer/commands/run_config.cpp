#include "trainer/commands/run_config.h"

#include <fmt/format.h>

#include <optional>

#include "configs/load.h"
#include "launch/error.h"
#include "launch/log.h"
#include "trainer/checkpoint.h"
#include "trainer/run_folder.h"

namespace muster {

namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// The text to go by.
std::string choose_text(const std::string& run_dir, const std::string& path) {
  const std::optional<std::string> saved = CheckpointStore::newest_config(run_dir);
  if (!saved) return read_run_config(run_dir);
  try {
    const std::string text = read_run_config(run_dir);
    check_continues(run_dir, print_run_config(parse_run_config(*saved, path, {})),
                    print_run_config(parse_run_config(text, path, {})));
    return text;
  } catch (const Error& error) {
    log_info(fmt::format("{} is damaged, going by the newest checkpoint's: {}", path, first_line(error.what())));
    return *saved;
  }
}

}  // namespace

RunConfig load_config_of(const std::string& run_dir, const std::vector<std::string>& overrides) {
  const std::string path = config_path(run_dir);
  return parse_run_config(choose_text(run_dir, path), path, overrides);
}

}  // namespace muster
