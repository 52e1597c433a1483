// One checkpoint, written and read as a folder. No threads, no choice of which: see trainer/checkpoint.h for those.
#pragma once

#include <string>

#include "dataloader/formats/safetensors.h"
#include "trainer/trainer.pb.h"

namespace muster {

// All that a run needs to go on.
struct Snapshot {
  NamedTensors model;
  NamedTensors optimizer;
  NamedTensors ema;  // the weights' average, under the weights' names; empty if the run keeps none
  TrainState state;
  std::string config;  // the resolved config's text
};

// Writes `checkpoints`/step_N (N = snapshot.state.step()) and LATEST. Files and folders are synced before the rename
// that makes the checkpoint exist; on any failure what stood there before stands, and the partial folder is gone. A
// checkpoint of the same step steps aside (.replaced) until remove_leftovers(). DataError with the path and the
// system's reason.
void write_checkpoint(const std::string& checkpoints, const Snapshot& snapshot);

// Reads a folder whole, after comparing every byte with its manifest's hashes. DataError saying what is missing,
// damaged or newer than this program.
Snapshot read_checkpoint(const std::string& folder);

// Deletes `checkpoints`/`name` so that a half-deleted folder never passes for a checkpoint.
void remove_checkpoint(const std::string& checkpoints, const std::string& name);

// Removes what killed writers left behind, and puts back a checkpoint that was killed while being replaced.
void remove_leftovers(const std::string& checkpoints);

}  // namespace muster
