#!/bin/bash
# Makes the archives of the static programs: dist.sh ARCH...
set -euo pipefail
umask 022
# shellcheck source=lib.sh
. "${BASH_SOURCE%/*}/lib.sh"

(($#)) || die "usage: dist.sh ARCH..."
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/common/kamailio" "$work/common/man"
cp README.md LICENSE cmd/imcd/{OPERATING,API,THREATS}.md CHANGELOG.md "$pkg/imcd.service" "$pkg/imcd.yaml" "$work/common/"
cp kamailio-cfg/{imc.cfg,imc-through.cfg,imc-peers.cfg,imc-native.cfg,imc-htable.cfg,demo.cfg,README.md,grafana-dashboard.json,alerts.yml} "$work/common/kamailio/"
instances "$work/common"
pages "$work/common/man"

archives=()
for arch in "$@"; do
	name=imcd-$version-linux-$arch
	cp -r "$work/common" "$work/$name"
	build "$work/$name" "$arch"
	dated "$work/$name"
	tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" |
		gzip -9n >"$out/$name.tar.gz"
	rm -rf "${work:?}/$name"
	archives+=("$name.tar.gz")
done
(cd "$out" && sha256sum "${archives[@]}" | tee SHA256SUMS)
