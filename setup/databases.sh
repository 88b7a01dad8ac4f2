#!/bin/sh
# Give .tools/databases/bin a redis-server, postgres and initdb, for the tests: links to those of the machine, else to
# the distribution's, unpacked beside them. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/databases
programs="redis-server postgres initdb"

ready() {
    # shellcheck disable=SC2086 # one program a word
    linked "$here/bin" $programs
}

machine() (
    IFS=:
    # shellcheck disable=SC2086 # PATH is split
    printf '%s\n' $PATH /usr/lib/postgresql/*/bin
)

# Libraries that they need and a small machine may lack, by all the names that distributions give them.
libraries="libatomic1 libjemalloc2 liblzf1 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1
    libssl3 libssl3t64 libxml2 libxml2-16 libicu72 libicu74 libicu76 libpam0g libaudit1 libcap-ng0 libpq5 libstdc++6
    libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1 libnuma1 liburing2
    libldap-2.5-0 libldap2 libsasl2-2 libgnutls30 libgnutls30t64 libp11-kit0 libidn2-0 libunistring2 libunistring5
    libtasn1-6 libnettle8 libnettle8t64 libhogweed6 libhogweed6t64 libgmp10 libffi8"

# wrapped PROGRAM: a script that runs it with the unpacked libraries.
wrapped() {
    cat >"$here/wrapped/$(basename "$1")" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$(echo "$PWD/$here"/files/usr/lib/*-linux-gnu)"
exec "$1" "\$@"
END
    chmod +x "$here/wrapped/$(basename "$1")"
}

fetch() {
    # shellcheck disable=SC2086 # one package a word
    unpack "$here/files" redis-server redis-tools postgresql-15 postgresql-16 postgresql-17 postgresql-18 $libraries ||
        return 1
    mkdir -p "$here/wrapped"
    wrapped "$PWD/$here/files/usr/bin/redis-server"
    for bin in "$PWD/$here"/files/usr/lib/postgresql/*/bin; do
        wrapped "$bin/postgres"
        wrapped "$bin/initdb"
    done
}

if ready; then exit; fi
one_at_a_time databases
if ready; then exit; fi

rm -rf "$here"
# shellcheck disable=SC2046 # one folder a word
link_each "$here/bin" "$programs" $(machine) ||
    { fetch && link_each "$here/bin" "$programs" "$PWD/$here/wrapped"; } ||
    echo "Redis and PostgreSQL are missing; tests that need them will say so." \
        "Debian, Ubuntu: sudo apt-get install redis-server postgresql" >&2
