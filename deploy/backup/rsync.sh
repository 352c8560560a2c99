#!/bin/sh
# Mirrors a folder with rsync and leaves the status for Bailey.
#
#   rsync.sh JOB FROM TO
#
# FROM and TO as rsync takes them. What is gone in FROM goes in TO: a mirror alone is no history.
set -u
. "$(dirname "$0")/status.sh"
[ $# -eq 3 ] || { echo "usage: $0 JOB FROM TO" >&2; exit 2; }
bailey_begin "$1" rsync
BAILEY_DESTINATION=$3

said=
report=$(LC_ALL=C rsync --archive --delete --stats --no-human-readable -- "$2" "$3")
code=$?
case $code in
    0) ;;
    # Files that vanished while it ran (rsync(1), EXIT VALUES): everything else is there.
    24) said="some files vanished while rsync ran" ;;
    *) bailey_failed "rsync ended with $code" ;;
esac

# "Number of files: 4 (reg: 2, dir: 2)": only the regular ones count.
BAILEY_SIZE=$(printf '%s\n' "$report" | sed -n 's/^Total file size: \([0-9]*\) bytes.*/\1/p')
BAILEY_FILES=$(printf '%s\n' "$report" | sed -n 's/^Number of files: .*reg: \([0-9]*\).*/\1/p')
# Without any regular file rsync does not name their number.
[ -n "$BAILEY_SIZE" ] && BAILEY_FILES=${BAILEY_FILES:-0}
bailey_done "$said"
