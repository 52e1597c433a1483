// muster import: a data set as published -> a store.
#include <ATen/ops/full.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "comm/comm.pb.h"
#include "comm/make_communicator.h"
#include "dataloader/formats/atomic_file.h"
#include "dataloader/importers/class_sets.h"
#include "dataloader/importers/csv.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/importers/karpathy.h"
#include "dataloader/importers/person_sets.h"
#include "dataloader/importers/region_source.h"
#include "dataloader/importers/webdataset.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/list_options.h"
#include "trainer/commands/progress_line.h"
#include "trainer/commands/seed_option.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRoundDeadline = 3600;  // seconds that ranks wait for each other

// What every way in takes.
struct Arguments {
  std::vector<std::string> paths;
  std::string out;
  ListOptions list;
  int threads = 2;
  int64_t shard_mib = 1024;
  bool skip_bad = false;
  bool strict = false;
  int64_t holdout = 0;
  uint64_t seed = 0;
};

void print_report(const ImportReport& report, double seconds, const std::string& out, const char* how) {
  fmt::print("{:<8}{:>12}{:>12}{:>12}\n", "split", "images", "captions", "identities");
  int64_t images = 0;
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const ImportCounts& counts = report.splits[static_cast<size_t>(split)];
    images += counts.images;
    fmt::print("{:<8}{:>12}{:>12}{:>12}\n", split_name(split), with_commas(counts.images), with_commas(counts.captions),
               with_commas(counts.identities));
  }
  fmt::print("{}: {} images, each {} once, in {:.1f} s\n", out, with_commas(images), how, seconds);
  if (report.rows_checked_before > 0) {
    fmt::print("continued: {} rows were decoded before the last import was stopped\n",
               with_commas(report.rows_checked_before));
  }
  std::fflush(stdout);
}

void print_refused(const ImportReport& report, const std::string& path) {
  constexpr size_t kShown = 10;
  if (report.refused.empty()) return;
  std::string text;
  for (const std::string& line : report.refused) text += line + "\n";
  write_file_atomically(path, text);
  for (size_t i = 0; i < std::min(kShown, report.refused.size()); ++i) log_warning("refused: " + report.refused[i]);
  log_warning(fmt::format("{} rows were refused; all of them are listed in {}",
                          with_commas(static_cast<int64_t>(report.refused.size())), path));
}

void print_complaints(const ImportReport& report) {
  if (report.complaints.empty()) return;
  log_warning(
      fmt::format("{} images are damaged in what their decoder only warns of; they are in the store, and --strict "
                  "refuses them: {}{}",
                  with_commas(static_cast<int64_t>(report.complaints.size())), report.complaints.front(),
                  report.complaints.size() > 1 ? ", ..." : ""));
}

void compare_with_published(const ImportReport& report, const PublishedCounts& published) {
  for (const std::string& line : report.differences) log_warning(line);
  if (report.differences.empty()) {
    fmt::print("all counts are those of {} as published\n", published.name);
    std::fflush(stdout);
  }
}

ImportRanks ranks_of(Communicator& communicator) {
  const auto lowest = [&communicator](int64_t value) {
    communicator.set_phase("import", kRoundDeadline);
    const at::Tensor shared = at::full({1}, value, at::kLong);
    communicator.all_reduce(shared, ReduceOp::kMin, "import round").wait();
    return shared.item<int64_t>();
  };
  return {{communicator.rank(), communicator.size()}, lowest};
}

