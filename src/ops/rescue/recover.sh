#!/usr/bin/env bash
# Edition 1. Writes what a backup of this store holds to stdout, with the programs zstd, gzip, age and
# xdelta3 (or python3), and without dbbackup:
#
#     bash recover.sh [-i IDENTITY_FILE] ID > FILE
#
# The identity file opens encrypted backups; DBBACKUP_IDENTITY_FILE may name it, too. Nothing else is
# written. If this ends with an error, FILE is not what was saved. RECOVERY.md says what to do with it.
set -euo pipefail
fail() { printf 'recover.sh: %s\n' "$*" >&2; exit 1; }
store=$(dirname -- "${BASH_SOURCE[0]}") key=${DBBACKUP_IDENTITY_FILE:-}
if [ "${1:-}" = -i ]; then key=${2:-}; shift 2 || fail "-i needs a file"; fi
[[ $# = 1 && $1 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*_[A-Za-z0-9._-]+_[0-9]+T[0-9]+Z(-[0-9]+)?$ ]] ||
  fail "say which backup, by its id: recover.sh [-i IDENTITY_FILE] ID > FILE"
dir=$store/${1%_*_*}
declare -A file base

# What a sidecar's text ($1) says of its dump: the value of the key $3, which is indented by $2 blanks.
told() {
  local line inside='' pattern="^ {$2}\"$3\": \"([^\"]*)\""
  while IFS= read -r line; do
    case $line in '  "dump": {') inside=1 ;; '  }'*) inside= ;; esac
    if [[ $inside && $line =~ $pattern ]]; then printf '%s' "${BASH_REMATCH[1]}"; return; fi
  done < <(printf '%s\n' "$1")
}

# What the file of a backup holds, without encryption and packing.
unpack() {
  case ${file[$1]} in
    *.age) age --decrypt --identity "$key" "$dir/${file[$1]}" ;;
    *) cat "$dir/${file[$1]}" ;;
  esac | case ${file[$1]%.age} in *.gz) gzip -dc ;; *.zst) zstd -dc ;; *) cat ;; esac
}

# What a backup holds: a delta is the difference from what its base holds.
content() {
  if [ -z "${base[$1]}" ]; then unpack "$1"
  elif command -v xdelta3 > /dev/null; then xdelta3 -d -c -s <(content "${base[$1]}") <(unpack "$1")
  else python3 "$store/undelta.py" <(content "${base[$1]}") <(unpack "$1"); fi
}

# Is a program here? It is in the package of the same name.
need() { command -v "$1" > /dev/null || fail "the program $1 is not here: install the package $1"; }

# The backup and all that it is built on: is each file what was written?
id=$1
while [ -n "$id" ]; do
  [ -z "${file[$id]:-}" ] || fail "$id is built on itself"
  [ -r "$dir/$id.json" ] || fail "$dir/$id.json is not there, or can't be read"
  json=$(cat "$dir/$id.json")
  file[$id]=$(told "$json" 4 file) base[$id]=$(told "$json" 6 id)
  [[ ${file[$id]} = "$id".* && ${file[$id]} != */* ]] || fail "$id holds nothing: it failed"
  [[ ${file[$id]} != *.age || -n $key ]] || fail "${file[$id]} is encrypted: name a private key with -i"
  [ -r "$dir/${file[$id]}" ] || fail "$dir/${file[$id]} is not there, or can't be read"
  case ${file[$id]} in *.age) need age ;; esac
  case ${file[$id]%.age} in *.gz) need gzip ;; *.zst) need zstd ;; esac
  [ -z "${base[$id]}" ] || command -v python3 > /dev/null || need xdelta3
  sum=$(sha256sum < "$dir/${file[$id]}")
  [ "${sum%% *}" = "$(told "$json" 4 sha256)" ] || fail "${file[$id]} is damaged: try an older backup"
  id=${base[$id]}
done

# The content, and whether it is what was saved.
json=$(cat "$dir/$1.json")
if [ -e "$dir/$1.meta.json.age" ]; then
  json=$(age --decrypt --identity "$key" "$dir/$1.meta.json.age")
fi
{ sum=$({ content "$1" | tee >(sha256sum >&4) >&3; } 4>&1); } 3>&1
[ "${sum%% *}" = "$(told "$json" 4 content_sha256)" ] || fail "this is not what was saved: do not use it"
