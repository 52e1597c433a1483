// webdataset's tar files (github.com/webdataset/webdataset, as img2dataset writes them and open_clip reads them):
// members a/b.jpg, a/b.txt, a/b.json next to each other are one sample, with the key a/b.
#pragma once

#include <string>
#include <vector>

#include "dataloader/importers/importer.h"

namespace muster {

// x-{0000..0099}.tar and x-{a,b}.tar are expanded as a shell does; other braces stand for themselves. In order.
// ConfigError: more than a million names.
std::vector<std::string> expand_braces(const std::string& pattern);

// Each pattern is a tar file or braces that expand to several. Images stay where they are in the tars; a bad sample
// becomes a refused row. DataError: a tar file is missing or damaged, or two have one name.
ImportList read_webdataset(const std::vector<std::string>& patterns, Split split = Split::kTrain);

}  // namespace muster
