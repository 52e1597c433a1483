// Sets whose identities are classes, as Reed et al. (2016) cut them: CUB-200-2011 and Oxford Flowers 102, with ten
// captions an image.
//
//   trainclasses.txt, valclasses.txt, testclasses.txt   a class a line; only trainvalclasses.txt: all of it is train
//
//   text_c10/CLASS/IMAGE.txt                            a caption a line
//
//   images/CLASS/IMAGE.jpg                              the original pictures, or all of them in one folder
//
// Files: github.com/reedscot/cvpr2016; counts: the class lists there, and Zhang et al. (StackGAN, 2017), section 4.1.
#pragma once

#include <string>
#include <vector>

#include "dataloader/importers/importer.h"

namespace muster {

struct ClassSet {
  const char* command;               // as the command line names it
  std::vector<std::string> folders;  // names of its folder
  PublishedCounts published;
  ImportCounts training;  // train and val together
};

const std::vector<ClassSet>& class_sets();

// The set whose files lie in this folder, or in one in it that is called after the set, told by the names of its
// classes; nullptr: there is none.
const ClassSet* find_class_set(const std::string& folder);

// `path` is the folder that holds the lists, or the folder above that. Pictures are found below `root`, or, if it is
// empty, in the folders where people have them: images or jpg beside the lists, or in CUB_200_2011. Rows are in the
// order of the lists, train, val, test; then of the files' names. A class without a folder and a file without captions
// are refused rows; a picture without a file of captions has none. DataError: no lists, a class in two of them, no
// pictures.
ImportList read_class_set(const ClassSet& set, const std::string& path, const std::string& root = "");

}  // namespace muster
