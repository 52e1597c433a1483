// What travels in a step.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "comm/communicator.h"
#include "trainer/clean_pairs.h"
#include "trainer/encoders/model_config.h"
#include "trainer/head_start.h"
#include "trainer/losses/global_batch.h"
#include "trainer/losses/loss_term.h"
#include "trainer/references/reference_bank.h"
#include "trainer/step_cost.h"

namespace muster {
namespace {

constexpr int64_t kNumber = 8;  // float64 and int64

class CallList {
 public:
  CallList(const StepJob& job, int rank)
      : size_(job.world), rank_(rank), rows_(split_rows(job.settings.train.global_batch(), job.world)) {}

  void all_reduce(StepPart part, const std::string& name, int64_t elements, int64_t element_bytes) {
    calls_.push_back({part, name, all_reduce_traffic(elements, element_bytes, rank_, size_)});
  }
  // Rows of the batch, from the ranks that have them.
  void all_gather(StepPart part, const std::string& name, int64_t row_bytes) {
    calls_.push_back({part, name, all_gather_traffic(rows_, row_bytes, rank_)});
  }
  // The same by gather_rows().
  void gather_rows(StepPart part, const std::string& name, int64_t row_bytes) {
    if (size_ > 1) all_gather(part, name, row_bytes);
  }
  // So many bytes of each rank.
  void gather_numbers(StepPart part, const std::string& name, int64_t bytes) {
    const std::vector<int64_t> one(static_cast<size_t>(size_), 1);
    calls_.push_back({part, name, all_gather_traffic(one, bytes, rank_)});
  }
  void reduce_scatter(StepPart part, const std::string& name, int64_t row_bytes) {
    calls_.push_back({part, name, reduce_scatter_traffic(rows_, row_bytes, rank_)});
  }
  // Rows of the batch, so often from rank to rank until all have seen them.
  void around_a_ring(StepPart part, const std::string& name, int64_t row_bytes, int64_t times) {
    const int64_t sent = times * (batch() - rows_[static_cast<size_t>((rank_ + 1) % size_)]) * row_bytes;
    calls_.push_back({part, name, {sent, sent, times * (size_ - 1)}});
  }
  // At most so many bytes handed, and of them to others.
  void all_to_all_at_most(StepPart part, const std::string& name, int64_t handed, int64_t sent) {
    calls_.push_back({part, name, {handed, sent, size_ - 1}, true});
  }
  void last_is_bound() { calls_.back().is_bound = true; }

  int64_t ranks() const { return size_; }
  int64_t own() const { return rows_[static_cast<size_t>(rank_)]; }
  int64_t batch() const { return std::accumulate(rows_.begin(), rows_.end(), int64_t{0}); }

  // Calls of one name as one.
  std::vector<StepCall> take() {
    std::vector<StepCall> merged;
    for (const StepCall& call : calls_) {
      const auto same = [&](const StepCall& other) { return other.name == call.name; };
      const auto found = std::find_if(merged.begin(), merged.end(), same);
      if (found == merged.end()) {
        merged.push_back(call);
      } else {
        found->traffic += call.traffic;
        found->is_bound |= call.is_bound;
      }
    }
    return merged;
  }

