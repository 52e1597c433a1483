// muster: trains image-text retrieval models on one machine or a cluster. See README.md.
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <regex>
#include <string>
#include <system_error>
#include <type_traits>

#include "dataloader/text/printable.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/describe_version.h"

namespace muster {
namespace {

// Prints the line and ends the job. What goes wrong on every rank is said once: rank 0 speaks first and ends its peers,
// another rank speaks only if rank 0 has not done so within a second.
int fail(Process& process, ExitCode code, const std::string& what) {
  const std::string line = printable_lines(what);  // arguments and names in files are quoted in it
  // A planned stop happens on every rank at once and leaves through MPI_Finalize.
  const bool together = process.world_size() == 1 || code == ExitCode::kStoppedAfterSave;
  if (together) {
    if (process.rank() == 0) fmt::print(stderr, "muster: {}\n", line);
    return static_cast<int>(code);
  }
  if (process.rank() == 0) {
    fmt::print(stderr, "muster: {}\n", line);
  } else {
    sleep(1);
    fmt::print(stderr, "muster: rank {}: {}\n", process.rank(), line);
  }
  std::fflush(stderr);
  process.abort(static_cast<int>(code));
}

// What is no Error of ours. LibTorch says only in words that memory is short, and appends a backtrace of many lines.
int fail_on_exception(Process& process, const std::string& what) {
  const std::string first_line = what.substr(0, what.find('\n'));
  if (first_line.find("can't allocate memory") == std::string::npos) {
    return fail(process, ExitCode::kBug, fmt::format("internal error: {}", first_line));
  }
  std::smatch asked;
  const bool known = std::regex_search(first_line, asked, std::regex("tried to allocate ([0-9]+) bytes"));
  return fail(process, ExitCode::kBadInput,
              fmt::format("out of memory{}: lower train.chunk, train.global_batch or the model's sizes",
                          known ? fmt::format(" (another {} bytes are needed)", asked[1].str()) : ""));
}

// Of a command line's numbers CLI11 takes one that is too large for the largest, and its messages repeat all digits.
template <typename Number>
std::string refuse_endless_number(const std::string& text) {
  constexpr size_t kMostCharacters = 40, kShown = 20;
  bool too_large = text.size() > kMostCharacters;
  if constexpr (std::is_integral_v<Number>) {
    Number number = 0;
    const char *first = text.data() + (text.rfind('+', 0) == 0 ? 1 : 0), *last = text.data() + text.size();
    too_large = too_large || std::from_chars(first, last, number).ec == std::errc::result_out_of_range;
  }
  if (!too_large) return "";
  return (text.size() <= kShown ? text : text.substr(0, kShown) + "...") + " is no number that can be taken here";
}

// For every option that takes a number, before its own checks.
void limit_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    const auto limit = [&](std::string (*refuse)(const std::string&)) {
      option->transform(CLI::Validator([refuse](std::string& text) { return refuse(text); }, std::string()));
    };
    if (type.rfind("INT", 0) == 0) limit(refuse_endless_number<int64_t>);
    if (type.rfind("UINT", 0) == 0) limit(refuse_endless_number<uint64_t>);
    if (type.rfind("FLOAT", 0) == 0) limit(refuse_endless_number<double>);
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) limit_numbers(*command);
}

int run(int argc, char** argv, Process& process) {
  CLI::App app("Trains image-text retrieval models on one machine or, under mpirun or srun, on many.", "muster");
  app.set_version_flag("--version", describe_version());
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  add_import_command(app, process);
  add_synth_command(app, process);
  add_doctor_command(app, process);
  add_inspect_command(app, process);
  add_tokenize_command(app, process);
  add_train_command(app, process);
  add_eval_command(app, process);
  add_embed_command(app, process);
  add_export_command(app, process);
  add_relevance_command(app, process);
  add_search_command(app, process);
  add_serve_command(app, process);
  add_explain_command(app, process);
  add_loss_command(app, process);
  add_table_command(app, process);
  add_config_command(app, process);
  add_bench_command(app, process);
  limit_numbers(app);
  if (argc > 1 && argv[1][0] != '-' &&
      app.get_subcommands([&](const CLI::App* command) { return command->get_name() == argv[1]; }).empty()) {
    throw ConfigError(fmt::format("unknown command '{}'; muster --help lists the commands", argv[1]));
  }
  int exit_code = 0;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return process.rank() == 0 ? app.exit(request) : 0;
  } catch (const CLI::RuntimeError& outcome) {  // all was said, and it is not good
    exit_code = outcome.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return fail(process, ExitCode::kBadInput, fmt::format("{}; see muster --help", printable(error.what())));
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw DataError("cannot write standard output; what was printed is not complete");
  }
  return exit_code;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  muster::Process process(&argc, &argv);
  try {
    return muster::run(argc, argv, process);
  } catch (const muster::Error& error) {
    return muster::fail(process, error.exit_code(), error.what());
  } catch (const c10::OutOfMemoryError&) {  // outside training steps, which name a chunk
    return muster::fail(process, muster::ExitCode::kBadInput,
                        "the GPU has no memory left: lower train.evaluation.batch or the model's sizes, or set "
                        "train.device to CPU");
  } catch (const std::bad_alloc&) {
    return muster::fail_on_exception(process, "can't allocate memory");
  } catch (const std::system_error& error) {  // a full disk behind standard output, no more threads
    return muster::fail(process, muster::ExitCode::kBadInput,
                        fmt::format("the system refuses: {}; what was printed is not complete", error.what()));
  } catch (const std::exception& error) {
    return muster::fail_on_exception(process, error.what());
  }
}
