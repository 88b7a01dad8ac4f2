#!/bin/sh
# Give .tools/peers/bin the programs that `make bench ARGS=ingest` and `scrape` measure beside: mtail and
# prometheus-sql-exporter of the machine, else of the distribution's packages. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/peers
programs="mtail prometheus-sql-exporter"

ready() {
    # shellcheck disable=SC2086 # one program a word
    linked "$here/bin" $programs
}

if ready; then exit; fi
one_at_a_time peers
if ready; then exit; fi

rm -rf "$here/bin" "$here/files"  # and not those of the other measurements
# shellcheck disable=SC2046,SC2086 # one folder or program a word
link_each "$here/bin" "$programs" $(IFS=:; printf '%s\n' $PATH) ||
    { unpack "$here/files" $programs && link_each "$here/bin" "$programs" "$PWD/$here/files/usr/bin"; } ||
    fail "mtail and prometheus-sql-exporter are missing, which the figures are measured beside." \
        "  Debian, Ubuntu: sudo apt-get install mtail prometheus-sql-exporter"
