// muster doctor data: whether a data set is whole, before it is imported.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/importers/csv.h"
#include "dataloader/importers/examine.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/importers/source.h"
#include "dataloader/importers/webdataset.h"
#include "dataloader/text/escaped.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/list_options.h"
#include "trainer/commands/progress_line.h"
#include "trainer/commands/shell_quoted.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using Kind = Source::Kind;
using Part = ListOptions::Part;

constexpr size_t kTarsByName = 4;
constexpr int kFindingsExitCode = 1;

struct Arguments {
  std::string path;
  ListOptions list;
  bool decode = false;
  int threads = 2;
};

// How a kind of source is read and called.
struct WayIn {
  std::string name;     // for people
  std::string command;  // of muster import
  std::vector<Part> options;
};

WayIn way_in(const Source& source) {
  switch (source.kind) {
    case Kind::kPersonSet:
      return {source.set->published.name, source.set->command, {Part::kRoot}};
    case Kind::kClassSet:
      return {source.classes->published.name, source.classes->command, {Part::kRoot}};
    case Kind::kJsonl:
      return {"JSON lines", "jsonl", {Part::kRoot, Part::kSplit}};
    case Kind::kCsv:
      return {"a table", "csv", {Part::kRoot, Part::kSplit, Part::kTable}};
    case Kind::kWebdataset:
      return {source.paths.size() == 1 ? "webdataset" : fmt::format("webdataset of {} tars", source.paths.size()),
              "webdataset",
              {Part::kSplit}};
    case Kind::kStore:
      break;
  }
  return {"a Muster store", "", {}};
}

ImportList read_list(const Source& source, const ListOptions& options) {
  if (source.kind == Kind::kPersonSet) return read_person_set(*source.set, source.paths.front(), options.root());
  if (source.kind == Kind::kClassSet) return read_class_set(*source.classes, source.paths.front(), options.root());
  if (source.kind == Kind::kWebdataset) return read_webdataset(source.paths, options.defaults().split);
  if (source.kind == Kind::kCsv) return read_csv(source.paths.front(), options.table(), options.defaults());
  return read_jsonl(source.paths.front(), options.defaults());
}

void print_table(const Examination& examination, const PublishedCounts* published) {
  fmt::print("\n{:<6}{:>10}{:>10}{:>12}{}\n", "split", "images", "captions", "identities",
             published == nullptr ? "" : "   as published: images  captions  identities");
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const auto row = [](const ImportCounts& counts, const char* format) {
      const auto text = [](int64_t count) {
        return count == PublishedCounts::kUnknown ? std::string("?") : with_commas(count);
      };
      return fmt::format(fmt::runtime(format), text(counts.images), text(counts.captions), text(counts.identities));
    };
    const auto place = static_cast<size_t>(split);
    fmt::print("{:<6}{}{}\n", split_name(split), row(examination.report.splits[place], "{:>10}{:>10}{:>12}"),
               published == nullptr ? "" : row(published->splits[place], "{:>23}{:>10}{:>12}"));
  }
}

void print_lines(const char* kind, const std::string& what, int64_t count, const std::vector<std::string>& first) {
  constexpr size_t kShown = 5;
  fmt::print("{}: {}\n", kind, what);
  const size_t shown = std::min(kShown, first.size());
  for (size_t i = 0; i < shown; ++i) fmt::print("  {}\n", escaped(first[i]));
  if (count > static_cast<int64_t>(shown))
    fmt::print("  and {} more\n", with_commas(count - static_cast<int64_t>(shown)));
}

struct Wording {
  FindingKind kind;
  const char* what;
};
constexpr Wording kLost[] = {
    {FindingKind::kMissing, "images are missing"},
    {FindingKind::kUnreadable, "images cannot be read"},
    {FindingKind::kListedTwice, "rows name an image that was listed before"},
    {FindingKind::kBadRow, "rows of the list are wrong"},
};
constexpr Wording kKept[] = {
    {FindingKind::kWithoutCaption,
     "images have no caption: training leaves them out, evaluation keeps them in the gallery"},
    {FindingKind::kSharedCaption, "captions stand under several identities"},
};

void print_kind(const char* label, const Wording& wording, const Examination& examination) {
  const auto found = examination.findings.find(wording.kind);
  if (found == examination.findings.end()) return;
  const auto& [count, first] = found->second;
  print_lines(label, fmt::format("{} {}", with_commas(count), wording.what), count, first);
}

void print_findings(const Examination& examination, const PublishedCounts* published) {
  for (const Wording& wording : kLost) print_kind("finding", wording, examination);
  const std::vector<std::string>& differences = examination.report.differences;
  if (!differences.empty()) {
    print_lines("finding",
                fmt::format("{} counts are not those of {} as published", differences.size(), published->name),
                static_cast<int64_t>(differences.size()), differences);
  }
  if (examination.is_whole()) {
    fmt::print("no findings{}\n", published == nullptr ? "" : ", and all counts are those published");
  }
}

