#!/bin/sh
# Give .tools/compose/bin a docker-compose, for the tests: a link to that of the machine, else the distribution's,
# unpacked. It only reads docker-compose.yml: nothing here needs an engine. Once done, do nothing.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/compose
bin=$here/bin/docker-compose

ready() {
    "$bin" version --short >/dev/null 2>&1
}

link() {
    mkdir -p "$here/bin"
    ln -sf "$1" "$bin"
    ready
}

# Debian 12's is written in Python and needs what the interpreter of .venv lacks.
modules="python3-cached-property python3-distro python3-docker python3-dockerpty python3-docopt python3-dotenv
    python3-jsonschema python3-pyrsistent python3-attr python3-requests python3-urllib3 python3-chardet python3-certifi
    python3-idna python3-six python3-texttable python3-websocket python3-yaml python3-setuptools python3-distutils"

fetch() {
    # shellcheck disable=SC2086 # one package a word
    unpack "$here/files" docker-compose $modules || return 1
    mkdir -p "$here/bin"
    cat >"$here/wrapped" <<END
#!/bin/sh
export PYTHONPATH="$PWD/$here/files/usr/lib/python3/dist-packages"
exec "$PWD/.venv/bin/python" "$PWD/$here/files/usr/bin/docker-compose" "\$@"
END
    chmod +x "$here/wrapped"
    link "$PWD/$here/wrapped" || link "$PWD/$here/files/usr/bin/docker-compose"
}

if ready; then exit; fi
one_at_a_time compose
if ready; then exit; fi

rm -rf "$here"
machine=$(command -v docker-compose) && link "$machine" || fetch ||
    echo "docker-compose is missing; tests that need it will say so. Debian, Ubuntu: sudo apt-get install docker-compose" >&2
