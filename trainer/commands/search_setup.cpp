#include "trainer/commands/search_setup.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <utility>

#include "comm/local_communicator.h"
#include "dataloader/evaluation_reader.h"
#include "dataloader/formats/safetensors_rows.h"
#include "launch/error.h"
#include "trainer/evaluation.h"
#include "trainer/global_vectors.h"
#include "trainer/model_tokenizer.h"
#include "trainer/retrieval/fixed_product.h"
#include "trainer/run_folder.h"
#include "trainer/split_names.h"

namespace muster {
namespace {

constexpr size_t kCompared = 8;   // rows of a file that are embedded again
constexpr double kSame = 0.9999;  // cosine: rounding stays above it, another checkpoint below

// Of all images of the gallery, with the run's model.
class Embedder {
 public:
  Embedder(const TrainedRun& run, const Store& store)
      : run_(run),
        tokenizer_(make_model_tokenizer(run.settings.data, run.settings.model)),
        reader_(store, run.settings.data, input_size(run.settings.model), *tokenizer_) {}

  at::Tensor embed(const std::vector<int64_t>& images) const {
    return embed_images(*run_.model, reader_, images, run_.settings);
  }

 private:
  const TrainedRun& run_;
  std::unique_ptr<Tokenizer> tokenizer_;
  EvaluationReader reader_;
};

// The file's rows must be those of these images, as this checkpoint makes them.
at::Tensor read_embeddings(const std::string& path, const std::string& run_dir, const Gallery& gallery,
                           const Embedder& embedder) {
  const SafetensorsFile file(path);
  const auto images = static_cast<int64_t>(gallery.images.size());
  const std::vector<int64_t> due = {images, embedding_width(gallery.run.settings.model)};
  if (file.sizes("image") != due) {
    throw DataError(
        fmt::format("{}: 'image' is [{}], and {} images of width {} are searched; make the file anew: "
                    "muster embed",
                    path, fmt::join(file.sizes("image"), ", "), images, due[1]));
  }
  check_image_rows(rows_path(path), *gallery.store, gallery.images);
  at::Tensor rows = file.read("image").to(at::kFloat);
  std::vector<int64_t> some;
  const size_t compared = std::min(kCompared, gallery.images.size());
  for (size_t i = 0; i < compared; ++i) some.push_back(static_cast<int64_t>(i * gallery.images.size() / compared));
  for (const int64_t row : some) {
    const at::Tensor made = unit_matrix(embedder.embed({gallery.images[static_cast<size_t>(row)]}));
    const double cosine = row_products(made, unit_matrix(rows.narrow(0, row, 1)))[0].item<double>();
    if (cosine > kSame) continue;
    throw DataError(
        fmt::format("{}: row {} is not what step {} of {} makes of it (cosine {:.3f}); give --checkpoint of "
                    "the embeddings, or make the file anew: muster embed",
                    path, row, gallery.run.step, run_dir, cosine));
  }
  return rows;
}

// "--split train has 400, --split val has 40"
std::string splits_with_images(const Store& store) {
  std::string text;
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const size_t images = store.images_of(split).size();
    if (images > 0) text += fmt::format("{}--split {} has {}", text.empty() ? "" : ", ", split_name(split), images);
  }
  return text;
}

int64_t plain_rank(const std::vector<Hit>& plain, int64_t item) {
  const auto at = std::find_if(plain.begin(), plain.end(), [&](const Hit& hit) { return hit.item == item; });
  return at == plain.end() ? 0 : at - plain.begin() + 1;
}

}  // namespace

void add_search_options(CLI::App& command, SearchRequest& request) {
  command.add_option("--run", request.run_dir, "Run folder of muster train, or one checkpoint's folder")->required();
  command.add_option("--data", request.store, "Store whose images are searched")->required();
  command.add_option("--split", request.split, "train, val or test")->capture_default_str();
  command.add_option("--checkpoint", request.checkpoint, "newest, best (on val), or a step")->capture_default_str();
  command.add_option("--weights", request.weights, "raw, ema (their average), or auto: ema if the run keeps one")
      ->capture_default_str();
  command.add_option("--top", request.top, "Hits a query")->check(CLI::Range(1, 1000))->capture_default_str();
  command.add_option("--embeddings", request.embeddings,
                     "What muster embed wrote for this run and split, instead of embedding the images anew");
  command.add_flag("--half", request.half, "Keep the images' vectors in float16: half the memory");
  add_refine_options(command, request.refine, "Also ranked with the references that the run has learned");
}

