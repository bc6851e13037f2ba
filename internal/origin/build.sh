#!/bin/sh
# Builds the origin: build.sh OUTPUT
set -eu
export LC_ALL=C
exec "${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -o "$1" "$(dirname "$0")/origin.c" -lsrt
