// What the rows of a split's embeddings are called.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/store.h"
#include "trainer/evaluation.h"
#include "trainer/ranks_file.h"

namespace muster {

// The images' side by their paths, the texts' by the captions; labels as the embeddings have them. Both arguments must
// outlive what is returned.
NamedSide named_images(const Store& store, const SplitEmbeddings& embeddings);
NamedSide named_texts(const Store& store, const SplitEmbeddings& embeddings);

// rows.jsonl of muster embed, one line a row, images before texts:
//   {"side":"image","row":0,"path":"0007.jpg","identity":"p3","identity_number":2}
//   {"side":"text","row":0,"path":"0007.jpg","identity":"p3","identity_number":2,"caption":"a man ..."}
// Whole or absent. DataError: it cannot be written.
void write_rows(const std::string& path, const Store& store, const SplitEmbeddings& embeddings);

// embeddings.safetensors -> embeddings.rows.jsonl: where muster embed puts them.
std::string rows_path(const std::string& embeddings);

// Whether such a file is of these images of the store. DataError: it cannot be read; a line of another image, naming
// it.
void check_image_rows(const std::string& path, const Store& store, const std::vector<int64_t>& images);

}  // namespace muster
