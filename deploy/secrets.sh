#!/bin/sh
# Make what is missing in deploy/secrets, or in the folder given. Compose mounts each file into the containers that
# need it, whose users differ; so the files are readable, and the folder is yours alone.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"
for name in rollguard-token postgres-password grafana-password; do
    if [ ! -s "$folder/$name" ]; then
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$name"
        chmod 0444 "$folder/$name"
        echo "made $folder/$name"
    fi
done
