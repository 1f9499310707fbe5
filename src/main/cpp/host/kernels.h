// Moved: attention/arguments.h.
#pragma once

#include "attention/arguments.h"
