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

  // Of the reference bank, if the run keeps one (trainer/references/reference_file.h). Written from these tensors, or
  // left as it is where the ranks have put it into the folder of prepare_checkpoint().
  NamedTensors references;
  bool references_in_place = false;
  // Of a checkpoint that was read: the file's path, its bytes verified; empty if there is none.
  std::string references_file;
};

// Makes the empty folder that write_checkpoint() will fill, for files that are put there before; returns its path.
std::string prepare_checkpoint(const std::string& checkpoints, int64_t step);

// Writes `checkpoints`/step_N (N = snapshot.state.step()). Files and folders are synced before the rename
// that makes the checkpoint exist; on any failure what stood there before stands, and the partial folder is gone. A
// checkpoint of the same step steps aside (.replaced) until remove_leftovers(). DataError with the path and the
// system's reason.
void write_checkpoint(const std::string& checkpoints, const Snapshot& snapshot);

// Replaces LATEST, for people and scripts: no reader needs it. DataError.
void name_latest(const std::string& checkpoints, int64_t step);

// Reads a folder whole. Every byte of it, as it was read, has its manifest's hash; sizes are compared before memory is
// taken. DataError saying what is missing, damaged or newer than this program.
Snapshot read_checkpoint(const std::string& folder);

// The config's text alone, checked in the same way.
std::string read_checkpoint_config(const std::string& folder);

// Deletes `checkpoints`/`name` so that a half-deleted folder never passes for a checkpoint.
void remove_checkpoint(const std::string& checkpoints, const std::string& name);

// Removes what killed writers left behind, and puts back a checkpoint that was killed while being replaced.
void remove_leftovers(const std::string& checkpoints);

}  // namespace muster
