// Compiles only if the header includes all that it needs.
#include "attn4j/attn4j.h"

int64_t header_attn4j_alone() { return attn4j::AttentionParams().q.size[0]; }
