// Old names of functions that newer versions of glibc give a new one: the library is built on a current system and has
// to load on glibc 2.28. HookBinaryTest reads the versions that the finished library asks for.
#pragma once

#include <dlfcn.h>

// Since 2.34 these live in libc.so.6 itself, under a new version; the old one is still there.
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
