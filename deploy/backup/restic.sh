#!/bin/sh
# Backs up folders with restic and leaves the status for Bailey.
#
#   restic.sh JOB FOLDER...
#
# The repository and its password come from the environment, never from the command line, where
# everybody could read them: RESTIC_REPOSITORY (or RESTIC_REPOSITORY_FILE), RESTIC_PASSWORD_FILE.
set -u
. "$(dirname "$0")/status.sh"
[ $# -ge 2 ] || { echo "usage: $0 JOB FOLDER..." >&2; exit 2; }
bailey_begin "$1" restic
shift
BAILEY_DESTINATION=${RESTIC_REPOSITORY:-}

# restic ends with 3 when it could not read some files: such a copy is not whole.
report=$(restic backup --json -- "$@") || bailey_failed "restic backup ended with $?"

# The last line is the summary; these two keys stand in it once.
summary=$(printf '%s\n' "$report" | grep '"message_type":"summary"' | tail -n 1)
BAILEY_SIZE=$(printf '%s' "$summary" | sed -n 's/.*"total_bytes_processed":\([0-9]*\).*/\1/p')
BAILEY_FILES=$(printf '%s' "$summary" | sed -n 's/.*"total_files_processed":\([0-9]*\).*/\1/p')
[ -n "$BAILEY_FILES" ] || bailey_failed "restic backup printed no summary"
bailey_done
