#!/bin/sh
# Make .venv with the packages of constraints.txt and the project itself; once done, do nothing.
# PYTHON names the interpreter, where .venv is still to be made.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

stamp=.venv/.ready # without it, .venv is unfinished and made anew
wanted="$PWD $(cat pyproject.toml constraints.txt | cksum)"

ready() {
    [ -x .venv/bin/python ] && [ -f $stamp ] && [ "$(cat $stamp)" = "$wanted" ]
}

usable() { # a finished one of this very folder, since its scripts hold the path
    [ -x .venv/bin/python ] && [ -f $stamp ] && case $(cat $stamp) in "$PWD "*) ;; *) false ;; esac
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11
    fi
    for python in "$@"; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    found=$("$1" --version 2>/dev/null) || found=missing
    fail "Rollguard needs Python 3.11 or newer; $1 here is $found." \
        "  Debian 12, Ubuntu 24.04 and newer: sudo apt-get install python3 python3-venv" \
        "  Elsewhere: name one with PYTHON=/path/to/python3.11"
}

make_venv() {
    rm -rf .venv
    find_python
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv .venv
        return
    fi
    # Debian's python3 has no ensurepip without python3-venv; pip's wheel is in a package of its own.
    if "$python" -c 'import venv' 2>/dev/null && unpack .tools/pip python3-pip-whl; then
        "$python" -m venv --without-pip .venv
        packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        "$python" -m zipfile -e .tools/pip/usr/share/python-wheels/pip-*.whl "$packages"
        # Debian's pip knows only the certificates of ca-certificates, which may be missing, too; it carries others.
        [ -e /etc/ssl/certs/ca-certificates.crt ] ||
            sed -i 's/^DEBIAN_CA_CERTS_PATH = .*/DEBIAN_CA_CERTS_PATH = __file__.replace("core.py", "cacert.pem")/' \
                "$packages/pip/_vendor/certifi/core.py"
        rm -rf .tools/pip
        return
    fi
    fail "$python cannot make a virtual environment." \
        "  Debian, Ubuntu: sudo apt-get install python3-venv" \
        "  Elsewhere: name another with PYTHON=/path/to/python3.11"
}

if ready; then exit; fi
one_at_a_time python
if ready; then exit; fi

echo "setting up Python packages in .venv (once, about a minute) ..."
usable || make_venv
rm -f $stamp
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install -qq --no-deps --only-binary :all: --require-hashes -r constraints.txt
.venv/bin/python -m pip install -qq --no-deps --no-index --no-build-isolation -e .
echo "$wanted" >$stamp
