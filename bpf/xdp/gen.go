package xdp

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type counter -type policy -type class -type total -type slot -type set -type prefix -type listed -type mode -type reason weir xdp_weir.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.
