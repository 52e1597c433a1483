#pragma once

#include <cstdint>
#include <string>

#include "dataloader/store.h"

namespace muster {

// Writes a page of `rows` training images of the store, each as evaluation sees it and in `versions` versions that the
// config's training would make of it. ConfigError as load_run_config(), or a name that does not end in .html;
// DataError: no training image has a caption, the page cannot be written.
void write_augmented_sheet(const std::string& path, const Store& store, const std::string& config, int64_t rows,
                           int64_t versions);

}  // namespace muster
