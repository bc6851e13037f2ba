#!/bin/sh
# Builds the bonded caller, and the origin that accepts it, with the library of libsrt.sh:
# build.sh DIRECTORY
set -eu
export LC_ALL=C
from=$(dirname "$0")
library="${XDG_CACHE_HOME:-$HOME/.cache}/srtrelay/libsrt-bonding"
compile() { # name, source
	"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -I "$library/include" -o "$1" "$2" \
		"$library/lib/libsrt.a" -lcrypto -lstdc++ -lm -pthread
}
compile "$1/bonded" "$from/bonded.c"
compile "$1/bonded-origin" "$from/../origin/origin.c"
