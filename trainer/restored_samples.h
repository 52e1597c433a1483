// Images of a split as heads.image_restoration sees and restores them, for the report.
#pragma once

#include <vector>

#include "dataloader/store.h"
#include "trainer/evaluation.h"
#include "trainer/heads/image_restoration.h"
#include "trainer/report/html_report.h"
#include "trainer/run_settings.h"

namespace muster {

// Of some captions, taken evenly over the split, whose positions in it choose what is hidden. The model is put into
// evaluation mode and back.
std::vector<ReportRestoration> restore_samples(const ImageRestoration& head, Model& model, const Store& store,
                                               const SplitEmbeddings& split, const RunSettings& settings);

}  // namespace muster
