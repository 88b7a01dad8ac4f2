#!/bin/sh
# Give .tools/extras a webhook, which the bench measures Rollguard beside, and a libfaketime, which sets the clock of a
# test's server back: links to those of the machine, else to the distribution's. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/extras

ready() {
    [ -x "$here/webhook" ] && [ -e "$here/libfaketime.so.1" ]
}

# link ROOT: link what is found under a root of files.
link() {
    mkdir -p "$here"
    for file in "$1"/usr/bin/webhook "$1"/usr/lib/*/faketime/libfaketime.so.1; do
        if [ -e "$file" ]; then
            ln -sf "$file" "$here/"
        fi
    done
    ready
}

fetch() {
    unpack "$here/files" webhook libfaketime && link "$PWD/$here/files"
}

if ready; then exit; fi
one_at_a_time extras
if ready; then exit; fi

rm -rf "$here"
link "" || fetch ||
    echo "webhook and libfaketime are missing; what needs them will say so." \
        "Debian, Ubuntu: sudo apt-get install webhook libfaketime" >&2
