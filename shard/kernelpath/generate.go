package kernelpath

//go:generate go tool bpf2go -go-package kernelpath -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -type key4 -type key6 -type hop4 -type hop6 -type neighbour -type target -type way -type handover -type record -type mode -type action -type reason -type layout path bpf/path.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
