// The exit codes of every muster command. A job script may act on them: see cluster/.
#pragma once

namespace muster {

enum class ExitCode : int {
  kDone = 0,
  kBug = 1,                // ours: please report it with the line printed
  kBadInput = 2,           // a config, file or argument: the line says what, where and what to do
  kStoppedAfterSave = 75,  // asked to stop, saved first: requeue
  kPeerLost = 76,          // a peer was lost or timed out: restart, the run continues from its newest checkpoint
  kLossNotFinite = 77,     // the loss or gradient is not finite: do not restart as it is
};

}  // namespace muster
