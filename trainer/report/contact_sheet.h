// What training sees of some images: one page, one file, nothing fetched.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace muster {

struct SheetVersion {
  std::vector<uint8_t> image;  // JPEG or PNG bytes
  std::string caption;
};

struct SheetRow {
  std::string name;                   // of the image, and whose it is
  std::vector<uint8_t> image;         // as evaluation sees it
  std::vector<std::string> captions;  // as they are in the store
  std::vector<SheetVersion> versions;
};

struct ContactSheet {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;
  std::string config;  // what was done, text format
  std::vector<SheetRow> rows;
};

// Whole or absent; texts are taken as hostile and escaped. DataError: the file cannot be written.
void write_contact_sheet(const std::string& path, const ContactSheet& sheet);

}  // namespace muster