void print_notes(const Examination& examination, const PublishedCounts* published) {
  const ImportReport& report = examination.report;
  for (const Wording& wording : kKept) print_kind("note", wording, examination);
  for (const std::string& warning : report.warnings) fmt::print("note: {}\n", escaped(warning));
  if (report.identities_in_two_splits > 0) {
    fmt::print("note: {} identities are in more than one split\n", with_commas(report.identities_in_two_splits));
  }
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const auto place = static_cast<size_t>(split);
    const bool expected = published == nullptr || published->splits[place].images != 0;
    if (report.splits[place].images > 0 || (!expected && split != Split::kVal)) continue;
    fmt::print("note: there is no {} split{}\n", split_name(split),
               split == Split::kVal ? "; muster import --holdout-identities N makes one of identities of train" : "");
  }
  if (!examination.decoded) fmt::print("note: pictures were not decoded; --decode does that\n");
  if (!report.refused.empty()) {
    fmt::print("{} rows would be refused; --skip-bad leaves them out\n",
               with_commas(static_cast<int64_t>(report.refused.size())));
  }
}

// A name for the store that nothing has yet.
std::string free_name() {
  std::error_code error;
  std::string name = "store";
  for (int i = 2; fs::exists(name, error) || fs::exists(name + ".partial", error); ++i)
    name = fmt::format("store-{}", i);
  return name;
}

std::string word(const std::string& path) {
  return shell_quoted(path[0] == '-' ? "./" + path : path);
}

// The command that imports the source as it was read here.
std::string import_command(const Source& source, const ListOptions& options, const Examination& examination) {
  const WayIn way = way_in(source);
  std::string command = "muster import " + way.command;
  if (source.paths.size() > kTarsByName) {
    command += " " + word(fs::path(source.paths.front()).parent_path().string()) + "/*.tar";
  } else {
    for (const std::string& path : source.paths) command += " " + word(path);
  }
  for (const Part part : way.options) {
    for (const auto& [flag, value] : options.given(part))
      command += " " + flag + (value.empty() ? "" : " " + shell_quoted(value));
  }
  return command + " --out " + free_name() + (examination.report.refused.empty() ? "" : " --skip-bad");
}

Examination examine(const Source& source, const Arguments& arguments, const PublishedCounts*& published) {
  ExamineOptions options;
  options.decode = arguments.decode;
  options.threads = arguments.threads;
  const std::string name = way_in(source).name;
  const auto progress = std::make_unique<ProgressLine>();
  const auto begin = [&](int64_t rows) {
    if (!arguments.decode) return;
    options.progress = [&progress, rows](int64_t done) {
      progress->set_fraction(static_cast<double>(done) / static_cast<double>(rows));
      progress->show(done);
    };
  };
  if (source.kind == Kind::kStore) {
    const Store store(source.paths.front());
    fmt::print("{}: {}\n", escaped(arguments.path), name);
    begin(store.images());
    return examine_store(store, options);
  }
  ImportList list = read_list(source, arguments.list);
  published = list.published;
  fmt::print("{}: {}; {}\n", escaped(arguments.path), name,
             source.kind == Kind::kWebdataset
                 ? fmt::format("{} samples", with_commas(static_cast<int64_t>(list.rows.size())))
                 : fmt::format("the list is {}, images are below {}", escaped(list.source), escaped(list.root)));
  begin(static_cast<int64_t>(list.rows.size()));
  return examine_list(std::move(list), options);
}

void run(const Arguments& arguments) {
  const Source source = find_source(arguments.path);
  const PublishedCounts* published = nullptr;
  const Examination examination = examine(source, arguments, published);
  print_table(examination, published);
  fmt::print("\n");
  print_findings(examination, published);
  print_notes(examination, published);
  fmt::print("\nnext:\n  {}\n", source.kind == Kind::kStore
                                    ? "muster inspect " + word(source.paths.front()) + " --verify"
                                    : import_command(source, arguments.list, examination));
  std::fflush(stdout);
  if (!examination.is_whole()) throw CLI::RuntimeError(kFindingsExitCode);
}

}  // namespace

void add_doctor_data(CLI::App& doctor, Process& process) {
  CLI::App* command = doctor.add_subcommand(
      "data",
      "Say whether a data set is whole, before it is imported. Nothing is written. Exit code 0: every row would be\n"
      "imported and the counts are those published; 1: there are findings; 2: nothing that is recognised");
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("PATH", arguments->path,
                   "File or folder: CUHK-PEDES, ICFG-PEDES, RSTPReid, CUB, Flowers, JSON lines, CSV, webdataset tars, "
                   "or a store")
      ->required();
  command->add_flag("--decode", arguments->decode, "Decode every image, as the import will");
  command->add_option("--threads", arguments->threads, "Threads that look at images [2]")->check(CLI::Range(1, 1024));
  arguments->list.add_root(*command, "as muster import");
  arguments->list.add_split(*command);
  arguments->list.add_table(*command);
  command->callback([arguments, &process] {
    if (process.rank() == 0) run(*arguments);
  });
}

}  // namespace muster
