#!/bin/bash
# The package in a clean Debian 12, by root: made twice, installed with what it
# recommends, used, upgraded, purged (e2e_test.go). Nothing of it touches this
# machine: it happens in namespaces of its own, on a layer over a Debian in a
# folder, and without a network.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

go=${GO:-go}
arch=$(dpkg --print-architecture)
base=$(.ci/chroot.sh bookworm download kamailio kamailio-extra-modules)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export VERSION=v1.0.0 DEB_COMPRESS=gzip
for n in 1 2; do
	OUT=$work/$n cmd/imcd/package/deb.sh "$arch"
done
cmp "$work"/{1,2}/"imcd_1.0.0_$arch.deb" || { echo "e2e: two builds differ" >&2; exit 1; }
if command -v lintian >/dev/null; then
	lintian --allow-root --fail-on error,warning "$work/1/imcd_1.0.0_$arch.deb"
fi
if command -v systemd-analyze >/dev/null; then
	systemd-analyze security --offline=true --threshold=20 cmd/imcd/package/imcd.service | tail -n 1
fi
"$go" vet -tags deb ./cmd/imcd/package
"$go" test -tags deb -c -o "$work/package.test" ./cmd/imcd/package

export BASE=$base WORK=$work IMCD_DEB_ROOT=$work/root IMCD_DEB=$work/1/imcd_1.0.0_$arch.deb
unshare --mount --net --pid --fork --kill-child bash -euo pipefail -c '
	ip link set lo up
	mkdir "$WORK/layer" "$WORK/root"
	mount -t tmpfs none "$WORK/layer"
	mkdir "$WORK/layer/upper" "$WORK/layer/work"
	mount -t overlay -o "lowerdir=$BASE,upperdir=$WORK/layer/upper,workdir=$WORK/layer/work" none "$WORK/root"
	mount -t proc none "$WORK/root/proc"
	mount --rbind /dev "$WORK/root/dev"
	cd cmd/imcd/package
	"$WORK/package.test" -test.v -test.timeout 5m
'