void run_import(ImportList list, const Arguments& arguments, Process& process) {
  const auto begun = Clock::now();
  if (arguments.holdout > 0) hold_out_identities(list, arguments.holdout, arguments.seed);
  const char* how = list.has_images ? "decoded" : "looked at";
  const PublishedCounts* published = arguments.holdout > 0 ? nullptr : list.published;
  list.published = published;
  const std::unique_ptr<Communicator> communicator = make_communicator(process, CommConfig());
  ImportOptions options;
  options.threads = arguments.threads;
  options.skip_bad = arguments.skip_bad;
  options.strict = arguments.strict;
  options.shard_bytes = arguments.shard_mib << 20;
  ImportReport report;
  {
    std::unique_ptr<ProgressLine> progress;
    if (process.rank() == 0) {
      progress = std::make_unique<ProgressLine>();
      options.progress = [&](double fraction, int64_t rows) {
        progress->set_fraction(fraction);
        progress->show(rows);
      };
    }
    report = import_list(std::move(list), arguments.out, options, ranks_of(*communicator));
  }
  if (process.rank() != 0) return;
  print_report(report, std::chrono::duration<double>(Clock::now() - begun).count(), arguments.out, how);
  for (const std::string& warning : report.warnings) log_warning(warning);
  print_complaints(report);
  if (published != nullptr) compare_with_published(report, *published);
  std::string beside = arguments.out;
  while (beside.size() > 1 && beside.back() == '/') beside.pop_back();
  print_refused(report, beside + ".refused.txt");
}

// One way in: its subcommand, with the options that all share.
class Format {
 public:
  using Reader = std::function<ImportList(const Arguments&)>;

  Format(CLI::App& import, Process& process, const std::string& name, const std::string& what, Reader read)
      : arguments(std::make_shared<Arguments>()), command(import.add_subcommand(name, what)) {
    command->add_option("--out", arguments->out, "Folder to make; it appears when it is complete")->required();
    command->add_option("--threads", arguments->threads, "Threads of each rank that read and decode images [2]")
        ->check(CLI::Range(1, 1024));
    command->add_option("--shard-mib", arguments->shard_mib, "Size of a shard in MiB [1024]")
        ->check(CLI::Range(1, 1 << 24));
    command->add_flag("--skip-bad,--continue-on-error", arguments->skip_bad,
                      "Refuse bad rows and go on; they are listed in STORE.refused.txt");
    command->add_flag("--strict", arguments->strict, "An image that its decoder warns of is a bad row, too");
    auto* holdout = command->add_option("--holdout-identities", arguments->holdout,
                                        "So many identities of train become val, with all their images");
    holdout->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
    add_seed_option(*command, arguments->seed, "Chooses them: the same seed, the same identities [0]")->needs(holdout);
    command->callback([arguments = arguments, &process, read = std::move(read)] {
      run_import(read(*arguments), *arguments, process);
    });
  }

  Format& path(const std::string& name, const std::string& what) {
    command->add_option(name, arguments->paths, what)->required()->expected(1);
    return *this;
  }
  Format& root(const std::string& otherwise) {
    arguments->list.add_root(*command, otherwise);
    return *this;
  }
  Format& split() {
    arguments->list.add_split(*command);
    return *this;
  }

  std::shared_ptr<Arguments> arguments;
  CLI::App* command;
};

void add_csv(CLI::App& import, Process& process) {
  Format csv(import, process, "csv", "A table with one caption a line: columns image, caption, identity, split",
             [](const Arguments& arguments) {
               return read_csv(arguments.paths.front(), arguments.list.table(), arguments.list.defaults());
             });
  csv.path("LIST", "The table, with the columns' names in its first line; see dataloader/README.md");
  csv.root("the table's folder").split();
  csv.arguments->list.add_table(*csv.command);
}

// What `import regions` takes besides.
struct RegionArguments {
  std::string captions, images, kind, extractor;
  RegionOptions options;
};

ImportList read_regions(const std::string& path, const RegionArguments& arguments) {
  const std::string& kind = arguments.kind;
  const RegionOptions& options = arguments.options;
  if (kind == "scan") {
    if (!(arguments.captions.empty() && arguments.images.empty() && options.sizes.empty())) {
      throw ConfigError(
          "--format scan has its captions beside its features; leave --captions, --images and --sizes out");
    }
    ImportList list = read_scan_regions(path, options);
    list.region_extractor = arguments.extractor;
    return list;
  }
  if (arguments.captions.empty()) {
    throw ConfigError("--format " + kind + " needs --captions, a list such as dataset_coco.json");
  }
  if (kind == "tsv" && !options.sizes.empty()) throw ConfigError("--format tsv holds the sizes; leave --sizes out");
  ImportList list = read_karpathy(arguments.captions, kind == "npz" ? RegionIds::kNumber : RegionIds::kName);
  list.has_images = !arguments.images.empty();
  if (list.has_images) list.root = arguments.images;
  list.root_option = "--images";
  std::vector<std::string> items;
  for (const ImportRow& row : list.rows) {
    if (row.refusal.empty()) items.push_back(row.region_item);
  }
  list.regions = kind == "npz"   ? open_npz_regions(path, items, options)
                 : kind == "tsv" ? open_tsv_regions(path, options)
                                 : open_hdf5_regions(path, options);
  list.region_extractor = arguments.extractor;
  return list;
}

