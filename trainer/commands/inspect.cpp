// muster inspect: what is in a store, and whether it is whole.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/store.h"
#include "dataloader/text/printable.h"
#include "launch/process.h"
#include "trainer/commands/augmented_sheet.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"

namespace muster {
namespace {

std::string range_of(std::vector<int64_t> values) {
  if (values.empty()) return "none";
  std::sort(values.begin(), values.end());
  return fmt::format("{} / {} / {}", with_commas(values.front()), with_commas(values[values.size() / 2]),
                     with_commas(values.back()));
}

void print_splits(const Store& store) {
  fmt::print("{:<8}{:>12}{:>12}{:>12}\n", "split", "images", "captions", "identities");
  const auto print = [&](const std::string& name, int64_t images, int64_t captions, int64_t identities) {
    fmt::print("{:<8}{:>12}{:>12}{:>12}\n", name, with_commas(images), with_commas(captions), with_commas(identities));
  };
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    int64_t captions = 0;
    std::vector<int64_t> identities;
    for (const int64_t image : store.images_of(split)) {
      captions += store.caption_count(image);
      identities.push_back(store.identity(image));
    }
    std::sort(identities.begin(), identities.end());
    const auto distinct = std::unique(identities.begin(), identities.end()) - identities.begin();
    print(split_name(split), static_cast<int64_t>(store.images_of(split).size()), captions, distinct);
  }
  print("all", store.images(), store.captions(), store.identities());
}

void print_sizes(const Store& store) {
  std::vector<int64_t> widths, heights, bytes;
  std::map<int64_t, int64_t> caption_counts;
  for (int64_t image = 0; image < store.images(); ++image) {
    widths.push_back(store.width(image));
    heights.push_back(store.height(image));
    bytes.push_back(store.image_size(image));
    ++caption_counts[store.caption_count(image)];
  }
  std::vector<int64_t> per_identity(static_cast<size_t>(store.identities()));
  for (int64_t image = 0; image < store.images(); ++image) ++per_identity[static_cast<size_t>(store.identity(image))];
  fmt::print("\nminimum / median / maximum\n");
  fmt::print("  image width          {}\n", range_of(widths));
  fmt::print("  image height         {}\n", range_of(heights));
  fmt::print("  image file, bytes    {}\n", range_of(bytes));
  fmt::print("  images an identity   {}\n", range_of(per_identity));
  if (store.has_regions()) {
    std::vector<int64_t> regions;
    for (int64_t image = 0; image < store.images(); ++image) regions.push_back(store.region_count(image));
    fmt::print("  regions an image     {}\n", range_of(regions));
    fmt::print("regions of {} numbers each, found by: {}\n", with_commas(store.region_width()),
               store.region_extractor().empty() ? "not said" : printable(store.region_extractor()));
  }
  fmt::print("captions an image\n");
  constexpr size_t kRows = 12;
  size_t row = 0;
  for (const auto& [captions, images] : caption_counts) {
    if (++row > kRows) {
      fmt::print("  and {} other counts\n", caption_counts.size() - kRows);
      break;
    }
    fmt::print("  {:>3}: {} images\n", captions, with_commas(images));
  }
}

void print_shards(const Store& store) {
  constexpr size_t kShown = 8;
  uint64_t bytes = 0;
  for (const Store::ShardFile& shard : store.shards()) bytes += shard.bytes;
  fmt::print("\n{} shards, {} bytes, structure verified\n", store.shards().size(),
             with_commas(static_cast<int64_t>(bytes)));
  for (size_t i = 0; i < std::min(kShown, store.shards().size()); ++i) {
    const Store::ShardFile& shard = store.shards()[i];
    fmt::print("  {}  {} bytes  {} images  {} captions\n", shard.name, with_commas(static_cast<int64_t>(shard.bytes)),
               with_commas(shard.images), with_commas(shard.captions));
  }
  if (store.shards().size() > kShown) fmt::print("  and {} more\n", store.shards().size() - kShown);
}

// Rows spread evenly over the store.
void print_sample(const Store& store, int64_t rows) {
  rows = std::min(rows, store.images());
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t image = i * store.images() / rows;
    fmt::print("\nimage {}  {}  identity {} ({})  {}  {}x{}  {} bytes\n", image, split_name(store.split(image)),
               store.identity(image), printable(store.identity_name(store.identity(image))),
               printable(store.source_path(image)), store.width(image), store.height(image),
               with_commas(store.image_size(image)));
    for (int64_t c = 0; c < store.caption_count(image); ++c) {
      fmt::print("  \"{}\"\n", printable(store.caption(store.first_caption(image) + c)));
    }
  }
}

void verify(const Store& store) {
  const auto begun = std::chrono::steady_clock::now();
  store.verify();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  fmt::print("\nverified: the bytes of all {} images{} match their hashes ({:.1f} s)\n", with_commas(store.images()),
             store.has_regions() ? " and their regions" : "", seconds);
}

struct Arguments {
  std::string store;
  bool verify = false;
  int64_t sample = 0;
  std::string augmented;
  std::string config;
  int64_t rows = 12;
  int64_t versions = 8;
};

}  // namespace

void add_inspect_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("inspect", "Print what is in a store, and check it");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("STORE", arguments->store, "Folder made by muster import or muster synth")->required();
  command->add_flag("--verify", arguments->verify, "Read every byte and compare with the hashes");
  command->add_option("--sample", arguments->sample, "Print this many images with their captions")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  auto* augmented = command->add_option("--augmented", arguments->augmented,
                                        "Write a page of images and captions as training with --config changes them");
  auto* config = command->add_option("--config", arguments->config, "Run config, for --augmented");
  augmented->needs(config);
  config->needs(augmented);
  command->add_option("--rows", arguments->rows, "Images on the page")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--versions", arguments->versions, "Versions of each image")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->callback([arguments, &process] {
    if (process.rank() != 0) return;
    const Store store(arguments->store);
    fmt::print("{}  (fingerprint {})\n\n", store.path(), store.fingerprint());
    print_splits(store);
    print_sizes(store);
    print_shards(store);
    if (arguments->verify) verify(store);
    print_sample(store, arguments->sample);
    if (!arguments->augmented.empty()) {
      write_augmented_sheet(arguments->augmented, store, arguments->config, arguments->rows, arguments->versions);
      fmt::print("\naugmented samples: {}\n", arguments->augmented);
    }
  });
}

}  // namespace muster
