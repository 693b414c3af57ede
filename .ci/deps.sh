#!/bin/bash
# Installs what imcd's demonstration or tests need and this machine lacks, from
# Debian's packages: deps.sh demo | fleet | test | patroni | chroot. Does nothing if all is there.
# The user agents for browsers come from npm, as package-lock.json pins them.
set -euo pipefail

demo=(kamailio kamailio-extra-modules kamailio-websocket-modules)
fleet=("${demo[@]}" postgresql)
# The race detector needs a C compiler, patch applies what kamailio-cfg/README.md says,
# the console is looked at in Chromium, imcctl copy has MariaDB at the other end, systemd-analyze reads the services.
# The last line is for the phones of cmd/imcd/phones, and for liblinphone, which is steered from Python.
tests=("${fleet[@]}" kamailio-tls-modules kamailio-postgres-modules kamailio-lua-modules kamailio-python3-modules pgbouncer gcc
	libc6-dev patch chromium kamailio-mysql-modules mariadb-server-core mariadb-client systemd nftables
	linphone-cli baresip python3)
# Node may be here from elsewhere, and Debian's packages would be in conflict with it.
command -v node >/dev/null || tests+=(nodejs)
command -v npm >/dev/null || tests+=(npm)
# Whoever watches over several PostgreSQL servers.
patroni=("${tests[@]}" patroni etcd-server)
# For another Debian in a folder, and a network of its own.
chroot=(debootstrap iproute2)

die() {
	echo "deps: $*" >&2
	exit 1
}

case "${1:-}" in
demo) wanted=("${demo[@]}") ;;
fleet) wanted=("${fleet[@]}") ;;
test) wanted=("${tests[@]}") ;;
patroni) wanted=("${patroni[@]}") ;;
chroot) wanted=("${chroot[@]}") ;;
*) die "usage: deps.sh demo|fleet|test|patroni|chroot" ;;
esac

installed() {
	[[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

command -v dpkg-query >/dev/null ||
	die "this is no Debian; install the equivalents of: ${wanted[*]}"
missing=()
for p in "${wanted[@]}"; do
	installed "$p" || missing+=("$p")
done

# Node's modules stay in the checkout, where git ignores them.
modules() {
	local dir lock
	dir=$(dirname "${BASH_SOURCE[0]}")/../cmd/imcd/phones/testdata/node
	lock=$dir/node_modules/.imcd-lock
	cmp -s "$dir/package-lock.json" "$lock" && return
	echo "deps: installing Node's modules"
	npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null ||
		die "npm could not install what $dir/package-lock.json names"
	cp "$dir/package-lock.json" "$lock"
}
finish() {
	[[ $1 != test ]] || modules
}

if ((!${#missing[@]})); then
	finish "$1"
	exit 0
fi

sudo=()
if ((EUID != 0)); then
	command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
		die "missing: ${missing[*]}. Install them, or run this as root or with sudo that asks for no password"
	sudo=(sudo -n)
fi

# The packages' own services are of no use here, and could take Kamailio's or
# PostgreSQL's port: nothing is started while they are installed.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap '"${sudo[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
fi

apt() {
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

echo "deps: installing ${missing[*]}"
fresh=
update() {
	apt update || die "apt-get update failed; missing: ${missing[*]}"
	fresh=yes
}
apt-cache show "${missing[@]}" >/dev/null 2>&1 || update
if ! apt install -y --no-install-recommends "${missing[@]}"; then
	# Lists that are too old name files that the mirror no longer has.
	[[ -z $fresh ]] || die "apt-get could not install ${missing[*]}"
	update
	apt install -y --no-install-recommends "${missing[@]}" ||
		die "apt-get could not install ${missing[*]}"
fi
finish "$1"
