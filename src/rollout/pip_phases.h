// SPDX-License-Identifier: Apache-2.0
//
// What each phase of an installation by pip asks of a host; templates/by_pip.py answers.
#pragma once

#include "rollout/rollout_state.h"

namespace ds {

/// Which wheels are installed there already, whole: they are the host's `held`. `manifests`
/// outlives the phase, here and below.
PhaseDescription pip_lacking_phase(const SetTexts& manifests, const Policy& policy);
/// The file of the parcel `at` of its set.
PhaseDescription pip_send_phase(std::size_t at, const Policy& policy);
/// Those that are not held.
PhaseDescription pip_install_phase(const Policy& policy);
/// Reads every file back.
PhaseDescription pip_verify_phase(const SetTexts& manifests, const Policy& policy);

}  // namespace ds
