#include "trainer/references/refinement.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <utility>

#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "trainer/references/reference_map.h"
#include "trainer/retrieval/fixed_product.h"

namespace muster {
namespace {

std::vector<RefinementConfig::Phi> candidates_of_phi(const RefinementConfig& config) {
  if (config.phi_size() == 0) return {RefinementConfig::IDENTITY, RefinementConfig::CENTRE};
  std::vector<RefinementConfig::Phi> phis;
  for (int i = 0; i < config.phi_size(); ++i) phis.push_back(config.phi(i));
  return phis;
}

std::vector<double> candidates_of_beta(const RefinementConfig& config) {
  if (config.beta_size() == 0) return {0.1, 0.25, 0.5, 1, 2, 4};
  return {config.beta().begin(), config.beta().end()};
}

std::vector<int64_t> candidates_of_top_k(const RefinementConfig& config) {
  if (config.top_k_size() == 0) return {0};
  return {config.top_k().begin(), config.top_k().end()};
}

const at::Tensor& tensor_of(const NamedTensors& tensors, const std::string& name, int64_t dimensions,
                            const std::string& path) {
  const at::Tensor& tensor = find_tensor(tensors, name, path);
  if (tensor.scalar_type() != at::kFloat || tensor.dim() != dimensions || tensor.numel() == 0) {
    throw DataError(fmt::format("{}: '{}' must be float32 with {} dimensions and not empty", path, name, dimensions));
  }
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw DataError(fmt::format("{}: '{}' holds NaN or infinity; take an earlier checkpoint", path, name));
  }
  return tensor;
}

std::vector<int64_t> rows_of_ranks(const at::Tensor& local, Communicator& communicator) {
  const at::Tensor mine = at::empty({1}, at::kLong).fill_(local.size(0));
  const std::vector<int64_t> ones(static_cast<size_t>(communicator.size()), 1);
  const at::Tensor all = gather_rows(mine, ones, communicator, "refinement rows");
  return {all.const_data_ptr<int64_t>(), all.const_data_ptr<int64_t>() + all.size(0)};
}

}  // namespace

ReferenceBasis read_reference_basis(const std::string& path) {
  const NamedTensors tensors = read_safetensors(path);
  ReferenceBasis basis{tensor_of(tensors, "rows", 2, path), tensor_of(tensors, "mean.image", 1, path),
                       tensor_of(tensors, "mean.text", 1, path)};
  for (const at::Tensor* mean : {&basis.mean_image, &basis.mean_text}) {
    if (mean->size(0) != basis.rows.size(1)) {
      throw DataError(
          fmt::format("{}: a mean of width {} with references of width {}", path, mean->size(0), basis.rows.size(1)));
    }
  }
  basis.rows = unit_matrix(basis.rows);
  return basis;
}

void check_refinement(const RefinementConfig& config, Checks& checks) {
  for (const double beta : config.beta()) checks.at_least(0.0, "refinement.beta", beta);
  checks.positive("refinement.temperature", config.temperature());
  for (const int64_t top_k : config.top_k()) checks.at_least(int64_t{0}, "refinement.top_k", top_k, "0: all");
}

std::string describe_refinement(const RefinementConfig& config, const RefinementChoice& choice) {
  std::string text = fmt::format("phi {}, beta {}", RefinementConfig::Phi_Name(choice.phi), choice.beta);
  if (choice.top_k > 0) text += fmt::format(", the {} best of each query", choice.top_k);
  if (choice.phi == RefinementConfig::SOFTMAX) text += fmt::format(", temperature {}", config.temperature());
  return text + (config.z_scores() ? ", z-scores" : ", no z-scores");
}

Refinement::Refinement(const ReferenceBasis& basis, const RefinementConfig& config, RefinementConfig::Phi phi,
                       const EmbeddingRows& texts, const EmbeddingRows& images, Communicator& communicator)
    : config_(config) {
  const ReferenceMap map(basis, config, phi);
  texts_ = make_side(map, texts, true);
  images_ = make_side(map, images, false);
  measure(texts_, images_, communicator);
  measure(images_, texts_, communicator);
}

Refinement::Side Refinement::make_side(const ReferenceMap& map, const EmbeddingRows& rows, bool is_text) {
  return {{rows, map.second_rows(rows, is_text), {}},
          std::vector<double>(static_cast<size_t>(rows.features.size(0)), 1.0)};
}

void Refinement::measure(Side& queries, const Side& gallery, Communicator& communicator) const {
  if (!config_.z_scores()) return;
  const at::Tensor unit = unit_matrix(gallery.rows.rows);
  const std::vector<int64_t> rows = rows_of_ranks(unit, communicator);
  const std::vector<double> plain =
      score_deviations(unit_matrix(queries.rows.rows), covariance(unit, rows, communicator));
  const std::vector<double> refined =
      score_deviations(queries.rows.second, covariance(gallery.rows.second, rows, communicator));
  for (size_t q = 0; q < plain.size(); ++q) queries.ratio[q] = refined[q] > 0 ? plain[q] / refined[q] : 0;
}

// z(a) + beta z(b) ranks as a + beta * (deviation of a / deviation of b) * b: what is common to a query's scores does
// not matter.
MixedRows Refinement::weighted(const Side& side, double beta) {
  MixedRows rows = side.rows;
  rows.weight = at::empty({static_cast<int64_t>(side.ratio.size()), 2}, at::kFloat);
  auto* weight = rows.weight.mutable_data_ptr<float>();
  for (const double ratio : side.ratio) {
    *weight++ = 1;
    *weight++ = static_cast<float>(beta * ratio);
  }
  return rows;
}

BothDirections Refinement::evaluate(double beta, int64_t top_k, Communicator& communicator) const {
  return evaluate_mixed(weighted(texts_, beta), weighted(images_, beta), top_k, communicator);
}

BothDirections evaluate_centred(const ReferenceBasis& basis, const EmbeddingRows& texts, const EmbeddingRows& images,
                                Communicator& communicator) {
  check_reference_width(texts.features, basis);
  check_reference_width(images.features, basis);
  const auto centred = [&](const EmbeddingRows& rows, const at::Tensor& mean) -> EmbeddingRows {
    return {unit_matrix(rows).sub_(mean), rows.identity, rows.as_they_are};
  };
  return evaluate_retrieval(centred(texts, basis.mean_text), centred(images, basis.mean_image), communicator);
}

RefinementChoice choose_refinement(const ReferenceBasis& basis, const RefinementConfig& config,
                                   const EmbeddingRows& texts, const EmbeddingRows& images,
                                   Communicator& communicator) {
  RefinementChoice best;
  std::pair<double, double> highest{-1, -1};
  for (const RefinementConfig::Phi phi : candidates_of_phi(config)) {
    const Refinement refinement(basis, config, phi, texts, images, communicator);
    for (const int64_t top_k : candidates_of_top_k(config)) {
      for (const double beta : candidates_of_beta(config)) {
        const RetrievalMetrics figures = refinement.evaluate(beta, top_k, communicator).text_to_image;
        const std::pair<double, double> reached{figures.r1, figures.map};
        if (reached <= highest) continue;
        highest = reached;
        best = {phi, beta, top_k};
      }
    }
  }
  return best;
}

bool only_choice(const RefinementConfig& config, RefinementChoice& choice) {
  if (config.phi_size() != 1 || config.beta_size() != 1 || config.top_k_size() > 1) return false;
  choice = {config.phi(0), config.beta(0), candidates_of_top_k(config).front()};
  return true;
}

}  // namespace muster
