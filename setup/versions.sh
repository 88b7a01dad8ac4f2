#!/bin/sh
# Give .tools/versions/SUITE/bin a prometheus, promtool, alertmanager and amtool of each newer suite of Debian, for the
# tests of what must hold with servers of today, too. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/versions
suites="trixie sid"
programs="prometheus promtool alertmanager amtool"

ready() (
    for suite in $suites; do
        # shellcheck disable=SC2086 # one program a word
        linked "$here/$suite/bin" $programs || exit 1
    done
)

fetch() {
    suite=$1 unpack "$here/$1/files" prometheus promtool prometheus-alertmanager &&
        relocate "$here/$1/files" && link_each "$here/$1/bin" "$programs" "$PWD/$here/$1/files/usr/bin"
}

if ready; then exit; fi
one_at_a_time versions
if ready; then exit; fi

for suite in $suites; do
    # shellcheck disable=SC2086 # one program a word
    linked "$here/$suite/bin" $programs || fetch "$suite" ||
        echo "Prometheus and Alertmanager of Debian $suite are missing; tests that need them will say so." \
            "They come from ${DEBIAN_MIRROR:-http://deb.debian.org/debian} (or another DEBIAN_MIRROR)." >&2
done
