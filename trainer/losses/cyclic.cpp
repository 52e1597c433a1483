// Cyclic consistency (Goel et al., CyCLIP, NeurIPS 2022; C-ITC of TBPS-CLIP, Cao et al., AAAI 2024,
// github.com/Flame-Chasers/TBPS-CLIP, model/tbps_model.py, whose two scales cancel).
//
// For unit rows x of images and t of texts, a anchors' weights, W their sum, B rows of the global batch:
//   L = 1/(W B) sum_ij a_i (p (x_i x_j - t_i t_j)^2 + q (x_i t_j - t_i x_j)^2)
// which needs no similarity, only the d x d matrices of the global batch
//   A = X'X, C = X'T, D = T'T   and the same with weights, Aw = X' diag(a) X, ...
//   L = 1/(W B) (p (<Aw, A> - 2 <Cw, C> + <Dw, D>) + q (<Aw, D> + <Dw, A> - 2 <Cw, C'>))
// and, with E = p A + q D, F = p D + q A, G = p C + q C' and Ew, Fw, Gw alike,
//   dL/dX = 2/(W B) (a X E + X Ew - a T G' - T Gw'),   dL/dT = 2/(W B) (a T F + T Fw - a X G - X Gw)
// A is the sum of the ranks' own, so ranks exchange 3 d^2 numbers (6 d^2 with weights), and a rank's gradient needs no
// rows of others. All in float64: L is a small difference of large sums.
#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "trainer/losses/feature_loss.h"
#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/unit_rows.h"

namespace muster {
namespace {

constexpr int64_t kRowsAtOnce = 256;  // whose copies in float64 are all that grows with the batch

// Rows [first, first + count) in float64, at length one.
struct Unit {
  at::Tensor rows;     // [n, d], zeros for those that count as zero
  at::Tensor inverse;  // [n, 1] of their lengths, 0 for those
};

// By way of the largest number of a row, as squares of very long rows are infinite.
Unit unit_of(const at::Tensor& raw, int64_t first, int64_t count) {
  const at::Tensor rows = raw.narrow(0, first, count).to(at::kDouble);
  const at::Tensor most = at::linalg_vector_norm(rows, HUGE_VAL, at::IntArrayRef{1}, /*keepdim=*/true);
  const at::Tensor scaled = rows / most.masked_fill(most == 0.0, 1.0);
  const at::Tensor norm = at::linalg_vector_norm(scaled, 2, at::IntArrayRef{1}, /*keepdim=*/true);
  const at::Tensor is_zero = norm * most <= kNormEpsilon;
  return {(scaled / norm).masked_fill(is_zero, 0.0), (norm * most).reciprocal().masked_fill(is_zero, 0.0)};
}

template <typename Visit>
void for_rows(int64_t rows, const Visit& visit) {
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) visit(first, std::min(kRowsAtOnce, rows - first));
}

// A, C and D of the global batch.
struct Grams {
  at::Tensor all;  // [3, d, d]
  at::Tensor images() const { return all[0]; }
  at::Tensor cross() const { return all[1]; }
  at::Tensor texts() const { return all[2]; }
};

double dot(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).sum().item<double>();
}

class CyclicLoss : public FeatureLoss {
 public:
  explicit CyclicLoss(const Cyclic& config) : in_modal_(config.in_modal()), cross_modal_(config.cross_modal()) {}

  FeatureLossCost cost(int64_t rows, int64_t width) const override {
    const int64_t square = width * width;
    const double products = 2.0 * static_cast<double>(rows) * static_cast<double>(square);
    // Grams, E, F, G and a temporary; rows of both kinds, their gradients and theirs by the lengths.
    const int64_t bytes = 8 * (7 * square + 8 * std::min(rows, kRowsAtOnce) * width);
    return {3 * square, 7 * products, bytes};
  }

