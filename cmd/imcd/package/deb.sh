#!/bin/bash
# Makes the Debian package: deb.sh ARCH. Needs dpkg-deb, on Debian or elsewhere.
set -euo pipefail
umask 022
# shellcheck source=lib.sh
. "${BASH_SOURCE%/*}/lib.sh"

(($# == 1)) || die "usage: deb.sh ARCH"
command -v dpkg-deb >/dev/null || die "dpkg-deb is missing (apt-get install dpkg)"
arch=$1

# A Debian version begins with a digit, and later ones sort behind earlier ones:
# v1.2.3 is 1.2.3, 5 commits later it is 1.2.3+5.gabc, and without any tag it is
# 0~DATE.COMMIT.
debversion=${version#v}
if [[ $debversion =~ ^([0-9]+\.[0-9][0-9.]*)(-([0-9]+)-(g[0-9a-f]+))?(-dirty)?$ ]]; then
	debversion=${BASH_REMATCH[1]}${BASH_REMATCH[3]:++${BASH_REMATCH[3]}.${BASH_REMATCH[4]}}${BASH_REMATCH[5]:++dirty}
else
	debversion=0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M).${debversion//[^A-Za-z0-9]/.}
fi

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root doc=$work/root/usr/share/doc/imcd

# put MODE TO FILE...
put() {
	local mode=$1 to=$2
	shift 2
	install -d "$root/$to"
	install -m "$mode" "$@" "$root/$to/"
}

fill() {
	sed -e "s/@VERSION@/$debversion/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/${1:-}/" \
		-e "s/@DATE@/$(date -R -u -d "@$SOURCE_DATE_EPOCH")/"
}

mkdir -p "$work/bin" "$work/man"
build "$work/bin" "$arch"
pages "$work/man"
put 755 usr/bin "$work"/bin/*
put 640 etc/imcd "$pkg/imcd.yaml"
put 644 lib/systemd/system "$pkg/imcd.service"
instances "$root/lib/systemd/system"
put 644 usr/share/imcd/kamailio kamailio-cfg/{imc.cfg,imc-through.cfg,imc-peers.cfg,imc-native.cfg,imc-htable.cfg,demo.cfg}
put 644 usr/share/doc/imcd README.md cmd/imcd/{OPERATING,API,THREATS}.md CHANGELOG.md "$pkg/debian/copyright"
put 644 usr/share/doc/imcd/examples kamailio-cfg/{grafana-dashboard.json,alerts.yml}
install -m 644 kamailio-cfg/README.md "$doc/README.kamailio.md"
fill <"$pkg/debian/changelog.in" | gzip -9n >"$doc/changelog.gz"
for page in "$work"/man/*; do
	put 644 "usr/share/man/man${page##*.}" "$page"
done
gzip -9n "$root"/usr/share/man/man*/* "$doc/CHANGELOG.md"
put 644 usr/share/lintian/overrides "$pkg/debian/lintian/imcd"

# The tool completes its own command line.
install -d "$root/usr/share/bash-completion/completions"
"$go" run -buildvcs=false ./cmd/imcctl completion bash >"$root/usr/share/bash-completion/completions/imcctl"

install -d "$root/DEBIAN"
size=$(du -k -s --apparent-size "$root" | cut -f 1)
fill "$size" <"$pkg/debian/control.in" >"$root/DEBIAN/control"
install -m 644 "$pkg"/debian/{conffiles,triggers} "$root/DEBIAN/"
install -m 755 "$pkg"/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dated "$root"
dpkg-deb --root-owner-group -Z${DEB_COMPRESS:-xz} -b "$root" "$out/imcd_${debversion}_$arch.deb"
