// What a rank holds.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "comm/communicator.h"
#include "dataloader/loader.h"
#include "trainer/encoders/model_config.h"
#include "trainer/encoders/model_cost.h"
#include "trainer/head_cost.h"
#include "trainer/head_start.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/objective.h"
#include "trainer/losses/tile_device.h"
#include "trainer/losses/tile_loss.h"
#include "trainer/references/reference_bank.h"
#include "trainer/step_cost.h"

namespace muster {
namespace {

constexpr int64_t kFloat = 4, kNumber = 8;

int64_t count_of(const std::vector<ParameterSize>& parameters) {
  int64_t count = 0;
  for (const ParameterSize& parameter : parameters) count += parameter.count;
  return count;
}

// Where an item lies: with the model, on the GPU if there is one, or on the host in any case.
enum class Place { kModel, kHost };

class ItemList {
 public:
  explicit ItemList(bool gpu) : gpu_(gpu) {}
  void exact(const std::string& what, int64_t bytes, const std::string& formula, Place place = Place::kModel) {
    add({what, bytes, true, gpu_ && place == Place::kModel, formula});
  }
  void about(const std::string& what, int64_t bytes, const std::string& formula, Place place = Place::kModel) {
    add({what, bytes, false, gpu_ && place == Place::kModel, formula});
  }
  std::vector<MemoryItem> take() { return std::move(items_); }

 private:
  void add(const MemoryItem& item) {
    if (item.bytes > 0) items_.push_back(item);
  }

