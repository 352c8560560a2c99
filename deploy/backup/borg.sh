#!/bin/sh
# Backs up folders with borg and leaves the status for Bailey.
#
#   borg.sh JOB FOLDER...
#
# The repository and its password come from the environment: BORG_REPO, and BORG_PASSCOMMAND such
# as "cat /etc/bailey/borg.password".
set -u
. "$(dirname "$0")/status.sh"
[ $# -ge 2 ] || { echo "usage: $0 JOB FOLDER..." >&2; exit 2; }
bailey_begin "$1" borg
archive=$1-$(date -u +%Y%m%dT%H%M%SZ)
shift
BAILEY_DESTINATION=${BORG_REPO:-}

said=
borg create "::$archive" "$@"
code=$?
case $code in
    0) ;;
    # Warnings, such as a file that changed while it was read: the archive is there.
    1 | 1[0-9][0-9]) said="borg create ended with warnings ($code)" ;;
    *) bailey_failed "borg create ended with $code" ;;
esac

# What the archive really holds, not what the run before believed.
report=$(borg info --json "::$archive") || bailey_failed "borg info ended with $?"
number() {
    printf '%s\n' "$report" | sed -n "s/^ *\"$1\": \([0-9]*\),*\$/\1/p" | head -n 1
}
BAILEY_SIZE=$(number original_size)
BAILEY_FILES=$(number nfiles)
bailey_done "$said"
