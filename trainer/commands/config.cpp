#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "configs/describe.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"

namespace muster {

void add_config_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("config", "Print the fields of a run config: type, default and meaning");
  const auto field = std::make_shared<std::string>();
  command->add_option("FIELD", *field, "Such as train.optimizer or data.image.fit; none: a list of all");
  command->callback([field, &process] {
    if (process.rank() == 0) fmt::print("{}", field->empty() ? describe_all_fields() : describe_field(*field));
  });
}

}  // namespace muster
