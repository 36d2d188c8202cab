package flood

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type template flood flood.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.
