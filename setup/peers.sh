#!/bin/sh
# Give .tools/peers/bin the programs that `make bench ARGS=ingest` and `scrape` measure beside: mtail and
# prometheus-sql-exporter of the machine, else of the distribution's packages. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/peers
programs="mtail prometheus-sql-exporter"

ready() {
    for name in $programs; do
        [ -x "$here/bin/$name" ] || return 1
    done
}

# link FOLDER...: link each program to the first of the folders that has it.
link() {
    mkdir -p "$here/bin"
    for name in $programs; do
        for place in "$@"; do
            [ ! -x "$place/$name" ] || [ -e "$here/bin/$name" ] || ln -s "$place/$name" "$here/bin/$name"
        done
    done
    ready
}

if ready; then exit; fi
one_at_a_time peers
if ready; then exit; fi

rm -rf "$here"
# shellcheck disable=SC2046,SC2086 # one folder a word
link $(IFS=:; printf '%s\n' $PATH) || { unpack "$here/files" $programs && link "$PWD/$here/files/usr/bin"; } ||
    fail "mtail and prometheus-sql-exporter are missing, which the figures are measured beside." \
        "  Debian, Ubuntu: sudo apt-get install mtail prometheus-sql-exporter"
