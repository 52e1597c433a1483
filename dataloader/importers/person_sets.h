// CUHK-PEDES, ICFG-PEDES and RSTPReid as people have them: a JSON list beside or above a folder imgs.
//
// Files and counts: github.com/ShuangLI59/Person-Search-with-Natural-Language-Description (reid_raw.json),
// github.com/zifyloo/SSAN (ICFG-PEDES.json), github.com/NjtechCVLab/RSTPReid-Dataset (data_captions.json).
#pragma once

#include <string>
#include <vector>

#include "dataloader/importers/importer.h"

namespace muster {

struct PersonSet {
  const char* command;               // as the command line names it
  std::vector<std::string> lists;    // names of its list, the usual one first
  std::vector<std::string> folders;  // names of its folder
  const char* image_field;
  PublishedCounts published;
};

const std::vector<PersonSet>& person_sets();
// ConfigError: there is no such set.
const PersonSet& person_set(const std::string& command);

// `path` is the list, the folder that holds it, or the folder above that. Images are found below `root`, or, if it is
// empty, in the folder imgs beside the list or in SET/imgs beside it. DataError: no list, no imgs, or a list without
// splits (caption_all.json).
ImportList read_person_set(const PersonSet& set, const std::string& path, const std::string& root = "");

}  // namespace muster
