# Shared by the scripts beside it, which source it from the project's root.
# shellcheck shell=sh

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

# one_at_a_time NAME: wait until no other `make` is busy with the same set-up.
one_at_a_time() {
    mkdir -p .tools
    if command -v flock >/dev/null; then
        exec 9>".tools/$1.lock"
        flock 9
    fi
}

# unpack FOLDER PACKAGE...: the files of those packages that Debian or Ubuntu has. Needs no root and installs nothing,
# so no service starts. The lists are private: the machine's may be missing, and /var is not ours to write.
# With suite=NAME before it: those of that suite of Debian, whatever the machine runs.
unpack() {
    folder=$1
    shift
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    echo "fetching $1 from the packages of ${suite:+Debian }${suite:-the distribution} (once) ..."
    new="$PWD/$folder.new"
    rm -rf "$new"
    mkdir -p "$new/files" "$new/debs" "$new/state/lists/partial" "$new/cache/archives/partial"
    cat >"$new/apt.conf" <<END
Dir::State "$new/state";
Dir::Cache "$new/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    if [ -n "${suite:-}" ]; then
        key=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$key] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$new/sources.list"
        echo "Dir::Etc::sourcelist \"$new/sources.list\"; Dir::Etc::sourceparts \"-\";" >>"$new/apt.conf"
    fi
    # One source that cannot be read need not be the one with our packages, so only the download decides.
    apt-get -c "$new/apt.conf" update >"$new/log" 2>&1 || true
    for package; do
        shift
        if LC_ALL=C apt-cache -c "$new/apt.conf" policy "$package" 2>/dev/null | grep -q "Candidate: [^(]"; then
            set -- "$@" "$package"
        fi
    done
    if [ $# = 0 ] || ! (cd "$new/debs" && apt-get -c "$new/apt.conf" download "$@") >>"$new/log" 2>&1; then
        grep '^[EW]:' "$new/log" >&2 || true
        rm -rf "$new"
        return 1
    fi
    for deb in "$new"/debs/*.deb; do
        dpkg -x "$deb" "$new/files"
    done
    rm -rf "$folder"
    mv "$new/files" "$folder"
    rm -rf "$new"
}

# relocate FOLDER: Debian's Alertmanager reads its templates from /usr/share, where those of an unpacked one are not. So it is given a
# path of the same length, descriptor 9, and a script that opens their true folder there.
relocate() {
    templates=usr/share/prometheus/alertmanager
    mkdir -p "$1/$templates" &&
        LC_ALL=C sed -i "s#/$templates#/proc/self/fd/9///////////////////#g" "$1/usr/bin/prometheus-alertmanager" &&
        cat >"$1/usr/bin/alertmanager" <<END &&
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../..
exec 9<"\$root/$templates"
exec "\$root/usr/bin/prometheus-alertmanager" "\$@"
END
        chmod +x "$1/usr/bin/alertmanager"
}

# linked FOLDER PROGRAM...: whether a folder has all of these programs.
linked() (
    folder=$1
    shift
    for name; do
        [ -x "$folder/$name" ] || exit 1
    done
)

# link_each FOLDER "PROGRAM ..." PLACE...: put links to programs into a folder, each to the first place where it runs.
link_each() (
    folder=$1
    programs=$2
    shift 2
    mkdir -p "$folder"
    for name in $programs; do
        for place; do
            if "$place/$name" --version >/dev/null 2>&1; then
                ln -sf "$place/$name" "$folder/$name"
                break
            fi
        done
    done
    # shellcheck disable=SC2086 # one program a word
    linked "$folder" $programs
)
