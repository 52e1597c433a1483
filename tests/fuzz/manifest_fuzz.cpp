// A store's manifest, with the hash in its last line made right.
#include <string>

#include "dataloader/formats/hashes.h"
#include "dataloader/store_manifest.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {R"(# A Muster store
format_version: 1
images: 3
captions: 4
identities: 2
shard {
  file: "shard-00000.h5"
  bytes: 9000
  image_blob_begin: 4096
  image_blob_end: 8192
  structure_xxh3: "583d8f57637d7677e9683b651a30c143"
  images: 3
  captions: 4
  identities: 2
}
)"};
}

std::vector<std::string> words() {
  return {"shard {",     "}", "images: ", "captions: ",        "identities: ",
          "file: \"../", "-", "bytes: ",  "format_version: 2", "\n"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  std::string body(reinterpret_cast<const char*>(data), size);
  body += "\n# xxh3-128 " + xxh3_128_hex((body + "\n").data(), body.size() + 1) + "\n";
  fuzz::allow_refusal([&] {
    const StoreManifest manifest = parse_store_manifest(body, "input");
    fuzz::require(manifest.images() >= 0 && manifest.captions() >= 0 && manifest.identities() >= 0,
                  "counts that are taken are not negative");
    for (const StoreShard& shard : manifest.shard()) {
      fuzz::require(shard.file().find('/') == std::string::npos, "a shard lies in the store's folder");
      fuzz::require(shard.image_blob_begin() <= shard.image_blob_end() && shard.image_blob_end() <= shard.bytes(),
                    "a shard's images lie in it");
    }
  });
  return 0;
}
