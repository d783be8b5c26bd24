#!/bin/sh
# Trains as much of a sweep as fits into some minutes, on a machine that need not have a network.
#
#   sh docs/study/slice.sh STORE MINUTES SWEEP-OPTIONS...
#   sh docs/study/slice.sh study.db 25 --preset study-cell --data-dir data
#
# Run it from a checkout. Typed again it goes on: with the runs that are missing, and from the checkpoints of the one that was
# stopped. Bring STORE and STORE.runs/ home and `ncdiag store merge STORE` there; or carry both along to the next machine.
#
# Needs a Python that has torch and torchvision. What else is missing is taken from the wheels in the folder WHEELS (default wheels):
#   pip download --only-binary=:all: --python-version 3.12 --no-deps -d wheels sqlalchemy alembic mako typer shellingham
set -eu

if [ $# -lt 3 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
store=$1
minutes=$2
shift 2
python=${PYTHON:-python3}
checkout=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$checkout${PYTHONPATH:+:$PYTHONPATH}"

wheels=${WHEELS:-wheels}
if [ -d "$wheels" ]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    PYTHONPATH="$PYTHONPATH:$site"
fi

# SIGTERM ends a sweep as Ctrl-C does: every finished epoch is stored, and the run that was under way keeps its state.
status=0
timeout --signal=TERM --kill-after=60 "${minutes}m" "$python" -m ncdiag sweep "$@" --store "$store" || status=$?
case $status in
    0) echo "all of the sweep is trained" >&2 ;;
    124 | 143) echo "the time is up; the same command goes on" >&2 ;;
    *) exit "$status" ;;
esac
"$python" -m ncdiag runs ls --store "$store"
