#!/bin/sh
# Prints one line if this Go cannot build imcd, and nothing if it can: go.sh GO...
# A Go from 1.21 on fetches the one that go.mod names, if it may: then "go version" here shows that one.
need=$(awk '$1 == "go" { print $2; exit }' "$(dirname "$0")/../go.mod")
how="README.md, \"Which Go\", says how to get it"
command -v "$1" >/dev/null 2>&1 || { echo "imcd needs Go $need or later, and there is no $1 here: $how"; exit; }
have=$("$@" version 2>/dev/null | sed -n 's/^go version go\([0-9][0-9.]*\).*/\1/p')
[ -n "$have" ] || { echo "imcd needs Go $need or later, and \"$* version\" fails: it is older and cannot fetch that one; $how"; exit; }
oldest=$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)
[ "$oldest" = "$need" ] || echo "imcd needs Go $need or later, and this is Go $have: $how"
