// Refinement of similarities by references (MMRef, mmref.md section 2): rows of one identity that lie apart because of
// what no reference varies in come closer, test identities included.
//
// For phi IDENTITY and CENTRE no vector as wide as the references are many is made: with the Gram matrix C = R^T R,
// <R x, R y> = x^T C y, where x is the unit row, minus the side's training mean for CENTRE. SOFTMAX needs those
// vectors: memory of references x rows, and with z-scores of references x references. The standard deviations of
// z-scores come from the gallery's covariance: that of x . g over the gallery is sqrt(x^T Cov x).
//
// A class mean c (identity_means.h) stands as it is, not of length 1: its score with an image's unit row g is
// c . g + beta cos(phi(R c), phi(R g)), with z-scores as above. R c is the mean of what the references see of its
// captions, and CENTRE subtracts the training mean from it whole; of c at length 1 a share of that mean would be left
// in every class.
//
// All of it has the same bits at every world size.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "launch/checks.h"
#include "trainer/references/refinement.pb.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {

// What a run's references are to the refinement.
struct ReferenceBasis {
  at::Tensor rows;        // [m,d] float32, unit
  at::Tensor mean_image;  // [d] float32: means of the training rows, each of length 1
  at::Tensor mean_text;
};

// From references.safetensors. DataError: no such file, tensors missing, of other shapes or not finite.
ReferenceBasis read_reference_basis(const std::string& path);

// What is impossible in a config, each naming its field.
void check_refinement(const RefinementConfig& config, Checks& checks);

// What is chosen on val.
struct RefinementChoice {
  RefinementConfig::Phi phi = RefinementConfig::CENTRE;
  double beta = 1;
  int64_t top_k = 0;
};

// "phi CENTRE, beta 0.5, z-scores", "phi IDENTITY, beta 2, the 100 best of each query, no z-scores"
std::string describe_refinement(const RefinementConfig& config, const RefinementChoice& choice);

class ReferenceMap;

class Refinement {
 public:
  // ConfigError: the rows' width is not the references'. Collective.
  Refinement(const ReferenceBasis& basis, const RefinementConfig& config, RefinementConfig::Phi phi,
             const EmbeddingRows& texts, const EmbeddingRows& images, Communicator& communicator);

  // top_k: 0, or as many of each query's items as are refined. Collective.
  BothDirections evaluate(double beta, int64_t top_k, Communicator& communicator) const;

 private:
  // One side's rows, and the ratio of the two standard deviations of its queries' scores.
  struct Side {
    MixedRows rows;
    std::vector<double> ratio;
  };
  static Side make_side(const ReferenceMap& map, const EmbeddingRows& rows, bool is_text);
  void measure(Side& queries, const Side& gallery, Communicator& communicator) const;
  static MixedRows weighted(const Side& side, double beta);

  RefinementConfig config_;
  Side texts_, images_;
};

// The control: what centring alone, without references, does: cosines of the rows of length 1 minus their side's mean;
// class means, less the mean, stay as long as they are. Collective.
BothDirections evaluate_centred(const ReferenceBasis& basis, const EmbeddingRows& texts, const EmbeddingRows& images,
                                Communicator& communicator);

// Tries the config's phi, top_k and beta on rows of a val split: the highest R@1 of text to image, then mAP.
// Collective.
RefinementChoice choose_refinement(const ReferenceBasis& basis, const RefinementConfig& config,
                                   const EmbeddingRows& texts, const EmbeddingRows& images, Communicator& communicator);

// The one choice that a config leaves; false if there are several, so that val has to choose.
bool only_choice(const RefinementConfig& config, RefinementChoice& choice);

}  // namespace muster
