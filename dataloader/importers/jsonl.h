// JSON lines: one line is one image. The fields are described in dataloader/README.md.
#pragma once

#include <string>

#include "dataloader/importers/importer.h"

namespace muster {

// A bad line becomes a refused row. DataError: the list cannot be read, a line is too long.
ImportList read_jsonl(const std::string& path, const RowDefaults& defaults = {});

}  // namespace muster