  double evaluate(const FeaturePair& local, const PairBatch& batch, double weight, const FeaturePair& gradient,
                  Communicator& communicator) const override {
    const bool weighted = std::any_of(batch.weight.begin(), batch.weight.end(), [](double w) { return w != 1; });
    const int64_t width = local.image.size(1);
    const at::Tensor sums = at::zeros({weighted ? 2 : 1, 3, width, width}, local.image.options().dtype(at::kDouble));
    for_rows(batch.rows, [&](int64_t first, int64_t count) {
      const Unit image = unit_of(local.image, first, count), text = unit_of(local.text, first, count);
      add_grams(sums[0], image.rows, text.rows, {});
      if (weighted) add_grams(sums[1], image.rows, text.rows, anchors(batch, first, count, sums.device()));
    });
    communicator.all_reduce(sums, ReduceOp::kSum, "loss.whole").wait();
    const Grams grams{sums[0]}, of_anchors{sums[weighted ? 1 : 0]};
    const double pairs = batch.weight_sum * static_cast<double>(batch.columns);
    add_gradients(local, batch, weighted, grams, of_anchors, 2 * weight / pairs, gradient);
    return (in_modal_ * (dot(of_anchors.images(), grams.images()) - 2 * dot(of_anchors.cross(), grams.cross()) +
                         dot(of_anchors.texts(), grams.texts())) +
            cross_modal_ * (dot(of_anchors.images(), grams.texts()) + dot(of_anchors.texts(), grams.images()) -
                            2 * dot(of_anchors.cross(), grams.cross().t()))) /
           pairs;
  }

 private:
  static at::Tensor anchors(const PairBatch& batch, int64_t first, int64_t count, at::Device device) {
    const auto begin = batch.weight.begin() + batch.offset + first;
    return at::tensor(std::vector<double>(begin, begin + count), at::kDouble).unsqueeze(1).to(device);
  }

  static void add_grams(const at::Tensor& sums, const at::Tensor& image, const at::Tensor& text,
                        const at::Tensor& weights) {
    const at::Tensor left = weights.defined() ? image * weights : image;
    const auto add = [&](int64_t which, const at::Tensor& a, const at::Tensor& b) {
      at::Tensor sum = sums[which];
      at::addmm_out(sum, sum, a.t(), b);
    };
    add(0, left, image);
    add(1, left, text);
    add(2, weights.defined() ? text * weights : text, text);
  }

  struct Factors {
    at::Tensor images, texts, cross;  // E, F, G
  };
  Factors factors(const Grams& grams) const {
    return {grams.images() * in_modal_ + grams.texts() * cross_modal_,
            grams.texts() * in_modal_ + grams.images() * cross_modal_,
            grams.cross() * in_modal_ + grams.cross().t() * cross_modal_};
  }

  // `factor` times the gradient's brackets.
  void add_gradients(const FeaturePair& local, const PairBatch& batch, bool weighted, const Grams& grams,
                     const Grams& of_anchors, double factor, const FeaturePair& gradient) const {
    const Factors plain = factors(grams), own = weighted ? factors(of_anchors) : Factors();
    for_rows(batch.rows, [&](int64_t first, int64_t count) {
      const Unit image = unit_of(local.image, first, count), text = unit_of(local.text, first, count);
      const at::Tensor weights = weighted ? anchors(batch, first, count, plain.images.device()) : at::Tensor();
      const auto bracket = [&](const at::Tensor& same, const at::Tensor& other, at::Tensor Factors::*of_same,
                               bool transpose) {
        const auto product = [&](const Factors& by) {
          return at::mm(same, by.*of_same) - at::mm(other, transpose ? by.cross.t() : by.cross);
        };
        return weighted ? weights * product(plain) + product(own) : product(plain) * 2;
      };
      const auto add = [&](const at::Tensor& to, const Unit& unit, const at::Tensor& of_unit) {
        const at::Tensor along = (of_unit * unit.rows).sum(1, /*keepdim=*/true);
        to.narrow(0, first, count).add_(((of_unit - unit.rows * along) * unit.inverse * factor).to(to.scalar_type()));
      };
      add(gradient.image, image, bracket(image.rows, text.rows, &Factors::images, true));
      add(gradient.text, text, bracket(text.rows, image.rows, &Factors::texts, false));
    });
  }

  double in_modal_;
  double cross_modal_;
};

}  // namespace

LossTerm describe(const Cyclic& config, const std::string& path, Checks& checks) {
  checks.at_least(0.0, path + ".in_modal", config.in_modal());
  checks.at_least(0.0, path + ".cross_modal", config.cross_modal());
  if (config.in_modal() == 0 && config.cross_modal() == 0) {
    checks.add(path + ".in_modal and cross_modal are both 0: give one of them a weight");
  }
  LossTerm term;
  term.whole = std::make_shared<CyclicLoss>(config);
  return term;
}

}  // namespace muster