 private:
  int size_;
  int rank_;
  std::vector<int64_t> rows_;
  std::vector<StepCall> calls_;
};

// Of the norm of selected tokens, forward and backward.
void add_batch_statistics(CallList& calls, const ModelConfig& model) {
  const int64_t hidden = model.token_selection().width() / 2;
  for (const char* name : {"selection.text", "selection.image"}) {
    calls.all_reduce(StepPart::kBatchStatistics, name, 2 * hidden + 1, kNumber);
    calls.all_reduce(StepPart::kBatchStatistics, name, 2 * hidden, kNumber);
  }
}

void add_labels(CallList& calls, int64_t widths) {
  calls.gather_numbers(StepPart::kAgreement, "loss.rows", kNumber * (2 + widths));
  calls.gather_rows(StepPart::kAgreement, "loss.identity", kNumber);
}

void add_gradients(CallList& calls, const StepJob& job) {
  const std::vector<int64_t> buckets = bucket_sizes(job);
  for (size_t i = 0; i < buckets.size(); ++i) {
    calls.all_reduce(StepPart::kGradients, fmt::format("gradients {}", i), buckets[i], sizeof(float));
  }
}

// Terms over pairs of an image and a text, on one pair of features. alignment: of sets; else null.
void add_loss(CallList& calls, const std::vector<PairNeeds>& terms, int64_t width, const SampleRows& of_sample,
              const AlignmentConfig* alignment) {
  PairNeeds sum;
  for (const PairNeeds& needs : terms) {
    sum.maxima += needs.maxima;
    sum.sums += needs.sums;
    sum.indices += needs.indices;
    sum.positive_sums += needs.positive_sums;
    sum.pair_cosine |= needs.pair_cosine;
    sum.norm_gradient |= needs.norm_gradient;
  }
  const int64_t row = of_sample.text * width * static_cast<int64_t>(sizeof(float)), batch = calls.batch();
  const bool few = std::all_of(terms.begin(), terms.end(), [](const PairNeeds& needs) { return needs.few_pairs; });
  const bool travel =
      alignment != nullptr && calls.ranks() > 1 && !words_are_gathered(batch * row, alignment->gathered_mib());
  if (alignment != nullptr) calls.gather_rows(StepPart::kAgreement, "loss.words", kNumber);
  if (travel) {
    const int64_t passes = 1 + (sum.positive_sums > 0 ? 1 : 0) + (few ? 0 : 1);
    calls.around_a_ring(StepPart::kFeatures, "loss.text", row, passes);
  } else {
    calls.gather_rows(StepPart::kFeatures, "loss.text", row);
  }
  if (alignment != nullptr && calls.ranks() > 1) calls.last_is_bound();
  if (sum.pair_cosine) calls.gather_rows(StepPart::kFeatures, "loss.pair_cosines", kNumber);
  const std::pair<const char*, int> statistics[] = {{"loss.column_maxima", sum.maxima},
                                                    {"loss.column_sums", sum.sums},
                                                    {"loss.column_indices", sum.indices},
                                                    {"loss.positive_sums", sum.positive_sums}};
  for (const auto& [name, count] : statistics) {
    if (count > 0) calls.all_reduce(StepPart::kColumnStatistics, name, count * batch, kNumber);
  }
  calls.gather_numbers(StepPart::kAgreement, "loss.values", kNumber * (static_cast<int64_t>(terms.size()) + 1));
  const StepPart part = StepPart::kFeatureGradients;
  if (!(alignment != nullptr && few)) {
    calls.reduce_scatter(part, "loss.text_gradient", row);
    if (alignment != nullptr) calls.last_is_bound();
  } else if (calls.ranks() > 1) {
    // Three captions a sample touch this rank's images on average; all may.
    const int64_t own = calls.own(), others = batch - own, peers = calls.ranks() - 1;
    const int64_t places = of_sample.text * kNumber;
    calls.gather_numbers(StepPart::kAgreement, "loss.text_counts", kNumber * calls.ranks());
    calls.all_to_all_at_most(part, "loss.text_places", batch * places, others * places);
    if (travel) calls.all_to_all_at_most(part, "loss.text_again", (1 + peers) * own * row, peers * own * row);
    calls.all_to_all_at_most(part, "loss.text_gradient", batch * row, others * row);
  }
  if (sum.norm_gradient) calls.reduce_scatter(part, "loss.norm_gradient", kNumber);
}

// Of the bank's losses, and of its gradient's norm.
void add_references(CallList& calls, const StepJob& job) {
  const ReferencesConfig& config = job.settings.references;
  const int64_t width = job.settings.model.joint_width(), row = width * static_cast<int64_t>(sizeof(float));
  const int64_t references = job.identities * config.per_identity(), batch = calls.batch();
  const bool sharded = shards_references(config, references, batch, job.world);
  const StepPart part = StepPart::kReferences;
  add_labels(calls, 1);
  calls.all_reduce(part, "references.feature_means", 2 * width, kNumber);
  calls.gather_rows(part, "references.ids", kNumber);
  calls.gather_numbers(StepPart::kAgreement, "loss.values", kNumber * 2);
  if (sharded) {
    calls.gather_rows(part, "references.features", 2 * row);
    calls.all_reduce(part, "references.maxima", 2 * 2 * batch, kNumber);
    calls.all_reduce(part, "references.sums", 2 * 2 * batch, kNumber);
    if (config.guidance_weight() > 0) calls.reduce_scatter(part, "references.feature_gradient", 2 * row);
    if (config.fusion_weight() > 0 || heads_need_references(job.settings.heads))
      calls.all_reduce(part, "references.norm", 1, kNumber);
  } else if (config.fusion_weight() > 0) {
    const bool all = config.negatives() == ReferencesConfig::BANK;
    const int64_t most = all ? references : std::min(references, batch * config.per_identity());
    calls.all_reduce(part, "references.gradient", most * width, sizeof(float));
    if (!all) calls.last_is_bound();
  }
}

void add_heads(CallList& calls, const StepJob& job) {
  const StepPart part = StepPart::kHeads;
  const int64_t heads = count_heads(job.settings.heads);
  calls.all_reduce(part, "heads.counts", heads, kNumber);
  calls.all_reduce(part, "heads.sums", heads, kNumber);
  if (!heads_need_references(job.settings.heads)) return;
  const ReferencesConfig& config = job.settings.references;
  const int64_t row = job.settings.model.joint_width() * static_cast<int64_t>(sizeof(float)), batch = calls.batch();
  if (!shards_references(config, job.identities * config.per_identity(), batch, job.world)) {
    calls.all_gather(part, "references.row_gradients", row);
    return;
  }
  // All references of the batch may lie on this rank, or none of its own samples'.
  const int64_t own = calls.own(), others = batch - own;
  calls.all_to_all_at_most(part, "references.rows", batch * row, others * row);
  calls.all_to_all_at_most(part, "references.row_gradients", own * row, job.world > 1 ? own * row : 0);
}

// The terms on one pair of features.
struct PairCalls {
  std::string name;
  int64_t width = 0;
  std::vector<PairNeeds> needs;  // of those over pairs of an image and a text
  int64_t summed_numbers = 0;    // by those of whole matrices
};

std::vector<PairCalls> calls_by_pair(const RunSettings& settings) {
  std::vector<PairCalls> pairs;
  for (const Term& term : settings.objective.term()) {
    const auto same = [&](const PairCalls& pair) { return pair.name == term.pair(); };
    auto found = std::find_if(pairs.begin(), pairs.end(), same);
    if (found == pairs.end()) found = pairs.insert(found, {term.pair(), pair_width(settings.model, term.pair()), {}});
    Checks checks;
    const LossTerm loss = describe(term, "", checks);
    if (loss.whole) {
      found->summed_numbers += loss.whole->cost(0, found->width).summed_numbers;
    } else {
      found->needs.push_back(loss.make_float(LogitParameters(), 0)->needs());
    }
  }
  return pairs;
}

}  // namespace

const char* describe(StepPart part) {
  switch (part) {
    case StepPart::kGradients:
      return "gradients";
    case StepPart::kFeatures:
      return "features";
    case StepPart::kFeatureGradients:
      return "feature gradients";
    case StepPart::kColumnStatistics:
      return "column statistics";
    case StepPart::kLossSums:
      return "matrices of losses";
    case StepPart::kBatchStatistics:
      return "batch statistics";
    case StepPart::kReferences:
      return "references";
    case StepPart::kHeads:
      return "heads";
    case StepPart::kAgreement:
      return "agreement";
  }
  return "?";
}

std::vector<StepCall> step_calls(const StepJob& job, int rank) {
  CallList calls(job, rank);
  const std::vector<PairCalls> pairs = calls_by_pair(job.settings);
  add_gradients(calls, job);
  add_labels(calls, static_cast<int64_t>(pairs.size()));
  if (divides_pairs(job.settings.train)) calls.gather_rows(StepPart::kAgreement, "loss.weight", kNumber);
  if (selects_tokens(job.settings.model)) add_batch_statistics(calls, job.settings.model);
  for (const PairCalls& pair : pairs) {
    const bool of_sets = pair.name == kSetPair && has_sets(job.settings.model);
    const AlignmentConfig* alignment = of_sets ? &job.settings.objective.alignment() : nullptr;
    if (!pair.needs.empty()) add_loss(calls, pair.needs, pair.width, sample_rows(job, pair.name), alignment);
    if (pair.summed_numbers > 0) calls.all_reduce(StepPart::kLossSums, "loss.whole", pair.summed_numbers, kNumber);
  }
  if (job.identities > 0) add_references(calls, job);
  if (!job.head_parameters.empty()) add_heads(calls, job);
  calls.all_reduce(StepPart::kAgreement, "agree on stop", 1, sizeof(int));
  return calls.take();
}

}  // namespace muster
