#!/bin/sh
# Give .tools/bin a prometheus, promtool, alertmanager and amtool: links to those on PATH where recent enough, else
# to the distribution's, unpacked into .tools/debian. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

ready() {
    for name in prometheus promtool alertmanager amtool; do
        [ -x ".tools/bin/$name" ] || return 1
    done
}

# recent FILE LEAST: whether it runs and is of that version or newer.
recent() {
    [ -x "$1" ] && "$1" --version 2>&1 | awk -v least="$2" '
        $2 == "version" { split($3, is, "."); split(least, min, ".")
                          ok = is[1] > min[1] || (is[1] == min[1] && is[2] >= min[2]) }
        END { exit !ok }'
}

# first LEAST NAME...: print the first recent one, whichever of its names it goes by.
first() (
    least=$1
    folders=$PATH:$PWD/.tools/debian/usr/bin
    shift
    IFS=:
    for folder in $folders; do
        for name in "$@"; do
            if recent "$folder/$name" "$least"; then
                echo "$folder/$name"
                exit
            fi
        done
    done
    exit 1
)

find_servers() {
    prometheus=$(first 2.42 prometheus) && promtool=$(first 2.42 promtool) &&
        alertmanager=$(first 0.25 alertmanager prometheus-alertmanager) && amtool=$(first 0.25 amtool)
}

fetch() { # promtool is a package of its own since Debian 13
    unpack .tools/unpacked prometheus promtool prometheus-alertmanager && relocate .tools/unpacked &&
        rm -rf .tools/debian && mv .tools/unpacked .tools/debian
}

if ready; then exit; fi
one_at_a_time servers
if ready; then exit; fi

rm -rf .tools/bin .tools/bin.new # it may be on PATH itself
find_servers || { fetch && find_servers; } ||
    fail "Prometheus 2.42 and Alertmanager 0.25 or newer, with promtool and amtool, are missing." \
        "  Debian 12, Ubuntu 24.04 and newer: sudo apt-get install prometheus prometheus-alertmanager" \
        "  Elsewhere: unpack them from https://prometheus.io/download/ and add both folders to PATH"

mkdir .tools/bin.new
ln -s "$prometheus" .tools/bin.new/prometheus
ln -s "$promtool" .tools/bin.new/promtool
ln -s "$alertmanager" .tools/bin.new/alertmanager
ln -s "$amtool" .tools/bin.new/amtool
mv .tools/bin.new .tools/bin