  const bool gpu_;
  std::vector<MemoryItem> items_;
};

// Trained or not: what a checkpoint holds as well.
int64_t weight_count(const StepJob& job, const std::vector<ParameterSize>& trainable) {
  int64_t own = 0;  // of the objective
  for (const ParameterSize& parameter : trainable) own += parameter.name.rfind("objective.", 0) == 0 ? 1 : 0;
  return count_parameters(job.settings.model) + count_buffers(job.settings.model) + count_of(job.head_parameters) + own;
}

int64_t optimizer_bytes(const StepJob& job, const std::vector<ParameterSize>& trainable) {
  const bool moments = job.settings.train.optimizer().kind() != OptimizerConfig::SGD;
  const auto tensors = static_cast<int64_t>(trainable.size());
  return kFloat * ((moments ? 2 * count_of(trainable) : 0) + tensors);
}

int64_t own_references(const StepJob& job, int rank, bool sharded) {
  const int64_t rows = job.identities * job.settings.references.per_identity();
  return sharded ? split_rows(rows, job.world)[static_cast<size_t>(rank)] : rows;
}

// Rows and two moments, step, identity and slot of each; two means and their number.
int64_t bank_state_bytes(const StepJob& job, int rank, bool sharded) {
  const int64_t width = job.settings.model.joint_width();
  return own_references(job, rank, sharded) * (3 * kFloat * width + 3 * kNumber) + 2 * kFloat * width + kNumber;
}

int64_t bank_gradient_bytes(const StepJob& job, int rank, bool sharded) {
  const ReferencesConfig& config = job.settings.references;
  if (config.fusion_weight() == 0 && !heads_need_references(job.settings.heads)) return 0;
  int64_t rows = own_references(job, rank, sharded);
  if (config.negatives() == ReferencesConfig::BATCH) {
    rows = std::min(rows, job.settings.train.global_batch() * config.per_identity());
  }
  return rows * kFloat * job.settings.model.joint_width();
}

// Whether a term is over pairs of an image and a text.
bool has_tiles(const Objective& objective) {
  return std::any_of(objective.term().begin(), objective.term().end(), [](const Term& term) {
    Checks checks;
    return describe(term, "", checks).whole == nullptr;
  });
}

// Gathered captions, unit rows and cosines of a tile, gradients: all matrices of an evaluation of the losses; of words
// that are too many to gather those of two other ranks, gradients for two and twice its own. On a GPU
// with half products the unit rows and the weights once more are half as wide. Of several pairs of features the later
// ones' captions and the earlier ones' gradients are there as well; here all of them.
int64_t loss_bytes(const StepJob& job, int rank) {
  if (!has_tiles(job.settings.objective)) return kFloat * 2 * rows_of(job, rank) * job.settings.model.joint_width();
  const TileShape tile = job.gpu ? kDeviceTile : TileShape{};
  const int64_t rows = rows_of(job, rank), batch = job.settings.train.global_batch();
  const int64_t tile_rows = std::min(tile.rows, rows), tile_columns = std::min(tile.columns, batch);
  const int64_t gathered = job.world > 1 ? batch + rows : 0;  // captions; their gradient's own rows
  const int64_t most_rows = split_rows(batch, job.world).front();
  const bool half = job.gpu && job.settings.train.precision() == TrainConfig::BF16;
  int64_t most = 0, sum = 0;
  for (const std::string& pair : pairs_of(job.settings.objective)) {
    const int64_t width = pair_width(job.settings.model, pair);
    const SampleRows of_sample = sample_rows(job, pair);
    if (of_sample.image == 1) most = std::max(most, (half ? kFloat / 2 : kFloat) * width * (tile_rows + tile_columns));
    const int64_t words = kFloat * width * of_sample.text;
    const bool travel = pair == kSetPair && has_sets(job.settings.model) && job.world > 1 &&
                        !words_are_gathered(batch * words, job.settings.objective.alignment().gathered_mib());
    sum += words * (travel ? 4 * most_rows + 2 * rows : gathered + batch) + kFloat * width * of_sample.image * rows;
  }
  for (const Term& term : job.settings.objective.term()) {
    if (!teacher_of(term).empty()) sum += kFloat * rows * batch;
  }
  const int64_t weights = half ? kFloat / 2 * tile_rows * tile_columns : 0;
  return sum + kFloat * tile_rows * tile_columns + most + weights;
}

// One term after the other.
int64_t whole_loss_bytes(const StepJob& job, int rank) {
  int64_t most = 0;
  for (const Term& term : job.settings.objective.term()) {
    Checks checks;
    const LossTerm loss = describe(term, "", checks);
    if (loss.whole)
      most = std::max(most, loss.whole->cost(rows_of(job, rank), pair_width(job.settings.model, term.pair())).bytes);
  }
  return most;
}

// On a GPU, beside the statistics: lengths of rows and columns, and what groups of pairs find in a tile, each term.
int64_t device_loss_bytes(const StepJob& job, int rank) {
  const int64_t rows = rows_of(job, rank), batch = job.settings.train.global_batch();
  const int64_t r = std::min(kDeviceTile.rows, rows), c = std::min(kDeviceTile.columns, batch);
  const int64_t groups = (c + kGroupColumns - 1) / kGroupColumns * r + (r + kGroupRows - 1) / kGroupRows * c;
  return (kNumber + kFloat) * (rows + batch) + job.settings.objective.term_size() * 4 * kFloat * groups;
}

}  // namespace

int64_t sum_of(const std::vector<MemoryItem>& items, bool on_gpu) {
  int64_t sum = 0;
  for (const MemoryItem& item : items) sum += item.on_gpu == on_gpu ? item.bytes : 0;
  return sum;
}

int64_t reference_bytes(const StepJob& job, int rank, bool sharded) {
  return bank_state_bytes(job, rank, sharded) + bank_gradient_bytes(job, rank, sharded);
}

std::vector<MemoryItem> step_memory(const StepJob& job, int rank) {
  const TrainConfig& train = job.settings.train;
  const ModelConfig& model = job.settings.model;
  const std::vector<ParameterSize> trainable = trainable_sizes(job);
  const std::vector<int64_t> buckets = bucket_sizes(job);
  const int64_t rows = rows_of(job, rank), chunk = chunk_rows(job, rank), batch = train.global_batch();
  const int64_t weights = kFloat * weight_count(job, trainable), optimizer = optimizer_bytes(job, trainable);
  const int64_t average = train.ema().decay() > 0 ? weights : 0;
  const int64_t gradients = kFloat * std::accumulate(buckets.begin(), buckets.end(), int64_t{0});
  ItemList items(job.gpu);
  items.exact("weights", weights, fmt::format("4 x {} numbers", weights / kFloat));
  items.exact(
      "gradients", gradients,
      fmt::format("{} buckets of 4 x {} numbers, at multiples of 64 bytes", buckets.size(), count_of(trainable)));
  if (train.optimizer().kind() == OptimizerConfig::SGD) {
    items.exact("optimizer", optimizer, "4 a tensor");
  } else {
    items.exact("optimizer", optimizer, fmt::format("8 x {} numbers, 4 a tensor", count_of(trainable)));
  }
  items.exact("average of the weights", average, "as the weights");
  int64_t bank_copy = 0;
  if (job.identities > 0) {
    const ReferencesConfig& config = job.settings.references;
    const int64_t references = job.identities * config.per_identity(), width = model.joint_width();
    const bool sharded = shards_references(config, references, batch, job.world);
    const int64_t state = bank_state_bytes(job, rank, sharded), own = own_references(job, rank, sharded);
    items.exact(sharded ? "references, sharded" : "references, replicated", state,
                fmt::format("{} rows x (12 x {} + 24), means 8 x {} + 8", own, width, width), Place::kHost);
    const bool all = config.negatives() == ReferencesConfig::BANK;
    const std::string gradient = fmt::format("rows x 4 x {}", width);
    const int64_t bytes = bank_gradient_bytes(job, rank, sharded);
    if (all) items.exact("their gradient", bytes, gradient, Place::kHost);
    if (!all) items.about("their gradient", bytes, "at most " + gradient, Place::kHost);
    items.about("their order", kNumber * (references + 2 * job.identities), "8 a row, 16 an identity, of all ranks",
                Place::kHost);
    if (job.gpu) items.about("references, sent", kFloat * 2 * own * width, "rows and their gradient, 8 x rows x width");
    if (!sharded) bank_copy = state;
  }
  const bool regions = has_sets(model);
  const int64_t numbers = regions ? kUsualRegions * (model.regions().width() + 2 * kBoxNumbers)
                                  : int64_t{3} * model.image().height_pixels() * model.image().width_pixels();
  const int64_t of_number = regions ? kFloat / 2 : kFloat;
  const std::string of_image = regions
                                   ? fmt::format("2 x {} regions x ({} + 10)", kUsualRegions, model.regions().width())
                                   : fmt::format("4 x {} pixels", numbers);
  const int64_t context = model.text().context(), batches = most_batches(job.settings.data);
  // Images have as many regions as they have.
  const auto add = [&](const char* what, int64_t bytes, const std::string& formula, auto... place) {
    regions ? items.about(what, bytes, formula, place...) : items.exact(what, bytes, formula, place...);
  };
  add("batches", batches * rows * (of_number * numbers + kNumber * context + 3 * kNumber),
      fmt::format("{} x {} rows x ({} + 8 x {} tokens + 24)", batches, rows, of_image, context), Place::kHost);
  if (job.gpu) add("images", 2 * rows * of_number * numbers, fmt::format("2 x {} rows x {}", rows, of_image));
  const bool bf16 = train.precision() == TrainConfig::BF16;
  const int64_t carried = carried_text_tokens(job);
  const TowerTokens texts = carried > 0 ? TowerTokens::kAll : TowerTokens::kFeature;
  const TowerTokens images = carries_image_tokens(job) ? TowerTokens::kAll : TowerTokens::kFeature;
  const int64_t activations =
      chunk == 0 ? 0 : activation_bytes(model, chunk, carried > 0 ? carried : job.caption_tokens, bf16, texts, images);
  const std::string of_chunk = fmt::format("of a chunk of {} rows, captions of {} tokens", chunk, job.caption_tokens);
  if (job.gpu) items.about("activations", activations, of_chunk + ", as on a CPU");
  if (!job.gpu) add("activations", activations, of_chunk);
  items.about("heads", head_bytes(job, chunk), "of the chunk: passes of a tower, blocks, outputs");
  if (rows > chunk) items.exact("features", 2 * kFloat * rows * model.joint_width(), "all chunks': 8 b d");
  const auto pairs = static_cast<int64_t>(pairs_of(job.settings.objective).size());
  const char* matrices = "captions, gradients, one tile";
  const bool one = pairs <= 1 && !regions;
  if (one) items.exact("loss, matrices", loss_bytes(job, rank), matrices);
  if (!one) items.about("loss, matrices", loss_bytes(job, rank), matrices);
  items.about("loss, whole matrices", whole_loss_bytes(job, rank), "sums of d x d, rows in float64");
  const int64_t of_column = 12;  // statistics, factors and codes: 5 to 20, by the loss
  const int64_t statistics = of_column * kNumber * batch * job.settings.objective.term_size();
  items.about("loss, statistics", statistics, "some 100 bytes a column and term", Place::kHost);
  if (job.gpu) {
    items.about("loss, statistics", statistics + device_loss_bytes(job, rank), "the same, and of groups of pairs");
  }
  items.about("receiving", gradients - gradients / job.world, "at most (N - 1) / N of the gradients");
  if (rank == 0) {
    const std::string formula = fmt::format("weights, optimizer{}{}", average > 0 ? ", their average" : "",
                                            bank_copy > 0 ? ", references" : "");
    items.exact("checkpoint's copy", weights + optimizer + average + bank_copy, formula, Place::kHost);
  }
  return items.take();
}

}  // namespace muster
