// From a model and a split of a store to embeddings and the retrieval table.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "dataloader/batch.h"
#include "dataloader/store.h"
#include "trainer/encoders/model.h"
#include "trainer/report/step_record.h"
#include "trainer/retrieval/retrieval.h"
#include "trainer/run_settings.h"

namespace muster {

// All images and captions of a split, and this rank's rows of their embeddings: images and captions are cut over the
// ranks by split_rows(), in order.
struct SplitEmbeddings {
  std::vector<int64_t> images;    // image numbers of the whole split
  std::vector<int64_t> captions;  // caption numbers of the whole split
  EmbeddingRows image_rows;       // this rank's
  EmbeddingRows text_rows;
};

// What the loader must give the model.
InputSize input_size(const ModelConfig& model);

// Collective in its effect only: no communication. The model is put into evaluation mode and back. DataError if the
// split has no images or no captions.
SplitEmbeddings embed_split(Model& model, const Store& store, Split split, const RunSettings& settings,
                            const Communicator& communicator);

// Collective. Both directions, positives by identity.
EvaluationRecord evaluate_embeddings(const SplitEmbeddings& embeddings, Split split, int64_t step,
                                     Communicator& communicator);

}  // namespace muster
