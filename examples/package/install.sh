#!/bin/sh
# Installs dbbackup from the directory that this file lies in, or removes it again. It needs no network.
#
#   sudo ./install.sh                           into /usr/local
#   ./install.sh --prefix "$HOME/.local"        for one user
#   sudo ./install.sh --uninstall               removes what it has installed there, and nothing else
#
# Configurations and backups are never touched. A file that was changed after it was installed stays, and is named.
set -eu
umask 022

prefix=/usr/local
verb=install

usage() {
    echo "usage: install.sh [--prefix DIR] [--uninstall]" >&2
    exit 2
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --prefix)
        [ $# -ge 2 ] || usage
        prefix=$2
        shift
        ;;
    --prefix=*) prefix=${1#--prefix=} ;;
    --uninstall) verb=uninstall ;;
    -h | --help)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) usage ;;
    esac
    shift
done
case "$prefix" in
/) prefix= ;;
/*) prefix=${prefix%/} ;;
*) fail "the prefix must begin with /: $prefix" ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
# What was installed, as `sha256sum` writes it.
list=$prefix/share/dbbackup/installed

# Removes the files of a list that are as they were installed. What was changed is somebody's work.
remove_listed() {
    while read -r sum file; do
        if [ ! -e "$file" ] && [ ! -L "$file" ]; then
            continue
        elif [ "$(sha256sum "$file" | cut -d ' ' -f 1)" = "$sum" ]; then
            rm -f "$file"
        else
            echo "kept, as it was changed: $file"
        fi
    done <"$1"
}

# systemd looks for units there, and for the program in the directory beside it.
has_units() {
    [ "$prefix" = /usr/local ] || [ "$prefix" = /usr ]
}

reload_units() {
    if has_units && [ -d /run/systemd/system ] && [ "$(id -u)" -eq 0 ]; then
        systemctl daemon-reload || true
    fi
}

uninstall() {
    [ -e "$list" ] || fail "nothing of dbbackup was installed by this script in $prefix (no $list)"
    if has_units && [ -d /run/systemd/system ] && [ "$(id -u)" -eq 0 ]; then
        for timer in hourly daily weekly monthly; do
            systemctl disable --now "dbbackup@$timer.timer" >/dev/null 2>&1 || true
        done
    fi
    remove_listed "$list"
    rm -f "$list"
    for directory in share/doc/dbbackup/examples share/doc/dbbackup share/dbbackup; do
        rmdir "$prefix/$directory" 2>/dev/null || true
    done
    reload_units
    echo "dbbackup is removed from $prefix; configurations and backups are where they were"
}

install_all() {
    cd "$here"
    sha256sum --check --quiet SHA256SUMS || fail "this directory is not what was released: unpack the archive again"
    # A binary of another machine, or of a newer C library, says so here, before anything is written.
    version=$(./bin/dbbackup -V) || fail "bin/dbbackup does not run on this machine ($(uname -m)): it needs Linux with glibc 2.31 or newer"
    mkdir -p "$prefix/share/dbbackup"
    new=$list.new
    : >"$new"
    find bin lib share -type f | sort | while read -r file; do
        case "$file" in
        lib/systemd/*) has_units || continue ;;
        esac
        mode=0644
        [ ! -x "$file" ] || mode=0755
        target=$prefix/$file
        mkdir -p "$(dirname "$target")"
        # Under another name first: a run that goes on keeps the program that it was started with.
        install -m "$mode" "$file" "$target.new"
        mv -f "$target.new" "$target"
        sum=$(sha256sum "$file" | cut -d ' ' -f 1)
        echo "$sum  $target" >>"$new"
    done
    if [ -e "$list" ]; then
        # What an older version had, and this one has not.
        cut -c 67- "$new" >"$new.names"
        while read -r sum file; do
            grep -q -x -F "$file" "$new.names" || echo "$sum  $file"
        done <"$list" >"$new.gone"
        remove_listed "$new.gone"
        rm -f "$new.names" "$new.gone"
    fi
    mv -f "$new" "$list"
    reload_units
    echo "$version is installed in $prefix"
    has_units || echo "without units for systemd, which does not look for them there"
    case ":$PATH:" in
    *":$prefix/bin:"*) ;;
    *) echo "add $prefix/bin to your PATH" ;;
    esac
    echo "next: dbbackup help, dbbackup init, dbbackup doctor"
}

if [ "$verb" = uninstall ]; then uninstall; else install_all; fi
