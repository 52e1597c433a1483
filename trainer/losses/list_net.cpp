// Distillation of one pair's scores into another's: ListNet's listwise cross-entropy (Cao et al., ICML 2007) as ALADIN
// has it (Messina et al., CBMI 2022; github.com/mesnico/ALADIN, alad/loss.py).
//
// For a row i, with t the teacher's scores as constants, c = 1 / temperature, a = 1 / teacher_temperature:
//                  q_ij = softmax_j(a t_ij),   p_ij = softmax_j(c s_ij),   l_i = sum_j q_ij log(q_ij / p_ij)
// and for a column alike. The loss is the sum over directions of the mean over anchors, of weights w:
//                  L = sum_i w_i l_i / sum w + sum_j w_j l_j / sum w
// ALADIN's is the cross-entropy, which is larger by the entropy of q, a constant, and adds 1e-10 to p. With the two
// directions' p and q:
//                  dL/ds_ij = c (w_i (p_ij - q_ij) + w_j (p'_ij - q'_ij)) / sum w
// Statistics of t are there before the pass over s. With u = a (t - max), v = c s, Z = sum exp(u), H = sum exp(u) (u -
// v):
//                  l = H / Z - log Z + LSE(v)
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "trainer/losses/loss_term.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/losses/softmax_statistics.h"
#include "trainer/losses/vector_math.h"

namespace muster {
namespace {

// Of one anchor or, as arrays, of a block's columns.
template <typename T>
struct Maxima {
  T student;
  T teacher;
};
template <typename T>
struct ColumnMaxima {
  const T* student;
  const T* teacher;
};

template <typename T>
struct Scales {
  T student;
  T teacher;
};

template <typename T>
struct FoldedRow {
  T sum;     // of the student's
  T moment;  // H
};

// Of the teacher: returns the row's sum and adds to the columns'.
template <typename T>
MUSTER_INLINE T fold_sums_of(const T* __restrict t, int64_t n, T scale, T row_max, const ColumnPartials<T>& partials) {
  const T* __restrict column_max = partials.max;
  T* __restrict column_sum = partials.sum;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    sum += fast_exp(scale * (t[j] - row_max));
    column_sum[j] += fast_exp(scale * (t[j] - column_max[j]));
  }
  return sum;
}
MUSTER_VECTOR_CLONES float fold_sums(const float* t, int64_t n, float scale, float row_max,
                                     const ColumnPartials<float>& partials) {
  return fold_sums_of(t, n, scale, row_max, partials);
}
MUSTER_VECTOR_CLONES double fold_sums(const double* t, int64_t n, double scale, double row_max,
                                      const ColumnPartials<double>& partials) {
  return fold_sums_of(t, n, scale, row_max, partials);
}

template <typename T>
MUSTER_INLINE FoldedRow<T> fold_row_of(const T* __restrict s, const T* __restrict t, int64_t n, const Scales<T>& scales,
                                       const Maxima<T>& row, const ColumnMaxima<T>& columns, T* __restrict column_sum,
                                       T* __restrict column_moment) {
  const Scales<T> c = scales;
  const Maxima<T> max = row;
  const T* __restrict student_max = columns.student;
  const T* __restrict teacher_max = columns.teacher;
  T sum = 0;
  T moment = 0;
#pragma omp simd reduction(+ : sum, moment)
  for (int64_t j = 0; j < n; ++j) {
    const T v = c.student * s[j];
    const T u = c.teacher * (t[j] - max.teacher);
    const T column_u = c.teacher * (t[j] - teacher_max[j]);
    sum += fast_exp(c.student * (s[j] - max.student));
    column_sum[j] += fast_exp(c.student * (s[j] - student_max[j]));
    moment += fast_exp(u) * (u - v);
    column_moment[j] += fast_exp(column_u) * (column_u - v);
  }
  return {sum, moment};
}
MUSTER_VECTOR_CLONES FoldedRow<float> fold_row(const float* s, const float* t, int64_t n, const Scales<float>& scales,
                                               const Maxima<float>& row, const ColumnMaxima<float>& columns,
                                               float* column_sum, float* column_moment) {
  return fold_row_of(s, t, n, scales, row, columns, column_sum, column_moment);
}
MUSTER_VECTOR_CLONES FoldedRow<double> fold_row(const double* s, const double* t, int64_t n,
                                                const Scales<double>& scales, const Maxima<double>& row,
                                                const ColumnMaxima<double>& columns, double* column_sum,
                                                double* column_moment) {
  return fold_row_of(s, t, n, scales, row, columns, column_sum, column_moment);
}

// What exp(c (s - max)) and exp(a (t - max)) are multiplied by in dL/ds.
template <typename T>
struct Factors {
  T student;
  T teacher;
};
template <typename T>
struct ColumnFactors {
  const T* student;
  const T* teacher;
};

template <typename T>
MUSTER_INLINE void weigh_row_of(const T* __restrict s, const T* __restrict t, int64_t n, const Scales<T>& scales,
                                const Maxima<T>& row, const Factors<T>& row_factors, const ColumnMaxima<T>& columns,
                                const ColumnFactors<T>& column_factors, T* __restrict weights) {
  const Scales<T> c = scales;
  const Maxima<T> max = row;
  const Factors<T> factor = row_factors;
  const T* __restrict student_max = columns.student;
  const T* __restrict teacher_max = columns.teacher;
  const T* __restrict student_factor = column_factors.student;
  const T* __restrict teacher_factor = column_factors.teacher;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T of_row = factor.student * fast_exp(c.student * (s[j] - max.student)) -
                     factor.teacher * fast_exp(c.teacher * (t[j] - max.teacher));
    const T of_column = student_factor[j] * fast_exp(c.student * (s[j] - student_max[j])) -
                        teacher_factor[j] * fast_exp(c.teacher * (t[j] - teacher_max[j]));
    weights[j] += of_row + of_column;
  }
}
MUSTER_VECTOR_CLONES void weigh_row(const float* s, const float* t, int64_t n, const Scales<float>& scales,
                                    const Maxima<float>& row, const Factors<float>& row_factors,
                                    const ColumnMaxima<float>& columns, const ColumnFactors<float>& column_factors,
                                    float* weights) {
  weigh_row_of(s, t, n, scales, row, row_factors, columns, column_factors, weights);
}
MUSTER_VECTOR_CLONES void weigh_row(const double* s, const double* t, int64_t n, const Scales<double>& scales,
                                    const Maxima<double>& row, const Factors<double>& row_factors,
                                    const ColumnMaxima<double>& columns, const ColumnFactors<double>& column_factors,
                                    double* weights) {
  weigh_row_of(s, t, n, scales, row, row_factors, columns, column_factors, weights);
}

