// One text for each class: the protocol for CUB and Flowers of Reed et al. (2016).
//
// The query of a class is the mean of the embeddings of all its captions. AP@50, despite its name a precision, is the
// share of the class among its 50 best images, averaged over classes; image to text, R@1 is the share of images for
// which their class has the highest score. Both as in github.com/reedscot/cvpr2016 (retrieval_sje_tcnn.lua with
// util/util_retrieval.lua, classify_sje_tcnn.lua), where a class is torch.mean of its text embeddings and a score is
// torch.dot of that mean and an image's embedding.
//
// There, embeddings have no fixed length, being trained by dot products. Models here are trained by cosines, so
// captions and images are of length 1 before; from there on all is as in those scripts. The mean itself is not made of
// length 1 again: a score is then the mean of an image's cosines with the captions of a class. AP@50 does not depend on
// that, a length being a factor of all scores of one query. The class that an image goes to does: a class whose
// captions differ much has a shorter mean.
//
// A class without images is no query, and an image whose class has no captions is none; both stay in the other's
// gallery, and the number of either is in RetrievalMetrics::skipped. With fewer than 50 images in all, AP@50 is over
// those there are; a class of n < 50 images reaches n / 50 at most, as there. Among equal scores the lower image, and
// the lower identity, comes first.
#pragma once

#include "comm/communicator.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {

// Of the rows of all ranks, each made of length 1 (a row of zeros stays), the mean for each identity, as it is
// (EmbeddingRows::as_they_are). Identities ascend over the
// ranks, which have equal shares of them (split_rows()), none where there are more ranks than identities. The same bits
// however rows are cut over ranks. Memory: this rank's share x width in float64, and the identities of all rows.
// Collective; throws as retrieval.h says.
EmbeddingRows identity_means(const EmbeddingRows& rows, Communicator& communicator);

}  // namespace muster
