// An exact index for one query at a time: a gallery kept ready in memory, read once a query.
//
// Scores have the bits, and hits the order, that top_k() gives the same rows; so have those of refined rows and
// evaluate_mixed(). In float16 each entry of a row is rounded once, when it is added; scores are those of the rounded
// rows, summed in float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trainer/retrieval/best_hits.h"

namespace muster {

enum class Storage { kFloat32, kFloat16 };

// A matrix whose rows are scored together, kPanelRows at a time (score_kernel.h).
class PanelMatrix {
 public:
  // Room for `rows` rows. ConfigError: more than the machine has free, before memory is taken.
  PanelMatrix(int64_t rows, int64_t width, Storage storage);

  // Appends rows [n,width] float32, as they are. Beyond the room: std::logic_error.
  void add(const at::Tensor& rows);

  int64_t size() const { return size_; }
  int64_t width() const { return width_; }
  int64_t panels() const;
  // Of panels [first, first + count): scores[p * kPanelRows + r]; rows beyond size() score 0. `query` [width].
  void score(const float* query, int64_t first, int64_t count, float* scores) const;
  // A row as it is kept: [width].
  void copy(int64_t row, float* values) const;
  // The bytes that every query reads: [panels, width, kPanelRows], float32 or float16.
  const at::Tensor& stored() const { return stored_; }

 private:
  int64_t width_;
  int64_t size_ = 0;
  at::Tensor stored_;
};

// Safe from any number of threads once all rows are added. A search uses all threads of at::parallel_for.
class SearchIndex {
 public:
  // Room for `rows` rows of `width`. ConfigError as PanelMatrix.
  SearchIndex(int64_t rows, int64_t width, Storage storage) : rows_(rows, width, storage) {}

  // Appends rows [n,width] float32, raw: kept at length 1. NonFiniteError: NaN or infinity among them.
  void add(const at::Tensor& features);
  // Appends second rows [n,e] float32, as they are: one a row for mixed scores (MixedRows, retrieval.h).
  void add_second(const at::Tensor& second);

  int64_t size() const { return rows_.size(); }
  const PanelMatrix& rows() const { return rows_; }

  // The min(k, size()) best, best first. `query` [width] float32, raw. NonFiniteError as above; k is at least 1.
  std::vector<Hit> search(const at::Tensor& query, int64_t k) const;
  // By weights[0] * cosine + weights[1] * product of the second rows, of all rows or of the `among` best by cosine; the
  // others then follow below with their cosines.
  struct Mixed {
    at::Tensor second;  // [e]
    float weights[2];
    int64_t among = 0;  // 0: all
  };
  std::vector<Hit> search_mixed(const at::Tensor& query, const Mixed& mixed, int64_t k) const;

 private:
  std::vector<Hit> search_among(const at::Tensor& query, const Mixed& mixed, int64_t k) const;

  PanelMatrix rows_;
  std::vector<PanelMatrix> second_;  // none or one
};

}  // namespace muster