template <typename T>
class ListNetLoss : public PairLoss<T> {
 public:
  ListNetLoss(const ListNet& config, const LogitParameters&)
      : scales_{static_cast<T>(1 / config.temperature()), static_cast<T>(1 / config.teacher_temperature())} {}

  PairNeeds needs() const override {
    PairNeeds needs;
    needs.maxima = 2;
    needs.sums = 3;
    needs.teacher = true;
    return needs;
  }

  void take_teacher(const T* scores) override { scores_ = scores; }

  void begin(const PairBatch& batch, const ColumnStatistics& columns, const TileShape& shape) override {
    batch_ = &batch;
    student_ =
        std::make_unique<SoftmaxStatistics<T>>(batch, SoftmaxColumns{columns.maxima.at(0), columns.sums.at(0), nullptr},
                                               shape, same_scale(batch, static_cast<double>(scales_.student)));
    teacher_ = std::make_unique<SoftmaxStatistics<T>>(
        batch, SoftmaxColumns{columns.maxima.at(1), columns.sums.at(1), columns.sums.at(2)},
        TileShape{shape.block_rows, batch.columns, shape.block_rows},
        same_scale(batch, static_cast<double>(scales_.teacher)));
    column_moment_ = columns.sums.at(2);
    tile_columns_ = std::min(shape.columns, batch.columns);
    moments_.resize(static_cast<size_t>(shape.blocks() * tile_columns_));
    fold_teacher(shape.block_rows);
  }

