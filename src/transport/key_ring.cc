#include "transport/key_ring.h"
namespace ds { KeyRing::KeyRing() = default; KeyRing::~KeyRing() = default; }