Gallery open_gallery(const SearchRequest& request, const std::string& command, const std::vector<std::string>& queries,
                     const Process& process) {
  if (process.world_size() > 1) {
    throw ConfigError(
        fmt::format("{} is one process; run it without mpirun, and embed a large split under mpirun: "
                    "muster embed, then --embeddings",
                    command));
  }
  read_run_config(request.run_dir);  // says so if there is no run
  RefinementConfig refinement;
  if (request.refine.wanted) refinement = refinement_config(request.refine, request.run_dir);
  start_computing(process, 0);
  Gallery gallery;
  gallery.store = std::make_unique<Store>(request.store);
  const Split split = split_from_name(request.split);
  gallery.images = gallery.store->images_of(split);
  if (gallery.images.empty()) {
    throw ConfigError(fmt::format("{}: split {} has no images to search; {}", request.store, request.split,
                                  splits_with_images(*gallery.store)));
  }
  LocalCommunicator alone;
  gallery.run =
      load_trained_run(request.run_dir, request.checkpoint, weights_from_name(request.weights), process, alone);
  check_global(gallery.run.settings, request.run_dir, command + " ranks by");
  gallery.ranking = global_note(gallery.run.settings);
  gallery.encoder = std::make_unique<QueryEncoder>(*gallery.run.model, gallery.run.settings);
  for (const std::string& words : queries) gallery.encoder->encode(words);
  std::unique_ptr<Refining> refining;
  if (request.refine.wanted) {
    RunRefinement chosen = choose_run_refinement(request.refine, refinement, request.run_dir, gallery.run,
                                                 *gallery.store, PositiveRule::kIdentity, split == Split::kVal, alone);
    gallery.refinement = chosen.description;
    refining = std::make_unique<Refining>(Refining{chosen.basis, refinement, chosen.choice});
  }
  const Embedder embedder(gallery.run, *gallery.store);
  const at::Tensor rows = request.embeddings.empty()
                              ? embedder.embed(gallery.images)
                              : read_embeddings(request.embeddings, request.run_dir, gallery, embedder);
  gallery.search =
      std::make_unique<ImageSearch>(rows, request.half ? Storage::kFloat16 : Storage::kFloat32, refining.get());
  gallery.name = fmt::format("{} images of {} of {}, {} step {}", gallery.images.size(), request.split, request.store,
                             request.run_dir, gallery.run.step);
  return gallery;
}

std::vector<std::pair<std::string, std::string>> gallery_facts(const Gallery& gallery) {
  std::vector<std::pair<std::string, std::string>> facts = {{"gallery", gallery.name}};
  if (!gallery.ranking.empty()) facts.emplace_back("ranked", gallery.ranking);
  return facts;
}

PageQuery find_images(const Gallery& gallery, const std::string& words, int64_t top,
                      const std::function<std::string(int64_t row)>& picture) {
  const ImageSearch::Found found = gallery.search->find(gallery.encoder->encode(words), top);
  const auto page_hit = [&](const Hit& hit) -> PageHit {
    const int64_t image = gallery.images[static_cast<size_t>(hit.item)];
    return {picture(hit.item), gallery.store->source_path(image),
            gallery.store->identity_name(gallery.store->identity(image)), static_cast<double>(hit.score), 0};
  };
  PageQuery query{words, {}, {}};
  for (const Hit& hit : found.plain) query.plain.push_back(page_hit(hit));
  for (const Hit& hit : found.refined) {
    query.refined.push_back(page_hit(hit));
    query.refined.back().plain_rank = plain_rank(found.plain, hit.item);
  }
  return query;
}

}  // namespace muster