  void fold(const Block<T>& block) override {
    const ColumnPartials<T> partials = student_->begin_block(block);
    const ColumnMaxima<T> maxima{partials.max, local_max_.data() + block.first_column};
    T* moments = moments_.data() + block.index * tile_columns_;
    std::fill_n(moments, block.columns, T{0});
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      const FoldedRow<T> folded =
          fold_row(block.row(r), taught(row, block.first_column), block.columns, scales_,
                   {student_->row_max(row), teacher_->row_max(row)}, maxima, partials.sum, moments);
      student_->add_row(row, folded.sum, T{0});
      teacher_->add_row(row, T{0}, folded.moment);
    }
  }

  void merge(int64_t tile_column, int64_t first, int64_t count, int64_t blocks) override {
    student_->merge(tile_column, first, count, blocks);
    for (int64_t block = 0; block < blocks; ++block) {
      const T* moments = moments_.data() + block * tile_columns_;
      for (int64_t j = first; j < first + count; ++j) {
        column_moment_[tile_column + j] += static_cast<double>(moments[j]);
      }
    }
  }

  void rebase(const std::vector<const double*>& local) override {
    student_->rebase_columns(local.at(0));
    teacher_->rebase_columns(local.at(1));
  }

  double finish(double weight) override {
    const double factor = weight * static_cast<double>(scales_.student) / batch_->weight_sum;
    double value = 0;
    for (int64_t row = 0; row < batch_->rows; ++row) {
      const int64_t column = batch_->offset + row;
      const double weight_of_sample = batch_->weight[static_cast<size_t>(column)];
      const double of_row = divergence(teacher_->row_moment(row), teacher_->row_sum(row),
                                       static_cast<double>(student_->row_max(row)), student_->row_sum(row));
      const double of_column = divergence(teacher_->column_moment(column), teacher_->column_sum(column),
                                          student_->column_max(column), student_->column_sum(column));
      value += weight_of_sample * (of_row + of_column);
      const double anchor = factor * weight_of_sample;
      row_factors_.push_back(
          {static_cast<T>(anchor / student_->row_sum(row)), static_cast<T>(anchor / teacher_->row_sum(row))});
    }
    for (int64_t column = 0; column < batch_->columns; ++column) {
      const double anchor = factor * batch_->weight[static_cast<size_t>(column)];
      student_max_.push_back(static_cast<T>(student_->column_max(column)));
      teacher_max_.push_back(static_cast<T>(teacher_->column_max(column)));
      student_factor_.push_back(static_cast<T>(anchor / student_->column_sum(column)));
      teacher_factor_.push_back(static_cast<T>(anchor / teacher_->column_sum(column)));
    }
    return value / batch_->weight_sum;
  }

  void weigh(const Block<T>& block, T* weights) override {
    const int64_t first = block.first_column;
    const ColumnMaxima<T> maxima{student_max_.data() + first, teacher_max_.data() + first};
    const ColumnFactors<T> factors{student_factor_.data() + first, teacher_factor_.data() + first};
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t row = block.first_row + r;
      weigh_row(block.row(r), taught(row, first), block.columns, scales_,
                {student_->row_max(row), teacher_->row_max(row)}, row_factors_[static_cast<size_t>(row)], maxima,
                factors, weights + r * block.columns);
    }
  }

  std::vector<FoldPart<T>> fold_program() override { throw std::logic_error("ListNetLoss: on the CPU alone"); }
  std::vector<WeighPart<T>> weigh_program() override { throw std::logic_error("ListNetLoss: on the CPU alone"); }

 private:
  const T* taught(int64_t row, int64_t column) const { return scores_ + row * batch_->columns + column; }

  // What is known of the teacher before the pass over the taught scores: maxima and sums, of this rank's rows.
  void fold_teacher(int64_t block_rows) {
    for (int64_t first = 0; first < batch_->rows; first += block_rows) {
      const int64_t rows = std::min(block_rows, batch_->rows - first);
      const ColumnPartials<T> partials = teacher_->begin_block({taught(first, 0), rows, batch_->columns, first, 0, 0});
      for (int64_t row = first; row < first + rows; ++row) {
        teacher_->add_row(
            row, fold_sums(taught(row, 0), batch_->columns, scales_.teacher, teacher_->row_max(row), partials), T{0});
      }
      teacher_->merge(0, 0, batch_->columns, 1);
    }
    std::fill_n(column_moment_, batch_->columns, 0.0);  // they begin now; merge() has moved what was none
    for (int64_t column = 0; column < batch_->columns; ++column) {
      local_max_.push_back(static_cast<T>(teacher_->column_max(column)));
    }
  }

  // The KL divergence of one anchor: the teacher's moment and sum, the student's maximum and sum.
  double divergence(double moment, double teacher_sum, double max, double sum) const {
    return moment / teacher_sum - std::log(teacher_sum) + static_cast<double>(scales_.student) * max + std::log(sum);
  }

  Scales<T> scales_;
  const T* scores_ = nullptr;  // [rows, columns], the teacher's
  const PairBatch* batch_ = nullptr;
  std::unique_ptr<SoftmaxStatistics<T>> student_;
  std::unique_ptr<SoftmaxStatistics<T>> teacher_;  // whose moments are H
  std::vector<T> local_max_;                       // [columns] the teacher's of this rank's rows
  double* column_moment_ = nullptr;                // [columns] the teacher's
  int64_t tile_columns_ = 0;
  std::vector<T> moments_;  // [blocks, columns of a tile]
  std::vector<Factors<T>> row_factors_;
  std::vector<T> student_max_, teacher_max_, student_factor_, teacher_factor_;  // [columns]
};

}  // namespace

LossTerm describe(const ListNet& config, const std::string& path, Checks& checks) {
  checks.positive(path + ".temperature", config.temperature());
  checks.positive(path + ".teacher_temperature", config.teacher_temperature());
  if (config.teacher().empty()) {
    checks.add(path + ".teacher is empty: give the name of a pair of features, or leave it out for \"alignment\"");
  }
  LossTerm term = make_loss_term<ListNetLoss>(config);
  term.teacher = config.teacher();
  return term;
}

}  // namespace muster
