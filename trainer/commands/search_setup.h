// What muster search and muster serve share: from a run and a store to a gallery that answers words.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/store.h"
#include "launch/process.h"
#include "trainer/commands/eval_refined.h"
#include "trainer/commands/run_setup.h"
#include "trainer/image_search.h"
#include "trainer/report/search_page.h"

namespace CLI {
class App;
}

namespace muster {

struct SearchRequest {
  std::string run_dir, store, embeddings;
  std::string split = "test";
  std::string checkpoint = "newest";
  std::string weights = "auto";
  int64_t top = 10;
  bool half = false;
  RefineRequest refine;
};

void add_search_options(CLI::App& command, SearchRequest& request);

// A gallery in memory. Movable; what it holds stays where it is.
struct Gallery {
  std::unique_ptr<Store> store;
  std::vector<int64_t> images;  // the store's numbers, of each row
  TrainedRun run;
  std::unique_ptr<QueryEncoder> encoder;
  std::unique_ptr<ImageSearch> search;
  std::string refinement;  // what refines; empty: nothing
  std::string name;        // "400 images of test of store, run, step 240"
  std::string ranking;     // by which scores, where that is not plain (global_note()); else empty
};

// Loads the run and embeds the split's images, with or without captions, or reads their embeddings from a file of
// muster embed. `command`: what a ConfigError names; `queries` are tried before the images are embedded. ConfigError:
// under mpirun; no run or checkpoint; a split without images; as check_global(), choose_run_refinement() and
// QueryEncoder. DataError: no such store; embeddings of other images or of another checkpoint.
Gallery open_gallery(const SearchRequest& request, const std::string& command, const std::vector<std::string>& queries,
                     const Process& process);

// For a page: what is searched, and by which scores.
std::vector<std::pair<std::string, std::string>> gallery_facts(const Gallery& gallery);

// What a query finds, with the hits' names; picture(row): where a hit's image is. One thread at a time. ConfigError as
// QueryEncoder.
PageQuery find_images(const Gallery& gallery, const std::string& words, int64_t top,
                      const std::function<std::string(int64_t row)>& picture);

}  // namespace muster
