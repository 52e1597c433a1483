#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/text/printable.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/output_file.h"
#include "trainer/commands/search_setup.h"
#include "trainer/commands/text_columns.h"
#include "trainer/report/html_text.h"
#include "trainer/report/search_page.h"
#include "trainer/thumbnail.h"

namespace muster {
namespace {

struct SearchArguments {
  SearchRequest request;
  std::vector<std::string> queries;
  std::string html;
};

using Lines = std::vector<std::vector<std::string>>;

// A line a hit: score, identity, image; of a refined one also the plain rank.
Lines table_of(const std::vector<PageHit>& hits, bool refined) {
  Lines lines = {{"score", "identity", "image"}};
  if (refined) lines[0].insert(lines[0].begin(), "was");
  for (const PageHit& hit : hits) {
    lines.push_back({fmt::format("{:.4f}", hit.score), printable(hit.identity), printable(hit.path)});
    if (refined) {
      lines.back().insert(lines.back().begin(), hit.plain_rank == 0 ? "-" : std::to_string(hit.plain_rank));
    }
  }
  return lines;
}

// Both rankings side by side.
std::string format_hits(const PageQuery& query) {
  Lines lines = table_of(query.plain, false);
  if (!query.refined.empty()) {
    const Lines refined = table_of(query.refined, true);
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i].push_back(i == 0 ? "" : "|");
      lines[i].insert(lines[i].end(), refined[i].begin(), refined[i].end());
    }
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].insert(lines[i].begin(), fmt::format("{:>5}", i == 0 ? "rank" : std::to_string(i)));
  }
  return format_columns(lines);
}

void write_page(const SearchArguments& arguments, const Gallery& gallery, const std::vector<PageQuery>& queries) {
  SearchPage page;
  page.title = arguments.queries.size() == 1 ? arguments.queries[0] : "Search";
  page.facts = gallery_facts(gallery);
  page.refinement = gallery.refinement;
  page.queries = queries;
  write_file_atomically(arguments.html, render_search_page(page));
  fmt::print("{}: the hits with their pictures\n", arguments.html);
}

void search(const SearchArguments& arguments, const Process& process) {
  const SearchRequest& request = arguments.request;
  if (!arguments.html.empty()) {
    check_output_file("--html", arguments.html, {request.run_dir, request.store, request.embeddings});
  }
  const Gallery gallery = open_gallery(request, "muster search", arguments.queries, process);
  const auto picture = [&](int64_t row) {
    if (arguments.html.empty()) return std::string();
    return image_data_uri(thumbnail(*gallery.store, gallery.images[static_cast<size_t>(row)]));
  };
  std::vector<PageQuery> queries;
  for (const std::string& words : arguments.queries) {
    queries.push_back(find_images(gallery, words, request.top, picture));
  }
  fmt::print("{}\n", gallery.name);
  if (!gallery.ranking.empty()) fmt::print("ranked {}\n", gallery.ranking);
  if (!gallery.refinement.empty()) fmt::print("left plain, right refined: {}\n", gallery.refinement);
  for (const PageQuery& query : queries) fmt::print("\n{}\n{}", printable(query.words), format_hits(query));
  if (!arguments.html.empty()) write_page(arguments, gallery, queries);
}

}  // namespace

void add_search_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("search", "Print the images of a split that match some words best");
  const auto arguments = std::make_shared<SearchArguments>();
  command->add_option("QUERY", arguments->queries, "What the picture shows; several are searched one by one")
      ->required();
  add_search_options(*command, arguments->request);
  command->add_option("--html", arguments->html, "Write the hits with their pictures as one page that can be mailed");
  command->callback([arguments, &process] { search(*arguments, process); });
}

}  // namespace muster
