// JSON lines: one line is one image. The fields are described in dataloader/README.md.
#pragma once

#include <functional>
#include <string>

#include "dataloader/importers/importer.h"

namespace muster {

// Images are found below options.root; empty: the folder of the list. `fraction`, if given, is called with the share of
// the list read so far. DataError: the first bad line as "file:line: what; what to do", or an empty list.
ImportReport import_jsonl(const std::string& path, ImportOptions options, StoreWriter& store,
                          const std::function<void(double)>& fraction = {});

}  // namespace muster
