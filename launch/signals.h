// A signal sets one flag; the training loop looks at it between steps.
#pragma once

namespace muster {

// SIGUSR1 asks for "checkpoint and stop" at the next step boundary (mpirun forwards it to every rank). So does the
// first SIGINT in a world of one; a second SIGINT ends the process at once. SIGTERM keeps its default action: mpirun
// sends it to the survivors of a dead rank, and saving from a broken world would be wrong.
void install_signal_handlers(bool world_of_one);

bool stop_requested();

// For tests.
void clear_stop_request();

}  // namespace muster
