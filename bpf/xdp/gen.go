package xdp

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type counter -type policy -type rules -type quota -type byte_quota -type level -type class -type pool -type purses -type siege -type slot -type set -type sketch -type prefix -type listed -type heads -type sample -type sampling -type tuple -type binding -type label -type escalation -type mode -type reason -type action -type event weir xdp_weir.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type conn -type listener conns conns.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.
