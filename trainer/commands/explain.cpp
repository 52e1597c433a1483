#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "dataloader/formats/atomic_file.h"
#include "dataloader/store.h"
#include "dataloader/text/escaped.h"
#include "dataloader/text/printable.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/text_columns.h"
#include "trainer/explanation.h"
#include "trainer/model_tokenizer.h"
#include "trainer/report/explain_page.h"
#include "trainer/run_folder.h"

namespace muster {
namespace {

constexpr int kPicturePixels = 1200;

struct ExplainArguments {
  std::string run_dir, store, image, out;
  std::vector<std::string> captions;
  std::string checkpoint = "newest";
  std::string weights = "auto";
};

// Of the images whose path, or whose path's last part, is this.
std::vector<int64_t> images_named(const Store& store, const std::string& name, bool whole_path) {
  std::vector<int64_t> found;
  for (int64_t image = 0; image < store.images(); ++image) {
    const std::string path = store.source_path(image);
    const size_t slash = path.rfind('/');
    if (whole_path ? path == name : slash != std::string::npos && path.compare(slash + 1, path.npos, name) == 0) {
      found.push_back(image);
    }
  }
  return found;
}

// A path as it is in the store, a number, or a file's name; the first of these that fits.
int64_t find_image(const Store& store, const std::string& named) {
  std::vector<int64_t> found = images_named(store, named, true);
  int64_t number = -1;
  const auto [end, error] = std::from_chars(named.data(), named.data() + named.size(), number);
  const bool is_number = error == std::errc() && end == named.data() + named.size() && number >= 0;
  if (found.empty() && is_number && number < store.images()) return number;
  if (found.empty()) found = images_named(store, named, false);
  if (found.size() == 1) return found[0];
  if (!found.empty()) {
    throw ConfigError(
        fmt::format("--image {}: {} images of {} are called that, the first {} and {}; give the path or "
                    "the number of one",
                    escaped(named), found.size(), store.path(), found[0], found[1]));
  }
  throw ConfigError(
      fmt::format("--image {}: {} has no such image; give its path there, such as {}, its file's name or a number of "
                  "0 to {}",
                  escaped(named), store.path(), escaped(store.source_path(0)), store.images() - 1));
}

std::string default_page(const ExplainArguments& arguments, int64_t image) {
  return fmt::format("{}/explain_{}.html", arguments.run_dir, image);
}

std::vector<ExplainedPair> explain_captions(const ExplainArguments& arguments, const Explainer& explainer,
                                            const TrainedRun& run, const Store& store, int64_t image) {
  std::vector<ExplainedPair> pairs;
  for (const std::string& caption : arguments.captions) {
    const at::Tensor tokens =
        encode_words(explainer.tokenizer(), caption, run.settings.model.text().context(), "caption", "explain");
    pairs.push_back(explainer.explain(image, caption, tokens, kPicturePixels));
    if (!pairs.back().words.empty()) continue;
    throw ConfigError(
        fmt::format("the caption '{}' has no word but its last piece, which the model takes for a full stop "
                    "(model.regions.drop_last_word): end it with one",
                    escaped(caption)));
  }
  const int64_t own = arguments.captions.empty() ? store.caption_count(image) : 0;
  for (int64_t i = 0; i < own; ++i) {
    pairs.push_back(explainer.explain(image, store.first_caption(image) + i, kPicturePixels));
  }
  if (pairs.empty()) {
    throw ConfigError(fmt::format("image {} ({}) has no caption in {}; give --caption", image,
                                  printable(store.source_path(image)), store.path()));
  }
  return pairs;
}

// A line a word: its best regions, and where the first one lies.
std::string format_pair(const ExplainedPair& pair) {
  std::vector<std::vector<std::string>> rows = {{"word", " cosine", "region", "x1,y1 x2,y2", "then", ""}};
  if (pair.regions_count) rows[0].emplace_back("chosen by");
  for (const ExplainedWord& word : pair.words) {
    rows.push_back({(word.continues ? "##" : "") + printable(word.text)});
    std::vector<std::string>& row = rows.back();
    const std::vector<int64_t> best = best_regions(word.cosines, 3);
    for (size_t k = 0; k < 3; ++k) {
      const auto region = static_cast<size_t>(k < best.size() ? best[k] : 0);
      if (k == 0) {
        const auto& box = pair.boxes[region];
        row.push_back(fmt::format("{: .4f}", word.cosines[region]));
        row.push_back(std::to_string(region));
        row.push_back(fmt::format("{:.0f},{:.0f} {:.0f},{:.0f}", box[0], box[1], box[2], box[3]));
      } else {
        row.push_back(k < best.size() ? fmt::format("{} ({:.4f})", region, word.cosines[region]) : "");
      }
    }
    if (pair.regions_count) {
      row.push_back(fmt::format("{} regions, {:.4f}", word.chosen_by, word.chosen_by_cosines));
    }
  }
  const std::string head = fmt::format("\n{}\nscore {:.4f}\n", printable(pair.caption), pair.score);
  return head + (pair.words.empty() ? "no word\n" : format_columns(rows));
}

void write_page(const std::string& path, const ExplainArguments& arguments, const Store& store, int64_t image,
                const TrainedRun& run, const std::vector<ExplainedPair>& pairs) {
  ExplainPage page;
  page.title = store.source_path(image);
  page.facts = {{"image", fmt::format("{} of {}", image, store.path())},
                {"split", split_name(store.split(image))},
                {"size", fmt::format("{} × {}", store.width(image), store.height(image))},
                {"regions", std::to_string(store.region_count(image))}};
  if (!store.region_extractor().empty()) page.facts.emplace_back("found by", store.region_extractor());
  page.facts.emplace_back("run", fmt::format("{} step {}", arguments.run_dir, run.step));
  page.pairs = pairs;
  write_file_atomically(path, render_explain_page(page));
  fmt::print("\n{}: the same with the picture\n", path);
}

void explain(const ExplainArguments& arguments, const Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster explain is one process; run it without mpirun");
  read_run_config(arguments.run_dir);  // says so if there is no run
  const std::vector<std::string> inputs = {arguments.run_dir, arguments.store};
  if (!arguments.out.empty()) check_output_file("--out", arguments.out, inputs);
  start_computing(process, 0);
  const Store store(arguments.store);
  const int64_t image = find_image(store, arguments.image);
  LocalCommunicator alone;
  const TrainedRun run =
      load_trained_run(arguments.run_dir, arguments.checkpoint, weights_from_name(arguments.weights), process, alone);
  if (!has_sets(run.settings.model)) {
    throw ConfigError(
        fmt::format("{} has one vector for an image, and none for its regions, to explain with: give a run of a model "
                    "with model.regions, trained on a store with regions",
                    arguments.run_dir));
  }
  const bool has_place = !arguments.out.empty() || !is_checkpoint_folder(arguments.run_dir);
  const std::string path = arguments.out.empty() ? default_page(arguments, image) : arguments.out;
  if (has_place) check_output_file("--out", path, inputs);
  const Explainer explainer(*run.model, store, run.settings);
  const std::vector<ExplainedPair> pairs = explain_captions(arguments, explainer, run, store, image);
  fmt::print("image {} of {}, {}: {} regions; {} step {}\nthe score is {}\n", image, store.path(),
             printable(store.source_path(image)), store.region_count(image), arguments.run_dir, run.step,
             pairs[0].score_rule);
  for (const ExplainedPair& pair : pairs) fmt::print("{}", format_pair(pair));
  if (has_place) write_page(path, arguments, store, image, run, pairs);
}

}  // namespace

void add_explain_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("explain", "Show which regions of an image the words of a caption find (model.regions)");
  const auto arguments = std::make_shared<ExplainArguments>();
  command->add_option("--run", arguments->run_dir, "Run folder of muster train, or one checkpoint's folder")
      ->required();
  command->add_option("--data", arguments->store, "Store that has the image")->required();
  command->add_option("--image", arguments->image, "Its path in the store, its number there, or its file's name")
      ->required();
  command->add_option("--caption", arguments->captions, "What is said of it, may be repeated; default: its captions")
      ->allow_extra_args(false);
  command->add_option("--checkpoint", arguments->checkpoint, "newest, best (on val), or a step")->capture_default_str();
  command->add_option("--weights", arguments->weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  command->add_option("--out", arguments->out, "Page to write [explain_NUMBER.html in the run folder]");
  command->callback([arguments, &process] { explain(*arguments, process); });
}

}  // namespace muster