void add_regions(CLI::App& import, Process& process) {
  const auto given = std::make_shared<RegionArguments>();
  Format regions(import, process, "regions",
                 "Features of regions: npz folders, bottom-up attention's TSV or HDF5, SCAN's .npy",
                 [given](const Arguments& arguments) { return read_regions(arguments.paths.front(), *given); });
  regions.path(
      "PATH",
      "The folder (npz: of bu_att and bu_box; hdf5: of X.hdf5 and X_imgid2idx.pkl; scan: of train_ims.npy ...), "
      "or the TSV");
  regions.command->add_option("--format", given->kind, "npz, tsv, hdf5 or scan; see dataloader/README.md")
      ->required()
      ->check(CLI::IsMember({"npz", "tsv", "hdf5", "scan"}));
  regions.command->add_option("--captions", given->captions,
                              "Karpathy's list: dataset_coco.json, dataset_flickr30k.json");
  regions.command->add_option("--images", given->images, "Folder of the pictures, to be kept with their regions");
  regions.command->add_option("--sizes", given->options.sizes,
                              "COCO's annotation files, for the sizes of pictures that are not there (npz, hdf5)");
  regions.command
      ->add_option("--regions", given->options.count,
                   "Refuse images with another number of regions than this; published sets have 36, or 10 to 100 "
                   "[any from 1 to 1024]")
      ->check(CLI::Range(1, 1024));
  regions.command->add_option("--extractor", given->extractor, "What found the regions, for the store's manifest");
}

}  // namespace

void add_import_command(CLI::App& app, Process& process) {
  CLI::App* import = app.add_subcommand("import", "Make a store from a data set's own files; runs under mpirun too");
  import->require_subcommand(1);
  Format jsonl(
      *import, process, "jsonl", "A list with one image a line: image, identity, captions, split",
      [](const Arguments& arguments) { return read_jsonl(arguments.paths.front(), arguments.list.defaults()); });
  jsonl.path("LIST", "The list; its fields are described in dataloader/README.md").root("the list's folder").split();
  add_csv(*import, process);
  Format tars(
      *import, process, "webdataset", "Tar files of key.jpg, key.txt and key.json",
      [](const Arguments& arguments) { return read_webdataset(arguments.paths, arguments.list.defaults().split); });
  tars.command->add_option("TAR", tars.arguments->paths, "Tar files; 'x-{0000..0099}.tar' stands for a hundred")
      ->required();
  tars.split();
  add_regions(*import, process);
  for (const PersonSet& set : person_sets()) {
    Format format(*import, process, set.command, fmt::format("{}: {} and imgs/", set.published.name, set.lists.front()),
                  [&set](const Arguments& arguments) {
                    return read_person_set(set, arguments.paths.front(), arguments.list.root());
                  });
    format.path("PATH", "The list, or the folder that holds it").root("imgs beside the list");
  }
  for (const ClassSet& set : class_sets()) {
    Format format(*import, process, set.command,
                  fmt::format("{}: lists of classes, text_c10/CLASS/*.txt and pictures", set.published.name),
                  [&set](const Arguments& arguments) {
                    return read_class_set(set, arguments.paths.front(), arguments.list.root());
                  });
    format.path("PATH", "The folder that holds the lists").root("images or jpg beside the lists, or in CUB_200_2011");
  }
}

}  // namespace muster
