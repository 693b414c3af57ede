#!/bin/bash
# Makes a minimal Debian of another release in a folder, once, and prints where it
# is: chroot.sh SUITE install|download PACKAGE...
# The packages are installed in it, or only downloaded for later use without a
# network. Needs root. It comes from the mirror that apt uses here, and stays in
# $IMCD_TEST_CACHE (/var/cache/imcd-test): remove it there to have it made again.
set -euo pipefail

die() {
	echo "chroot: $*" >&2
	exit 1
}

(($# >= 3)) || die "usage: chroot.sh SUITE install|download PACKAGE..."
suite=$1 what=$2
shift 2
((EUID == 0)) || die "only root can make a chroot"
command -v debootstrap >/dev/null || die "debootstrap is missing (.ci/deps.sh chroot)"

cache=${IMCD_TEST_CACHE:-/var/cache/imcd-test}
dir=$cache/$suite
stamp=$dir/.imcd-$what
mkdir -p "$cache"
exec 9>"$cache/$suite.lock"
flock 9 # another run may be making it

if [[ -e $stamp && "$(<"$stamp")" == "$*" ]]; then
	echo "$dir"
	exit 0
fi

mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(RELEASE)' 'Created-By: Packages' |
	awk '$2 == "Debian" && $3 !~ /security|updates|backports/ { print $1; exit }')
[[ -n $mirror ]] || die "apt knows no mirror of Debian here"

{
	rm -rf "$dir.new"
	debootstrap --variant=minbase "$suite" "$dir.new" "$mirror"
	# Nothing is started in there.
	printf '#!/bin/sh\nexit 101\n' >"$dir.new/usr/sbin/policy-rc.d"
	chmod 755 "$dir.new/usr/sbin/policy-rc.d"
	only=()
	[[ $what == install ]] || only=(--download-only)
	DEBIAN_FRONTEND=noninteractive chroot "$dir.new" apt-get -q -y "${only[@]}" install "$@" </dev/null
	[[ $what == download ]] || chroot "$dir.new" apt-get clean
	echo "$*" >"$dir.new/.imcd-$what"
	rm -rf "$dir"
	mv "$dir.new" "$dir"
} >&2
echo "$dir"
