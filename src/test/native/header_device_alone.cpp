// Compiles only if the header includes all that it needs.
#include "attn4j/device.h"

int32_t header_device_alone() { return attn4j::device_count(); }
