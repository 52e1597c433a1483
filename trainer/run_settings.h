// The parts of a resolved run config that the trainer works with.
#pragma once

#include "comm/comm.pb.h"
#include "dataloader/dataloader.pb.h"
#include "trainer/encoders/encoders.pb.h"
#include "trainer/heads/heads.pb.h"
#include "trainer/losses/losses.pb.h"
#include "trainer/references/references.pb.h"
#include "trainer/trainer.pb.h"

namespace muster {

struct RunSettings {
  ModelConfig model;
  DataConfig data;
  Objective objective;
  TrainConfig train;
  CommConfig comm;
  ReferencesConfig references;
  HeadsConfig heads;
};

}  // namespace muster
